package steps_test

import (
	"context"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/step"
)

// The files in testdata/wifi are what the programs have said for real, to two
// radios of mac80211_hwsim: NetworkManager 1.42 is bookworm's, 1.52 trixie's, and
// wpa_supplicant 2.10 is in both. Of the journals only the lines of wlan0 are kept.
func recorded(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/wifi/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// labNet is the network of the recordings.
var labNet = steps.Network{SSID: "6C6162206E6574"}

const (
	loopAddress = "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever\n"
	dhcpAddress = "2: eth0    inet 10.0.2.15/24 brd 10.0.2.255 scope global dynamic noprefixroute eth0\\       valid_lft 86348sec preferred_lft 86348sec\n"
	ownAddress  = "3: wlan0    inet 10.77.0.10/24 brd 10.77.0.255 scope global noprefixroute wlan0\\       valid_lft forever preferred_lft forever\n"
	noNeighbour = "ARPING 10.77.0.10 from 0.0.0.0 wlan0\nSent 2 probe(s) (0 broadcast(s))\nReceived 0 response(s) (0 request(s), 0 broadcast(s))\n"
)

// network is a machine with interfaces; files are its files, and, below /said, what
// its programs say.
func network(t *testing.T, files map[string]string) *hosttest.Machine {
	t.Helper()
	m := hosttest.NewMachine(t)
	all := map[string]string{"/said/radio": "enabled\n", "/said/heard": "", "/said/journal": "", "/said/arping": noNeighbour,
		"/said/list_networks": "", "/said/scan_results": "", "/said/ip-eth0": "", "/said/ip-wlan0": ""}
	maps.Copy(all, files)
	for name, text := range all {
		m.Put(name, text)
	}
	m.Fake("ip", `test "$1 $2 $3 $4 $5" = "-4 -o address show dev" || unexpected "$@"; cat "$ROOT/said/ip-$6"`)
	m.Fake("rfkill", `test "$*" = "unblock wlan" || unexpected "$@"`)
	m.Fake("nmcli", `case "$*" in
		"-t -f WIFI radio") cat "$ROOT/said/radio" ;;
		"-t -f SSID-HEX,FREQ device wifi list ifname wlan0 --rescan no") cat "$ROOT/said/heard" ;;
		"radio wifi on" | "--wait 0 connection up picluster-wifi-"*) ;;
		*) unexpected "$@" ;;
	esac`)
	m.Fake("journalctl", `test "$*" = "-b -u NetworkManager -u wpa_supplicant -o cat -n 500 --no-pager" || unexpected "$@"; cat "$ROOT/said/journal"`)
	m.Fake("wpa_cli", `test "$1 $2" = "-i wlan0" || unexpected "$@"; cat "$ROOT/said/$3"`)
	m.Fake("busybox", `case "$*" in "arping -D -c 2 -w 2 -I "*) cat "$ROOT/said/arping" ;; *) unexpected "$@" ;; esac`)
	return m
}

const (
	ethernet = "/sys/class/net/eth0/carrier"
	wifi     = "/sys/class/net/wlan0/carrier"
)

// firstNote runs a step until it says what it waits for, "" if it does not.
func firstNote(t *testing.T, h host.Host, s steps.Step) (text string, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		if e.Kind == step.Waiting {
			text = e.Text
			cancel()
		}
	}}}
	err = step.Run(ctx, h, []steps.Stage{{Name: "network", Steps: []steps.Step{s}}}, r)
	return text, err
}

