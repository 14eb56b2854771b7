package steps

import (
	"bytes"
	"crypto/sha1"
	"fmt"
	"regexp"
	"strings"

	"picluster/internal/node"
	"picluster/internal/secret"
)

// profile is a connection of NetworkManager as a keyfile
// (nm-settings-keyfile(5)).
type profile struct {
	id       string // also the file's name
	uuid     string
	device   string // "eth0"; empty: any of the kind
	priority int    // the greater is tried first
	wifi     *wifi  // nil: Ethernet
	ipv4     []string
}

type wifi struct {
	ssid     string // in the keyfile's form
	hidden   bool
	security string // key-mgmt; empty is open
	key      secret.Text
}

// profiles are one for Ethernet and one for each Wi-Fi network, the earlier ones
// preferred. An interface that the node does not use gets none: Ethernet without
// one is brought up with DHCP by NetworkManager itself, which helps whoever
// plugs in a cable to see what is wrong.
func profiles(c *node.Config) []profile {
	n := c.Network
	plain, addressed := ipv4(node.Network{}), ipv4(n)
	var all []profile
	if n.Interface != "wlan0" {
		all = append(all, profile{id: "picluster-eth0", device: "eth0", ipv4: addressed})
	}
	for i, w := range n.WiFi {
		p := profile{id: fmt.Sprintf("picluster-wifi-%d", i+1), device: "wlan0", priority: len(n.WiFi) - i, ipv4: addressed,
			wifi: &wifi{ssid: keyfileSSID(w.SSID), hidden: w.Hidden, security: keyManagement(w.Security), key: w.Key.Text}}
		if n.Interface == "eth0" {
			p.ipv4 = plain
		}
		all = append(all, p)
	}
	for i := range all {
		all[i].uuid = uuid(c.Cluster.ID, c.Name, all[i].id)
	}
	return all
}

// ipv4 are the lines of the section: DHCP or a static address, and the cluster's
// address beside it, which NetworkManager adds with either method.
func ipv4(n node.Network) []string {
	var addresses []string
	lines := []string{"method=auto"}
	if s := n.Static; s != nil {
		lines = []string{"method=manual"}
		address := s.Address.String()
		if s.Gateway.IsValid() {
			address += "," + s.Gateway.String()
		}
		addresses = append(addresses, address)
	}
	if n.ClusterAddress.IsValid() {
		addresses = append(addresses, n.ClusterAddress.String())
	}
	for i, a := range addresses {
		lines = append(lines, fmt.Sprintf("address%d=%s", i+1, a))
	}
	if n.Static != nil && len(n.Static.DNS) > 0 {
		servers := ""
		for _, d := range n.Static.DNS {
			servers += d.String() + ";"
		}
		lines = append(lines, "dns="+servers)
	}
	return lines
}

// keyfile is the file, secrets included.
func (p profile) keyfile() []byte {
	var b bytes.Buffer
	kind := "ethernet"
	if p.wifi != nil {
		kind = "wifi"
	}
	fmt.Fprintf(&b, "[connection]\nid=%s\nuuid=%s\ntype=%s\ninterface-name=%s\n", p.id, p.uuid, kind, p.device)
	if p.priority > 0 {
		fmt.Fprintf(&b, "autoconnect-priority=%d\n", p.priority)
	}
	if w := p.wifi; w != nil {
		// powersave=2 is off: a node whose radio sleeps answers late, or not at all.
		fmt.Fprintf(&b, "\n[wifi]\nmode=infrastructure\nssid=%s\npowersave=2\n", w.ssid)
		if w.hidden {
			b.WriteString("hidden=true\n")
		}
		if w.security != "" {
			fmt.Fprintf(&b, "\n[wifi-security]\nkey-mgmt=%s\npsk=%s\n", w.security, keyfileValue(w.key.Reveal()))
		}
	}
	fmt.Fprintf(&b, "\n[ipv4]\n%s\n\n[ipv6]\nmethod=auto\n", strings.Join(p.ipv4, "\n"))
	return b.Bytes()
}

// keyManagement is NetworkManager's key-mgmt: its wpa-psk tries WPA3 too where
// the network and the chip do both.
func keyManagement(security string) string {
	switch security {
	case "open":
		return ""
	case "wpa3":
		return "sae"
	}
	return "wpa-psk"
}

// plainSSID are names that cannot be taken for a list of numbers or for
// something escaped.
var plainSSID = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*( [A-Za-z0-9_.-]+)*$`)

// keyfileSSID writes octets as text or as the list of numbers that keyfiles
// have for all others.
func keyfileSSID(octets []byte) string {
	if plainSSID.Match(octets) {
		return string(octets)
	}
	var b strings.Builder
	for _, o := range octets {
		fmt.Fprintf(&b, "%d;", o)
	}
	return b.String()
}

// keyfileValue escapes what GLib's key files escape. Blanks at either end would
// be lost otherwise.
func keyfileValue(s string) string {
	return strings.NewReplacer(`\`, `\\`, " ", `\s`, "\t", `\t`).Replace(s)
}

// uuid names a profile the same at each run (RFC 9562, version 5 in form).
func uuid(parts ...string) string {
	sum := sha1.Sum([]byte("picluster\x00" + strings.Join(parts, "\x00")))
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
