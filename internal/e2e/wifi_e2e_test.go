//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab"
)

const wifiCluster = `apiVersion: picluster/v1
kind: Cluster
name: home
nodes: 3
system:
  user:
    name: alice
    authorizedKeys: [secrets/operator/id_ed25519.pub]
  swap: keep
network:
  interface: wlan0
  country: CH
  wifi: [{ssid: "the lab's net", passphraseEnv: WIFI}]
  ntp: [` + lab.GatewayAddr + `]
kubernetes: {enabled: false}
`

// accessPoint is a shell function of the guest for each thing that the other of
// its two radios does: that one is in a network namespace of its own, as another
// machine. wpa_supplicant is the access point too, busybox the DHCP server.
const accessPoint = `
radios() {
	modprobe mac80211_hwsim radios=2
	udevadm settle
	ip netns add ap
	iw phy "$(cat /sys/class/net/wlan1/phy80211/name)" set netns name ap
	# NetworkManager has given it one by chance.
	ip netns exec ap ip link set wlan1 down address 02:00:00:00:01:00
}
up() { # key
	down
	printf 'network={\n ssid="the lab'"'"'s net"\n mode=2\n frequency=2437\n key_mgmt=WPA-PSK\n proto=RSN\n pairwise=CCMP\n psk="%s"\n}\n' "$1" > /run/ap.conf
	ip netns exec ap wpa_supplicant -B -i wlan1 -c /run/ap.conf -P /run/ap.pid > /dev/null
	sleep 3
	nmcli device wifi rescan ifname wlan0 || true
}
down() { test ! -e /run/ap.pid || kill "$(cat /run/ap.pid)"; sleep 1; }
dhcp() {
	ip netns exec ap ip address replace 192.168.77.1/24 dev wlan1
	printf 'start 192.168.77.100\nend 192.168.77.120\ninterface wlan1\nlease_file /run/leases\npidfile /run/udhcpd.pid\noption subnet 255.255.255.0\n' > /run/udhcpd.conf
	: > /run/leases
	ip netns exec ap busybox udhcpd /run/udhcpd.conf
}
taken() { ip netns exec ap ip address replace 10.77.0.10/24 dev wlan1; }
free() { ip netns exec ap ip address delete 10.77.0.10/24 dev wlan1; }
# The agent takes the block away, so it is put back as long as it is to be seen.
blocked() {
	id=$(basename /sys/class/net/wlan0/phy80211/rfkill* | tr -dc 0-9)
	(while test ! -e /run/unblocked; do rfkill block "$id"; sleep 2; done) > /dev/null 2>&1 &
}
set -e
`

// A Pi that is to use Wi-Fi says on its card why it is not on the network, in the
// words for each reason, and goes on by itself when the reason is gone.
func TestWiFi_saysWhyItDoesNotWork(t *testing.T) {
	for _, release := range []string{"trixie", "bookworm"} {
		t.Run(release, func(t *testing.T) {
			lab.ServeTime(t)
			w := writeCard(t, release, wifiCluster)
			m := lab.Boot(t, lab.VM{Image: w.card, Online: true})
			m.AwaitSSH(w.login, bootTime)
			for _, phase := range []struct{ do, says string }{
				{"true", "wlan0: this Pi shows no Wi-Fi device"},
				{"radios", "wlan0: the Wi-Fi network of cluster.yaml is not in range (no network at all is)"},
				{"up 'another passphrase'", "wlan0: Wi-Fi network 1 of cluster.yaml: wrong key"},
				{"up planted-passphrase", "no answer from a DHCP server"},
				{"blocked", "wlan0: Wi-Fi is blocked by software"},
				{"touch /run/unblocked; taken; up planted-passphrase; dhcp", "the cluster address 10.77.0.10 is in use by another device, with the MAC address 02:00:00:00:01:00"},
			} {
				start := time.Now()
				tell(t, m, w.login, "sudo sh -c "+quoted(accessPoint+phase.do))
				awaitText(t, m, w.login, phase.says)
				t.Logf("%s: said after %s", phase.do, time.Since(start).Round(time.Second))
			}
			tell(t, m, w.login, "sudo sh -c "+quoted(accessPoint+"free"))
			awaitSeal(t, m, w.login)
			ask(t, m, w.login, "ip -4 -o address show wlan0 | grep -cwE '10.77.0.10/24|192.168.77.1[0-9]+/24'", "2")
			ask(t, m, w.login, "head -1 /boot/firmware/STATUS.txt | tr -d '\\r'", "This Pi is configured: it is raspberrypi-node0 of the cluster home.")
			ask(t, m, w.login, "sudo grep -rlE \"planted-passphrase|lab's net\" /boot/firmware /var/lib/picluster || true", "")
			m.PowerOff(3 * time.Minute)
			leavesNoSecret(t, w)
		})
	}
}

// awaitText waits until the Pi's status has the words, and looks that STATUS.txt on
// the card has them too.
func awaitText(t *testing.T, m *lab.Machine, login lab.Login, words string) {
	t.Helper()
	var seen []string
	for end := time.Now().Add(bootTime); time.Now().Before(end); time.Sleep(3 * time.Second) {
		var status struct{ State, Step, Text string }
		out := tell(t, m, login, "sudo firstboot status -o json || true")
		if err := json.Unmarshal([]byte(out), &status); err != nil {
			t.Fatalf("read status: %v\n%s", err, out)
		}
		if text := fmt.Sprintf("%s: %s: %s", status.State, status.Step, status.Text); len(seen) == 0 || seen[len(seen)-1] != text {
			seen = append(seen, text)
		}
		if !strings.Contains(status.Text, words) {
			continue
		}
		// Lines in there are broken to the width of a screen. An agent that has just
		// been started anew says it a moment later.
		card := strings.Join(strings.Fields(tell(t, m, login, "cat /boot/firmware/STATUS.txt")), " ")
		if strings.Contains(card, words) {
			return
		}
		seen = append(seen, "on the card: "+card)
	}
	t.Fatalf("the Pi does not say %q, but\n\t%s", words, strings.Join(seen, "\n\t"))
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
