package spec

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// firstNode is the offset of node 0 in the cluster's subnet: below it stay ten
// addresses for whatever else people put there.
const firstNode = 10

// NodeNames returns the names of all nodes, the control plane's first.
func (c *Cluster) NodeNames() []string {
	names := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		names[i] = n.Name
	}
	return names
}

// SpareNames returns the names that spare cards have until they are given a
// node's: spare-1, spare-2 and so on.
func (c *Cluster) SpareNames() []string {
	names := make([]string, c.Spares)
	for i := range names {
		names[i] = fmt.Sprintf("spare-%d", i+1)
	}
	return names
}

// ClusterAddress returns the fixed second address of node k, with the prefix
// length of the cluster's subnet. Numbers from len(Nodes) on are those of nodes
// that spares become. It is the zero Prefix if the subnet has no such address.
func (c *Cluster) ClusterAddress(k int) netip.Prefix {
	subnet := c.Network.ClusterSubnet
	if !subnet.IsValid() || !subnet.Addr().Is4() || k < 0 || firstNode+k >= addressesIn(subnet)-1 {
		return netip.Prefix{}
	}
	base := binary.BigEndian.Uint32(subnet.Masked().Addr().AsSlice())
	address := binary.BigEndian.AppendUint32(nil, base+uint32(firstNode+k))
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(address)), subnet.Bits())
}

// addressesIn returns how many addresses an IPv4 subnet has, its own and the
// broadcast address included.
func addressesIn(subnet netip.Prefix) int { return 1 << (32 - subnet.Bits()) }

func prefix(a, b, c, d byte, bits int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b, c, d}), bits)
}

// Warnings returns what is not wrong but likely not meant, in the order of the
// document's lines.
func (c *Cluster) Warnings() []Problem { return c.warnings }
