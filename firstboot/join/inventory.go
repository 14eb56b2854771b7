package join

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"

	"picluster/internal/node"
)

// inventory is the list of cards that the desk has signed: the only source of a
// node's name and role.
type inventory struct {
	Version int             `json:"version"`
	Cluster string          `json:"cluster"`
	Cards   []inventoryCard `json:"cards"`

	byID   map[string]*inventoryCard
	byName map[string]*inventoryCard
}

type inventoryCard struct {
	CardID          string            `json:"cardID"`
	Generation      int               `json:"generation"`
	PublicKeySHA256 string            `json:"publicKeySHA256"`
	Node            string            `json:"node"`
	Role            node.Role         `json:"role"`
	Labels          map[string]string `json:"labels,omitempty"`
}

const inventoryVersion = 1

// hostLabel is an RFC 1123 label.
var hostLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// readInventory checks the signature over the exact bytes before it looks at them.
func readInventory(t trust, doc, signature []byte) (*inventory, error) {
	inv, err := parseInventory(t, doc, signature)
	if err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	return inv, nil
}

func parseInventory(t trust, doc, signature []byte) (*inventory, error) {
	public, ok := t.root.PublicKey.(*ecdsa.PublicKey)
	sum := sha256.Sum256(doc)
	if !ok || !ecdsa.VerifyASN1(public, sum[:], signature) {
		return nil, errors.New("the enrolment CA has not signed it")
	}
	inv := &inventory{byID: map[string]*inventoryCard{}, byName: map[string]*inventoryCard{}}
	if err := json.Unmarshal(doc, inv); err != nil {
		return nil, err
	}
	switch {
	case inv.Version != inventoryVersion:
		return nil, fmt.Errorf("it has version %d, this program reads version %d", inv.Version, inventoryVersion)
	case inv.Cluster != t.cluster:
		return nil, errors.New("it is of another cluster")
	}
	for i := range inv.Cards {
		c := &inv.Cards[i]
		if !cardIDForm.MatchString(c.CardID) || !hostLabel.MatchString(c.Node) || c.Generation < 1 {
			return nil, fmt.Errorf("card %q of %q is no card", c.CardID, c.Node)
		}
		if inv.byID[c.CardID] != nil || inv.byName[c.Node] != nil {
			return nil, fmt.Errorf("card %s or its name %s is in it twice", c.CardID, c.Node)
		}
		inv.byID[c.CardID], inv.byName[c.Node] = c, c
	}
	return inv, nil
}

// controlPlane is the name of node0.
func (inv *inventory) controlPlane() string {
	for _, c := range inv.Cards {
		if c.Role == node.ControlPlane {
			return c.Node
		}
	}
	return ""
}

// names hands out names and cluster addresses to spares: as the desk numbers
// nodes, the lowest number of which neither is taken.
type names struct {
	peers  []node.Peer  // of the desk; the control plane is the first
	subnet netip.Prefix // of the cluster addresses
}

var numbered = regexp.MustCompile(`^(.*?)([0-9]+)$`)

// prefix is what the numbered names of the cluster begin with.
func (n names) prefix() string {
	for _, p := range n.peers {
		if m := numbered.FindStringSubmatch(p.Name); m != nil {
			return m[1]
		}
	}
	return "node"
}

// free returns the lowest name that is not taken, with its address.
func (n names) free(taken map[string]bool) (string, netip.Prefix, bool) {
	used := map[netip.Addr]bool{}
	for _, p := range n.peers {
		used[p.Address] = true
	}
	for k := 0; ; k++ {
		address, ok := n.address(k)
		if !ok {
			return "", netip.Prefix{}, false
		}
		name := n.prefix() + strconv.Itoa(k)
		if taken[name] {
			continue
		}
		// A name of the desk whose card was removed keeps its address.
		if own := n.addressOf(name); own.IsValid() {
			return name, own, true
		}
		if !used[address] {
			return name, netip.PrefixFrom(address, n.subnet.Bits()), true
		}
	}
}

// address is the kth one after the control plane's.
func (n names) address(k int) (netip.Addr, bool) {
	a := n.peers[0].Address
	for range k {
		a = a.Next()
	}
	// Not the broadcast address.
	return a, n.subnet.Contains(a) && n.subnet.Contains(a.Next())
}

// addressOf is a node's cluster address: by the desk's list, or by the number in
// its name for a node that was added later.
func (n names) addressOf(name string) netip.Prefix {
	taken := map[netip.Addr]bool{}
	for _, p := range n.peers {
		if p.Name == name {
			return netip.PrefixFrom(p.Address, n.subnet.Bits())
		}
		taken[p.Address] = true
	}
	m := numbered.FindStringSubmatch(name)
	if m == nil || m[1] != n.prefix() {
		return netip.Prefix{}
	}
	k, err := strconv.Atoi(m[2])
	if err != nil || k >= 1<<16 {
		return netip.Prefix{}
	}
	if a, ok := n.address(k); ok && !taken[a] {
		return netip.PrefixFrom(a, n.subnet.Bits())
	}
	return netip.Prefix{}
}

// keyIs compares a certificate's key with the inventory's.
func (c *inventoryCard) keyIs(p *peer) bool {
	return c.PublicKeySHA256 == p.key && c.Generation == p.generation
}

func rootOf(pem string) (*x509.Certificate, error) {
	all, err := parseCertificates(pem)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}
