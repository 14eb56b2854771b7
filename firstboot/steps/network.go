package steps

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"picluster/internal/bootfiles"
	"picluster/internal/host"
	"picluster/internal/node"
)

// networkSteps writes what the release's own network manager reads:
// NetworkManager since bookworm, dhcpcd and wpa_supplicant before.
func networkSteps(c *node.Config) ([]Step, error) {
	n := c.Network
	var steps []Step
	switch c.Build.Release {
	case "stretch", "buster", "bullseye":
		old, err := dhcpcdSteps(n)
		if err != nil {
			return nil, err
		}
		steps = old
	default:
		steps = networkManagerSteps(c)
	}
	if len(n.WiFi) == 0 {
		return steps, nil
	}
	// The kernel command line says it too, from the next boot on; this boot's was
	// read before. The driver is a module on every Pi kernel.
	steps = append(steps, Text{What: "Wi-Fi country", Path: "/etc/modprobe.d/picluster-wifi.conf",
		Content: fmt.Sprintf("options cfg80211 ieee80211_regdom=%s\n", n.Country)})
	return append(steps, RFKill{Devices: onboardWiFi}), nil
}

func networkManagerSteps(c *node.Config) []Step {
	var steps []Step
	for _, p := range profiles(c) {
		// NetworkManager ignores a profile that others could read.
		steps = append(steps, privateFile("profile "+p.id, "/etc/NetworkManager/system-connections/"+p.id+".nmconnection", p.keyfile()))
	}
	steps = append(steps, Text{What: "time after the network", Path: "/etc/NetworkManager/dispatcher.d/90-picluster-time", Mode: 0o755, Content: askForTime})
	if len(c.Network.WiFi) > 0 {
		steps = append(steps, WirelessEnabled{})
	}
	return steps
}

// askForTime is called by NetworkManager once a connection is up with all its
// addresses (NetworkManager-dispatcher(8)). When two come within a moment, as ours
// do at each boot, timesyncd may lose the question for its server's address and
// then asks nobody for many minutes (seen with 257: "Packet count: 0", poll
// interval 8 min). The pods' interfaces come and go, so only our own count: after
// five starts in ten seconds systemd would give timesyncd up.
const askForTime = `#!/bin/sh
case "$2 $CONNECTION_ID" in
"up picluster-"*) exec systemctl --no-block try-restart systemd-timesyncd.service ;;
esac
`

// WirelessEnabled wants NetworkManager's Wi-Fi switched on. Images are shipped
// with it off until somebody names a country (pi-gen, stage2/02-net-tweaks).
type WirelessEnabled struct{}

func (s WirelessEnabled) Name() string { return "Wi-Fi switched on" }

func (s WirelessEnabled) edited() edited {
	return edited{path: "/var/lib/NetworkManager/NetworkManager.state", edit: s.edit, mode: 0o600}
}

// edit leaves a file alone that says so anywhere: NetworkManager writes it anew, in
// an order of its own.
func (s WirelessEnabled) edit(text string) (string, error) {
	const on = "WirelessEnabled=true\n"
	if slices.Contains(strings.SplitAfter(text, "\n"), on) {
		return text, nil
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "WirelessEnabled=") {
			continue
		}
		out.WriteString(line)
		if strings.TrimSpace(line) == "[main]" {
			if !strings.HasSuffix(line, "\n") {
				out.WriteByte('\n')
			}
			out.WriteString(on)
		}
	}
	if s := out.String(); !strings.Contains(s, on) {
		return "[main]\n" + on + s, nil
	}
	return out.String(), nil
}

// Check implements Step.
func (s WirelessEnabled) Check(ctx context.Context, h host.Host) (string, error) {
	return s.edited().drift(ctx, h)
}

// Apply implements Step.
func (s WirelessEnabled) Apply(ctx context.Context, h host.Host) error {
	return s.edited().apply(ctx, h)
}

// onboardWiFi are the names under which systemd-rfkill keeps the state of a Pi's
// own Wi-Fi (raspberrypi-sys-mods' list): Zero W, Pi 3 and Zero 2, Pi 4, Pi 5.
var onboardWiFi = []string{
	"platform-20300000.mmcnr:wlan", "platform-3f300000.mmcnr:wlan", "platform-fe300000.mmcnr:wlan", "platform-1001100000.mmc:wlan",
}

// RFKill wants no Wi-Fi device blocked: neither those nor any that the image
// knows. systemd-rfkill restores the state when the device appears.
type RFKill struct{ Devices []string }

func (s RFKill) Name() string { return "Wi-Fi not blocked" }

const rfkillDir = "/var/lib/systemd/rfkill"

