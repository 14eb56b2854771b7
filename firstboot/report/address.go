package report

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// realInterfaces are the beginnings of the names of Ethernet and Wi-Fi; bridges
// and tunnels of containers have others, and nobody logs in there.
var realInterfaces = []string{"eth", "en", "wl", "usb"}

// Addresses are this machine's, as people use them: none of loopback, of
// containers or valid on one link only.
func Addresses() []netip.Addr {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil // the status is worth showing without
	}
	var all []netip.Addr
	for _, i := range interfaces {
		if !slices.ContainsFunc(realInterfaces, func(p string) bool { return strings.HasPrefix(i.Name, p) }) {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && usable(prefix.Addr()) {
				all = append(all, prefix.Addr().WithZone(""))
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

func usable(a netip.Addr) bool {
	return !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified()
}
