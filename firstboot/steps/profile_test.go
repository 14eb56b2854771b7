package steps

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"picluster/internal/golden"
	"picluster/internal/node"
	"picluster/internal/secret"
)

// Every kind of network in NetworkManager's form, with keys that are nobody's.
func TestProfiles_areWhatReviewersRead(t *testing.T) {
	wifi := []node.WiFi{
		{SSID: []byte("home"), Security: "wpa2", Key: secret.NewWire(strings.Repeat("0123456789abcdef", 4))},
		{SSID: []byte("both kinds"), Security: "wpa2-wpa3", Key: secret.NewWire(` back\slash `)},
		{SSID: []byte("new"), Security: "wpa3", Key: secret.NewWire("passphrase"), Hidden: true},
		{SSID: []byte("12345"), Security: "open"},
		{SSID: []byte("caf\xe9;"), Security: "open"},
	}
	static := &node.Static{Address: netip.MustParsePrefix("192.168.1.5/24"), Gateway: netip.MustParseAddr("192.168.1.1"),
		DNS: []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("9.9.9.9")}}
	address := netip.MustParsePrefix("10.77.0.11/24")
	var b strings.Builder
	for _, n := range []node.Network{
		{Interface: "auto", ClusterAddress: address, WiFi: wifi},
		{Interface: "eth0", ClusterAddress: address, WiFi: wifi[:1], Static: static},
		{Interface: "wlan0", ClusterAddress: address, WiFi: wifi[:1]},
		{Interface: "auto"}, // a spare
	} {
		c := &node.Config{Name: "raspberrypi-node1", Cluster: node.Cluster{ID: "6f9619ff"}, Network: n}
		fmt.Fprintf(&b, "##### interface %s, %d Wi-Fi networks, cluster address %v\n", n.Interface, len(n.WiFi), n.ClusterAddress)
		for _, p := range profiles(c) {
			fmt.Fprintf(&b, "\n### %s.nmconnection\n%s", p.id, p.keyfile())
		}
		b.WriteByte('\n')
	}
	golden.Equal(t, "testdata/profiles.golden", []byte(b.String()))
}

func TestEdits_leaveTheirOwnResultAlone(t *testing.T) {
	hosts := Hosts{Host: "node1", Peers: []Peer{{"node0", netip.MustParseAddr("10.77.0.10")}}}
	for name, tc := range map[string]struct {
		edit     func(string) (string, error)
		old, new string
	}{
		"hosts of the image": {hosts.edit, "127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n",
			"127.0.0.1\tlocalhost\n127.0.1.1\tnode1\n# picluster: begin\n10.77.0.10\tnode0\n# picluster: end\n"},
		"hosts without an own name": {hosts.edit, "127.0.0.1\tlocalhost",
			"127.0.0.1\tlocalhost\n127.0.1.1\tnode1\n# picluster: begin\n10.77.0.10\tnode0\n# picluster: end\n"},
		"hosts of a cluster that has grown": {Hosts{Host: "node1", Peers: hosts.Peers, Grow: true}.edit,
			"127.0.1.1\tnode1\n# picluster: begin\n10.77.0.10\tolder\n10.77.0.19\tnode0\n10.77.0.14\tnode4\n# picluster: end\n",
			"127.0.1.1\tnode1\n# picluster: begin\n10.77.0.10\tnode0\n10.77.0.14\tnode4\n# picluster: end\n"},
		"hosts of an older card": {hosts.edit, "127.0.1.1\tnode9\n# picluster: begin\n10.77.0.19\tnode9\n# picluster: end\n10.0.0.1 router\n",
			"127.0.1.1\tnode1\n10.0.0.1 router\n# picluster: begin\n10.77.0.10\tnode0\n# picluster: end\n"},
		"Wi-Fi off":        {WirelessEnabled{}.edit, "[main]\nNetworkingEnabled=true\nWirelessEnabled=false\n", "[main]\nWirelessEnabled=true\nNetworkingEnabled=true\n"},
		"Wi-Fi never seen": {WirelessEnabled{}.edit, "", "[main]\nWirelessEnabled=true\n"},
		"access times": {NoAccessTimes{}.edit, "# / here\nPARTUUID=1-01 /boot vfat defaults 0 2\nPARTUUID=1-02  /  ext4  defaults  0 1\n",
			"# / here\nPARTUUID=1-01 /boot vfat defaults 0 2\nPARTUUID=1-02  /  ext4  defaults,noatime  0 1\n"},
		"a variable":         {set("LANG", "C.UTF-8"), "# LANG=x\nLANG=en_GB.UTF-8\nLANG=y\nLC_ALL=z", "# LANG=x\nLANG=\"C.UTF-8\"\nLC_ALL=z"},
		"a missing one":      {set("LANG", "C.UTF-8"), "LC_ALL=z", "LC_ALL=z\nLANG=\"C.UTF-8\"\n"},
		"a locale":           {func(s string) (string, error) { return withLine(s, "en_US.UTF-8 UTF-8"), nil }, "# en_US.UTF-8 UTF-8\n# fr_FR.UTF-8 UTF-8\n", "en_US.UTF-8 UTF-8\n# fr_FR.UTF-8 UTF-8\n"},
		"an unlisted locale": {func(s string) (string, error) { return withLine(s, "en_US.UTF-8 UTF-8"), nil }, "", "en_US.UTF-8 UTF-8\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.edit(tc.old)
			if err != nil || got != tc.new {
				t.Errorf("got %q, %v\nwant %q", got, err, tc.new)
			}
			if again, err := tc.edit(got); err != nil || again != got {
				t.Errorf("and again: %q, %v", again, err)
			}
		})
	}
}

func set(key, value string) func(string) (string, error) {
	return Variable{Path: "/etc/default/x", Key: key, Value: value}.edited().edit
}