func TestConnection_saysWhy(t *testing.T) {
	both := steps.Connection{Interfaces: []string{"eth0", "wlan0"}, Networks: []steps.Network{labNet}, Cluster: netip.MustParseAddr("10.77.0.10"), Limit: time.Minute}
	wlan := both
	wlan.Interfaces = []string{"wlan0"}
	two := wlan
	two.Networks = []steps.Network{{SSID: "00FF"}, labNet}
	hidden := wlan
	hidden.Networks = []steps.Network{{SSID: "00FF", Hidden: true}}
	old := wlan
	old.Dhcpcd = true
	heard := "6C6162206E6574:2437 MHz\n"
	const pi3 = "Hardware\t: BCM2835\nRevision\t: a02082\n"
	for name, tc := range map[string]struct {
		step  steps.Connection
		files map[string]string
		want  string
	}{
		"no cable": {both, map[string]string{ethernet: "0\n", wifi: "0\n", "/said/heard": heard, "/said/journal": recorded(t, "networkmanager-1.52-wrong-key.journal")},
			"eth0: no cable is plugged in, or its other end is switched off; wlan0: Wi-Fi network 1 of cluster.yaml: wrong key"},
		"no DHCP by cable": {steps.Connection{Interfaces: []string{"eth0"}, Limit: time.Minute}, map[string]string{ethernet: "1\n", "/said/ip-eth0": strings.Replace(dhcpAddress, "10.0.2.15", "169.254.7.8", 1)},
			"eth0: no answer from a DHCP server: is the router on, and does it give out addresses?"},
		"no Ethernet":        {steps.Connection{Interfaces: []string{"eth0"}, Limit: time.Minute}, nil, "eth0: this Pi has no such interface"},
		"a board without it": {both, map[string]string{wifi: "1\n", "/said/ip-wlan0": ownAddress}, "wlan0: no answer from a DHCP server: is the router on, and does it give out addresses?"},
		"no Wi-Fi":           {both, map[string]string{ethernet: "0\n"}, "eth0: no cable is plugged in, or its other end is switched off; wlan0: this Pi shows no Wi-Fi device"},
		"blocked": {wlan, map[string]string{wifi: "", "/sys/class/rfkill/rfkill0/type": "bluetooth\n", "/sys/class/rfkill/rfkill0/soft": "0\n",
			"/sys/class/rfkill/rfkill1/type": "wlan\n", "/sys/class/rfkill/rfkill1/soft": "1\n", "/sys/class/rfkill/rfkill1/hard": "0\n"},
			"wlan0: Wi-Fi is blocked by software: rfkill unblock wlan"},
		"switched off": {wlan, map[string]string{wifi: "0\n", "/said/radio": "disabled\n"}, "wlan0: NetworkManager has Wi-Fi switched off: nmcli radio wifi on"},
		"wrong key, NetworkManager 1.52": {wlan, map[string]string{wifi: "0\n", "/said/heard": heard, "/said/journal": recorded(t, "networkmanager-1.52-wrong-key.journal")},
			"wlan0: Wi-Fi network 1 of cluster.yaml: wrong key"},
		"wrong key, NetworkManager 1.42": {wlan, map[string]string{wifi: "0\n", "/said/heard": heard, "/said/journal": recorded(t, "networkmanager-1.42-wrong-key.journal")},
			"wlan0: Wi-Fi network 1 of cluster.yaml: wrong key"},
		"no DHCP, between two tries, NetworkManager 1.52": {wlan, map[string]string{wifi: "0\n", "/said/heard": heard, "/said/journal": untilFailed(recorded(t, "networkmanager-1.52-no-dhcp.journal"))},
			"wlan0: Wi-Fi network 1 of cluster.yaml: no answer from a DHCP server: is the router on, and does it give out addresses?"},
		"no DHCP, between two tries, NetworkManager 1.42": {wlan, map[string]string{wifi: "0\n", "/said/heard": heard, "/said/journal": untilFailed(recorded(t, "networkmanager-1.42-no-dhcp.journal"))},
			"wlan0: Wi-Fi network 1 of cluster.yaml: no answer from a DHCP server: is the router on, and does it give out addresses?"},
		"no answer": {wlan, map[string]string{wifi: "0\n", "/said/heard": heard, "/said/journal": recorded(t, "networkmanager-1.52-no-answer.journal")},
			"wlan0: Wi-Fi network 1 of cluster.yaml: its access point does not answer"},
		"not found": {wlan, map[string]string{wifi: "0\n", "/said/journal": recorded(t, "networkmanager-1.52-not-found.journal")},
			"wlan0: the Wi-Fi network of cluster.yaml is not in range (no network at all is)"},
		"not found on a Pi 3": {wlan, map[string]string{wifi: "0\n", "/said/heard": "00FE:2437 MHz\n", "/proc/cpuinfo": pi3},
			"wlan0: the Wi-Fi network of cluster.yaml is not in range (one other is); a 3B hears 2.4 GHz only, not 5 GHz"},
		"one of two":     {two, map[string]string{wifi: "0\n", "/said/heard": heard}, "wlan0: Wi-Fi network 1 of cluster.yaml is not in range, Wi-Fi network 2 of cluster.yaml is in range, but not joined yet"},
		"none of two":    {two, map[string]string{wifi: "0\n", "/said/heard": "00FE:2437 MHz\n00FD:5180 MHz\n"}, "wlan0: no Wi-Fi network of cluster.yaml is in range (2 others are)"},
		"on 5 GHz":       {wlan, map[string]string{wifi: "0\n", "/said/heard": "6C6162206E6574:5180 MHz\n"}, "wlan0: Wi-Fi network 1 of cluster.yaml is in range, but not joined yet (on 5 GHz only: is the country in cluster.yaml right?)"},
		"a hidden one":   {hidden, map[string]string{wifi: "0\n", "/said/heard": heard, "/said/journal": recorded(t, "networkmanager-1.52-no-answer.journal")}, "wlan0: Wi-Fi network 1 of cluster.yaml: its access point does not answer"},
		"old, wrong key": {old, map[string]string{wifi: "0\n", "/said/list_networks": recorded(t, "wpa-2.10-wrong-key.list_networks"), "/said/scan_results": recorded(t, "wpa-2.10-wrong-key.scan_results")}, "wlan0: Wi-Fi network 1 of cluster.yaml: wrong key"},
		"old, not found": {steps.Connection{Interfaces: wlan.Interfaces, Networks: []steps.Network{{SSID: "656C73657768657265"}}, Dhcpcd: true, Limit: time.Minute},
			map[string]string{wifi: "0\n", "/said/list_networks": recorded(t, "wpa-2.10-not-found.list_networks"), "/said/scan_results": recorded(t, "wpa-2.10-not-found.scan_results")},
			"wlan0: the Wi-Fi network of cluster.yaml is not in range (one other is)"},
		"old, no DHCP": {old, map[string]string{wifi: "1\n"}, "wlan0: no answer from a DHCP server: is the router on, and does it give out addresses?"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := network(t, tc.files)
			text, _ := firstNote(t, m, tc.step)
			if want := "the network: " + tc.want; text != want {
				t.Errorf("it says %q\nwant %q", text, want)
			}
			if strings.Contains(text, "lab net") || strings.Contains(text, "6C61") {
				t.Errorf("%q has the network's name", text)
			}
		})
	}
}

