package plan_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/imagebuilder/plan"
	"picluster/internal/bootfiles"
	"picluster/internal/lab"
)

// vendorCluster is a Pi with a password and Wi-Fi. The network and its passphrase
// are those of the first test vector of IEEE 802.11, annex J.4.2.
const vendorCluster = `name: plain
image: {source: base.img}
nodes: [{name: kitchen}]
system:
  user: {name: anna, password: {hashFile: password.hash}, authorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICk+SM484HTKzRfuYq6dYD0RioKePEM4irQ+PCuGorB0 anna@laptop"]}
network:
  country: CH
  wifi:
    - {ssid: IEEE, passphraseFile: wifi.txt}
    - {ssid: Café, security: open, hidden: true}
kubernetes: {enabled: false}
`

const (
	passwordHash = "$6$rounds=5000$saltstring$abcdefghijklmnopqrstuvwxyz./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv"
	psk          = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
	wpaWant      = "ctrl_interface=DIR=/var/run/wpa_supplicant GROUP=netdev\nupdate_config=1\ncountry=CH\n" +
		"\nnetwork={\n\tssid=\"IEEE\"\n\tkey_mgmt=WPA-PSK\n\tpsk=" + psk + "\n\tpriority=2\n}\n" +
		"\nnetwork={\n\tssid=436166c3a9\n\tscan_ssid=1\n\tkey_mgmt=NONE\n\tpriority=1\n}\n"
)

// clusterFile writes a cluster file with the secrets that it names.
func clusterFile(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"cluster.yaml": text, "wifi.txt": "password\n", "password.hash": passwordHash + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cluster.yaml")
}

// The files that an image's own first boot reads are written exactly on the
// images where it does, and on no other. Sources: raspberrypi-net-mods up to
// 1.3 imports wpa_supplicant.conf, 1.4.0 (bookworm) does not; userconf-pi came
// with the bullseye of April 2022; sshswitch is on all.
func TestMake_writesWhatTheVendorReads(t *testing.T) {
	for _, tc := range []struct {
		layout             lab.Layout
		wpa, userconf, ssh bool
	}{
		{lab.Layout{Release: "stretch", Arch: "armhf"}, true, false, false},
		{lab.Layout{Release: "buster", Arch: "armhf"}, true, false, false},
		{lab.Layout{Release: "bullseye", Arch: "arm64", Date: "2022-04-04"}, true, true, true},
		{lab.Layout{Release: "bullseye", Arch: "armhf"}, true, true, true},
		{lab.Layout{Release: "bookworm", Arch: "arm64"}, false, false, true},
		{lab.Layout{Release: "trixie", Arch: "arm64"}, false, false, true},
	} {
		t.Run(name(tc.layout)+tc.layout.Date, func(t *testing.T) {
			p, err := plan.Make(inputs(t, clusterFile(t, vendorCluster), detect(t, tc.layout)))
			if err != nil {
				t.Fatal(err)
			}
			for file, want := range map[string]struct {
				there   bool
				content string
			}{
				"wpa_supplicant.conf": {tc.wpa, wpaWant},
				"userconf.txt":        {tc.userconf, "anna:" + passwordHash + "\n"},
				"ssh":                 {tc.ssh, ""},
			} {
				got, there := written(t, p, file)
				if there != want.there || there && got != want.content {
					t.Errorf("%s (there: %v, want %v):\n%s\nwant\n%s", file, there, want.there, got, want.content)
				}
			}
			document, _ := written(t, p, "picluster/node.json")
			if !strings.Contains(document, passwordHash) || !strings.Contains(document, `"ssid": "SUVFRQ=="`) {
				t.Error("the agent is not told of the network or the password")
			}
		})
	}
}

// written returns what the edits of the first card make of a file that is not
// there yet, and whether they make one. What holds a secret must be marked.
func written(t *testing.T, p *plan.Plan, file string) (string, bool) {
	t.Helper()
	for _, e := range p.EditsOf(p.Cards[0]) {
		if e.Path() != file {
			continue
		}
		data, err := e.Apply(nil)
		if err != nil {
			t.Fatal(err)
		}
		if holds := strings.Contains(string(data), psk) || strings.Contains(string(data), passwordHash); holds != e.Secret() {
			t.Errorf("%s holds secrets: %v, it is marked: %v", file, holds, e.Secret())
		}
		return string(data), true
	}
	return "", false
}

func TestMake_refusesWPA3WhereTheVendorsFileIsRead(t *testing.T) {
	text := strings.Replace(vendorCluster, "passphraseFile: wifi.txt", "passphraseFile: wifi.txt, security: wpa3", 1)
	for release, refused := range map[string]bool{"bullseye": true, "bookworm": false} {
		_, err := plan.Make(inputs(t, clusterFile(t, text), detect(t, lab.Layout{Release: release, Arch: "armhf"})))
		if errors.Is(err, bootfiles.ErrWPA3) != refused {
			t.Errorf("%s: the error is %v", release, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "the image is bullseye") || strings.Contains(err.Error(), "password")) {
			t.Errorf("%s: the error is %v", release, err)
		}
	}
}
