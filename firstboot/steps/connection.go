package steps

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// connectionSteps wait until the node is on its network, and say why it is not.
// What they say never has a network's name in it: it is shown to whoever opens the
// status page.
func connectionSteps(c *node.Config) []Step {
	n := c.Network
	s := Connection{Interfaces: interfaces(n), Cluster: n.ClusterAddress.Addr(), Static: n.Static != nil,
		Dhcpcd: slices.Contains([]string{"stretch", "buster", "bullseye"}, c.Build.Release), Limit: 3 * time.Minute}
	for _, w := range n.WiFi {
		s.Networks = append(s.Networks, Network{SSID: fmt.Sprintf("%X", w.SSID), Hidden: w.Hidden})
	}
	steps := []Step{s}
	if n.ClusterAddress.IsValid() {
		steps = append(steps, ClusterAddress{Interfaces: s.Interfaces, Address: n.ClusterAddress, Limit: time.Minute})
	}
	return steps
}

// Connection wants one of the interfaces to have a link and an address that it has
// from a DHCP server or from cluster.yaml.
type Connection struct {
	Interfaces []string // any of these, the better ones first
	Networks   []Network
	Cluster    netip.Addr // does not count: it is there with and without a network
	Static     bool       // no DHCP
	Dhcpcd     bool       // dhcpcd and wpa_supplicant instead of NetworkManager
	Limit      time.Duration
}

// Network is one of the Wi-Fi networks to try.
type Network struct {
	SSID   string // its octets in hexadecimal, capital letters
	Hidden bool
}

func (s Connection) Name() string { return "connection" }

// Check implements Step.
func (s Connection) Check(ctx context.Context, h host.Host) (string, error) {
	for _, name := range s.Interfaces {
		l, err := findLink(ctx, h, name)
		if err != nil || s.connected(l) {
			return "", err
		}
	}
	return "not on a network by " + strings.Join(s.Interfaces, " or "), nil
}

func (s Connection) connected(l link) bool {
	return l.carrier && slices.ContainsFunc(l.addresses, func(p netip.Prefix) bool {
		return p.Addr() != s.Cluster && !p.Addr().IsLinkLocalUnicast() // 169.254: what stands for no answer
	})
}

// Apply implements Step. Joining is the network manager's work; it is only told to
// try again what it has given up.
func (s Connection) Apply(ctx context.Context, h host.Host) error {
	turn := 0
	return step.Wait{For: "the network", Limit: s.Limit, Every: 5 * time.Second}.Until(ctx, func(ctx context.Context) error {
		if turn++; turn%12 == 1 {
			if err := s.encourage(ctx, h); err != nil {
				return err
			}
		}
		drift, err := s.Check(ctx, h)
		if err != nil || drift == "" {
			return err
		}
		return s.reason(ctx, h)
	})
}

// link is a network interface as the kernel has it.
type link struct {
	name      string
	exists    bool
	carrier   bool // a cable, or a Wi-Fi network that has let us in
	addresses []netip.Prefix
}

const sysNet = "/sys/class/net"

func findLink(ctx context.Context, h host.Host, name string) (link, error) {
	l := link{name: name}
	var err error
	if l.exists, err = exists(ctx, h, path.Join(sysNet, name)); err != nil || !l.exists {
		return l, err
	}
	// The file cannot be read while the interface is down.
	if carrier, err := h.ReadFile(ctx, path.Join(sysNet, name, "carrier")); err == nil {
		l.carrier = strings.TrimSpace(string(carrier)) == "1"
	}
	out, err := h.Run(ctx, host.Cmd{Args: []string{"ip", "-4", "-o", "address", "show", "dev", name}})
	if err != nil {
		return l, err
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		i := slices.Index(f, "inet")
		// A duplicate that the kernel or NetworkManager has found is no address.
		if i < 0 || i+1 >= len(f) || slices.Contains(f, "dadfailed") || slices.Contains(f, "tentative") {
			continue
		}
		p, err := netip.ParsePrefix(f[i+1])
		if err != nil {
			return l, fmt.Errorf("read addresses of %s: %w", name, err)
		}
		l.addresses = append(l.addresses, p)
	}
	return l, nil
}