func (s RFKill) paths(ctx context.Context, h host.Host) ([]string, error) {
	var paths []string
	for _, d := range s.Devices {
		paths = append(paths, path.Join(rfkillDir, d))
	}
	there, err := exists(ctx, h, rfkillDir)
	if err != nil || !there {
		return paths, err
	}
	names, err := h.ReadDir(ctx, rfkillDir)
	for _, name := range names {
		if strings.HasSuffix(name, ":wlan") {
			paths = append(paths, path.Join(rfkillDir, name))
		}
	}
	return unique(paths), err
}

var unblocked = host.File{Data: []byte("0\n")} // systemd's src/rfkill/rfkill.c

// Check implements Step.
func (s RFKill) Check(ctx context.Context, h host.Host) (string, error) {
	paths, err := s.paths(ctx, h)
	if err != nil {
		return "", err
	}
	for _, p := range paths {
		if drift, err := unblocked.Drift(ctx, h, p); err != nil || drift != "" {
			return drift, err
		}
	}
	return "", nil
}

// Apply implements Step.
func (s RFKill) Apply(ctx context.Context, h host.Host) error {
	paths, err := s.paths(ctx, h)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if err := h.Write(ctx, p, unblocked); err != nil {
			return err
		}
	}
	return nil
}

// dhcpcdSteps are for the releases that run dhcpcd and wpa_supplicant.
func dhcpcdSteps(n node.Network) ([]Step, error) {
	steps := []Step{
		DHCPCD{Lines: dhcpcdLines(n)},
	}
	if n.ClusterAddress.IsValid() {
		// "static ip_address" would switch DHCP off, so the second address is added
		// by the hook that dhcpcd-run-hooks(8) runs at each change of an interface.
		steps = append(steps, Text{What: "cluster address", Path: "/etc/dhcpcd.exit-hook", Content: exitHook(n)})
	}
	if len(n.WiFi) == 0 {
		return steps, nil
	}
	var networks []bootfiles.Network
	for _, w := range n.WiFi {
		networks = append(networks, bootfiles.Network{SSID: w.SSID, Security: bootfiles.Security(w.Security), Key: w.Key.Text, Hidden: w.Hidden})
	}
	conf, err := bootfiles.WPASupplicant(n.Country, networks)
	if err != nil {
		return nil, err
	}
	return append(steps, privateFile("Wi-Fi networks", "/etc/wpa_supplicant/wpa_supplicant.conf", conf)), nil
}

// interfaces are those that carry the node's addresses. With auto that is
// whichever is plugged in; Wi-Fi only if the node has a network to try.
func interfaces(n node.Network) []string {
	switch {
	case n.Interface != "auto":
		return []string{n.Interface}
	case len(n.WiFi) > 0:
		return []string{"eth0", "wlan0"}
	}
	return []string{"eth0"}
}

func exitHook(n node.Network) string {
	return fmt.Sprintf(`# picluster: the cluster address, next to what dhcpcd gives the interface.
case "$interface:$reason" in
%s)
	ip address replace %s dev "$interface"
	;;
esac
`, hookPatterns(interfaces(n)), n.ClusterAddress)
}

// hookPatterns matches an interface whenever it has got an address of its own or
// is about to get one without DHCP.
func hookPatterns(interfaces []string) string {
	var patterns []string
	for _, i := range interfaces {
		for _, reason := range strings.Fields("CARRIER BOUND RENEW REBIND REBOOT STATIC IPV4LL TIMEOUT") {
			patterns = append(patterns, i+":"+reason)
		}
	}
	return strings.Join(patterns, " | ")
}

func dhcpcdLines(n node.Network) string {
	if n.Static == nil {
		return ""
	}
	var b strings.Builder
	for _, i := range interfaces(n) {
		fmt.Fprintf(&b, "interface %s\nstatic ip_address=%s\n", i, n.Static.Address)
		if n.Static.Gateway.IsValid() {
			fmt.Fprintf(&b, "static routers=%s\n", n.Static.Gateway)
		}
		var servers []string
		for _, s := range n.Static.DNS {
			servers = append(servers, s.String())
		}
		if servers != nil {
			fmt.Fprintf(&b, "static domain_name_servers=%s\n", strings.Join(servers, " "))
		}
	}
	return b.String()
}

// DHCPCD wants our block, and no other of ours, at the end of dhcpcd.conf, where
// an interface's block may stand. It is empty with DHCP.
type DHCPCD struct{ Lines string }

func (s DHCPCD) Name() string   { return "static address" }
func (s DHCPCD) String() string { return fmt.Sprintf("{/etc/dhcpcd.conf block %q}", s.Lines) }

func (s DHCPCD) edited() edited {
	return edited{path: "/etc/dhcpcd.conf", edit: func(text string) (string, error) { return block(text, s.Lines), nil }}
}

// Check implements Step.
func (s DHCPCD) Check(ctx context.Context, h host.Host) (string, error) {
	return s.edited().drift(ctx, h)
}

// Apply implements Step.
func (s DHCPCD) Apply(ctx context.Context, h host.Host) error { return s.edited().apply(ctx, h) }
