package steps

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"picluster/internal/host"
	"picluster/internal/joinapi"
	"picluster/internal/node"
)

// enrollSteps make a node of a spare. A named card enrolls when it joins.
func enrollSteps(c *node.Config, e Env) []Step {
	if !Nameless(c) {
		return nil
	}
	return []Step{NodeName{config: c, env: e}}
}

// NodeName wants a spare to be the node that node0 makes it, by a node.json as that
// node's card would have had it.
type NodeName struct {
	config *node.Config
	env    Env
}

func (s NodeName) Name() string   { return "name" }
func (s NodeName) String() string { return "{" + s.config.Name + "}" }

// Check implements Step.
func (s NodeName) Check(ctx context.Context, h host.Host) (string, error) {
	data, err := h.ReadFile(ctx, ConfigPath)
	if err != nil {
		return "", err
	}
	c, err := node.Parse(data)
	if err != nil || !Nameless(c) {
		return "", err
	}
	return s.config.Name + " has no node's name yet", nil
}

// Apply implements Step. Who has no cluster address yet borrows one for the time of
// asking.
func (s NodeName) Apply(ctx context.Context, h host.Host) error {
	client, err := JoinClient(ctx, h, s.config, s.env)
	if err != nil {
		return err
	}
	b := borrowed{subnet: s.config.Network.ClusterSubnet, peers: s.config.Peers, interfaces: interfaces(s.config.Network)}
	address, err := b.take(ctx, h)
	if err != nil {
		return err
	}
	defer b.giveBack(context.WithoutCancel(ctx), h)
	if s.env.Client == nil { // a test reaches the service by other ways
		client.Dialer.LocalAddr = &net.TCPAddr{IP: address.AsSlice()}
	}
	identity, err := client.Enroll(ctx)
	if err != nil {
		return err
	}
	data, err := named(s.config, identity).Marshal()
	if err != nil {
		return err
	}
	return privateFile("", ConfigPath, data).Apply(ctx, h)
}

// named is the document of the node that a spare has become.
func named(c *node.Config, id *joinapi.Identity) *node.Config {
	n, k := *c, *c.Kubernetes
	n.Name, n.Role, n.Peers = id.Node, node.Worker, id.Peers
	n.Network.ClusterAddress, n.Network.ClusterSubnet = id.Address, netip.Prefix{}
	k.Labels = id.Labels
	n.Kubernetes = &k
	return &n
}

// borrowed is an address of the cluster's subnet that no node has, for a Pi that is
// none yet. It is chosen from the subnet's end, where nodes come last, and only if
// nobody in the network answers for it.
type borrowed struct {
	subnet     netip.Prefix
	peers      []node.Peer
	interfaces []string
}

// borrowedPath says, until the next boot, what is to be given back.
const borrowedPath = runDir + "/borrowed-address"

const borrowTries = 16

func (b borrowed) take(ctx context.Context, h host.Host) (netip.Addr, error) {
	if !b.subnet.IsValid() {
		return netip.Addr{}, errors.New("borrow an address: this card does not know the cluster's subnet; write it again with imagebuilder")
	}
	b.giveBack(ctx, h) // of a run that was cut off
	device, err := b.device(ctx, h)
	if err != nil {
		return netip.Addr{}, err
	}
	for range borrowTries {
		address := b.candidate()
		if slices.ContainsFunc(b.peers, func(p node.Peer) bool { return p.Address == address }) {
			continue
		}
		whole := netip.PrefixFrom(address, b.subnet.Bits())
		holder, err := ClusterAddress{Address: whole}.holder(ctx, h, device)
		if err != nil {
			return netip.Addr{}, err
		}
		if holder != "" {
			continue
		}
		if err := (Text{Path: borrowedPath, Content: whole.String() + " " + device + "\n"}).Apply(ctx, h); err != nil {
			return netip.Addr{}, err
		}
		_, err = h.Run(ctx, host.Cmd{Args: []string{"ip", "address", "replace", whole.String(), "dev", device}})
		return address, err
	}
	return netip.Addr{}, fmt.Errorf("borrow an address: all that were tried in %s are in use", b.subnet)
}

// candidate is one of the last quarter, without the broadcast address.
func (b borrowed) candidate() netip.Addr {
	size := uint32(1) << (32 - b.subnet.Bits())
	base := binary.BigEndian.Uint32(b.subnet.Masked().Addr().AsSlice())
	offset := size - 2 - rand.Uint32N(max(1, size/4))
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, base+offset)))
}

// device is the first interface with a link, the better ones first.
func (b borrowed) device(ctx context.Context, h host.Host) (string, error) {
	for _, name := range b.interfaces {
		if l, err := findLink(ctx, h, name); err != nil || l.carrier {
			return name, err
		}
	}
	return "", fmt.Errorf("borrow an address: no link at %s", strings.Join(b.interfaces, " or "))
}

// giveBack takes the address off. It is nobody's error if the network manager has
// been quicker.
func (b borrowed) giveBack(ctx context.Context, h host.Host) {
	data, err := h.ReadFile(ctx, borrowedPath)
	if f := strings.Fields(string(data)); err == nil && len(f) == 2 {
		h.Run(ctx, host.Cmd{Args: []string{"ip", "address", "del", f[0], "dev", f[1]}})
		h.Remove(ctx, borrowedPath)
	}
}