// untilFailed is a journal up to the end of its first try.
func untilFailed(journal string) string {
	before, _, _ := strings.Cut(journal, "state change: failed -> disconnected")
	return before
}

func TestConnection_isThere(t *testing.T) {
	s := steps.Connection{Interfaces: []string{"eth0", "wlan0"}, Cluster: netip.MustParseAddr("10.77.0.10"), Limit: time.Minute}
	for name, files := range map[string]map[string]string{
		"by cable": {ethernet: "1\n", "/said/ip-eth0": dhcpAddress},
		"by Wi-Fi": {ethernet: "0\n", wifi: "1\n", "/said/ip-wlan0": ownAddress + strings.ReplaceAll(dhcpAddress, "eth0", "wlan0")},
	} {
		t.Run(name, func(t *testing.T) {
			m := network(t, files)
			if drift, err := s.Check(t.Context(), m); drift != "" || err != nil {
				t.Errorf("check: %q, %v", drift, err)
			}
		})
	}
}

// NetworkManager tries a network again whose key was refused only if it is told to.
func TestConnection_triesAgain(t *testing.T) {
	s := steps.Connection{Interfaces: []string{"wlan0"}, Networks: []steps.Network{labNet}, Limit: time.Minute}
	m := network(t, map[string]string{wifi: "0\n", "/said/journal": recorded(t, "networkmanager-1.52-wrong-key.journal"),
		"/sys/class/rfkill/rfkill0/type": "wlan\n", "/sys/class/rfkill/rfkill0/soft": "1\n", "/sys/class/rfkill/rfkill0/hard": "0\n"})
	if _, err := firstNote(t, m, s); err == nil {
		t.Error("no error")
	}
	var commands []string
	for _, c := range m.Calls() {
		commands = append(commands, c.String())
	}
	for _, want := range []string{"rfkill unblock wlan", "nmcli radio wifi on", "nmcli --wait 0 connection up picluster-wifi-1"} {
		if !slices.Contains(commands, want) {
			t.Errorf("it has not run %s, but\n%s", want, strings.Join(commands, "\n"))
		}
	}
}

func TestClusterAddress_saysWhatIsWrong(t *testing.T) {
	s := steps.ClusterAddress{Interfaces: []string{"eth0", "wlan0"}, Address: netip.MustParsePrefix("10.77.0.10/24"), Limit: time.Minute}
	for name, tc := range map[string]struct {
		files map[string]string
		want  string
	}{
		"all is well": {map[string]string{wifi: "1\n", "/said/ip-wlan0": ownAddress}, ""},
		"no link":     {map[string]string{wifi: "0\n", "/said/ip-wlan0": ownAddress}, "10.77.0.10/24 is nowhere, because no interface has a link"},
		"not there":   {map[string]string{ethernet: "1\n", "/said/ip-eth0": dhcpAddress}, "10.77.0.10/24 is not on eth0"},
		"not usable":  {map[string]string{wifi: "1\n", "/said/ip-wlan0": strings.Replace(ownAddress, "global", "global tentative dadfailed", 1)}, "10.77.0.10/24 is not on wlan0"},
		"a clash": {map[string]string{wifi: "1\n", "/said/ip-wlan0": ownAddress, "/said/arping": recorded(t, "arping.clash")},
			"the cluster address 10.77.0.10 is in use by another device, with the MAC address 02:00:00:00:01:00"},
		"a clash that kept the address away": {map[string]string{wifi: "1\n", "/said/arping": recorded(t, "arping.clash")},
			"the cluster address 10.77.0.10 is in use by another device, with the MAC address 02:00:00:00:01:00"},
		"our own other interface": {map[string]string{wifi: "1\n", "/said/ip-wlan0": ownAddress, "/said/arping": recorded(t, "arping.clash"),
			"/sys/class/net/eth0/address": "02:00:00:00:01:00\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := network(t, tc.files)
			if got, err := s.Check(t.Context(), m); got != tc.want || err != nil {
				t.Errorf("check: %q, %v\nwant %q", got, err, tc.want)
			}
			if tc.want == "" {
				return
			}
			if text, _ := firstNote(t, m, s); text != "the cluster address: "+tc.want {
				t.Errorf("it waits for %q", text)
			}
		})
	}
}
