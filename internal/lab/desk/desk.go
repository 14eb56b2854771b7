// Package desk makes what a person makes at a desk before there is a cluster: the
// secrets of its cards and each card's node.json, for tests of what Pis do with
// them. The keys are imagebuilder's own; only what joining needs is in the
// documents.
package desk

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"picluster/imagebuilder/secrets"
	"picluster/internal/node"
	"picluster/internal/secret"
)

// Desk is a cluster that was planned and not switched on yet. Its nodes are
// pi-node0 to pi-nodeN, its spares spare-1 to spare-N.
type Desk struct {
	Want   secrets.Want
	Bundle *secrets.Bundle
	Made   time.Time // when cards are made; the bundle's clock

	t testing.TB
}

// Subnet is where the nodes' cluster addresses are.
var Subnet = netip.MustParsePrefix("10.77.0.0/24")

// New plans a cluster, on that day: cards are valid for 90 days. Clusters of other
// sizes or days are other clusters; those of one kind have the same keys, where the
// package has Main.
func New(t testing.TB, made time.Time, nodes, spares int) *Desk {
	t.Helper()
	d := &Desk{t: t, Made: made.UTC().Truncate(time.Second)}
	d.Want = secrets.Want{Cluster: "home", Spares: spares, Now: func() time.Time { return d.Made }}
	d.add(nodes)
	dir := filepath.Join(t.TempDir(), "secrets")
	if out, err := exec.Command("cp", "-a", d.template(), dir).CombinedOutput(); err != nil {
		t.Fatalf("copy secrets: %v: %s", err, out)
	}
	var err error
	if d.Bundle, err = secrets.Open(dir); err != nil {
		t.Fatal(err)
	}
	return d
}

var templates struct {
	sync.Mutex
	dir string
}

// template is a bundle of that size, which is some hundred synced files.
func (d *Desk) template() string {
	d.t.Helper()
	templates.Lock()
	defer templates.Unlock()
	dir := filepath.Join(templates.dir, fmt.Sprintf("%d-%d-%d", len(d.Want.Nodes), d.Want.Spares, d.Made.Unix()))
	if _, err := os.Stat(dir); err == nil && templates.dir != "" {
		return dir
	}
	if templates.dir == "" {
		dir = filepath.Join(d.t.TempDir(), "secrets")
	}
	if _, _, err := secrets.Init(dir, d.Want); err != nil {
		d.t.Fatal(err)
	}
	return dir
}

// Main runs a package's tests with their files in memory: thousands of them are
// synced, and it is the order that counts. Tests of a package without it are slower
// and as good.
func Main(m *testing.M) int {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		os.Setenv("TMPDIR", "/dev/shm")
	}
	dir, err := os.MkdirTemp("", "picluster-desk-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	templates.dir = dir
	return m.Run()
}

// Grow makes more cards. Those made before, node0's too, know nothing of them.
func (d *Desk) Grow(nodes, spares int) {
	d.t.Helper()
	d.add(nodes)
	d.Want.Spares += spares
	var err error
	if d.Bundle, _, err = secrets.Init(d.Bundle.Dir(), d.Want); err != nil {
		d.t.Fatal(err)
	}
}

// Renew writes a card again: its next generation.
func (d *Desk) Renew(name string) {
	d.t.Helper()
	if _, err := d.Bundle.Renew(name, d.Want); err != nil {
		d.t.Fatal(err)
	}
}

func (d *Desk) add(nodes int) {
	for range nodes {
		i := len(d.Want.Nodes)
		d.Want.Nodes = append(d.Want.Nodes, secrets.Node{Name: NodeName(i), ControlPlane: i == 0,
			ClusterAddress: Address(i), Labels: map[string]string{"number": fmt.Sprint(i)}})
	}
}

// NodeName is the name of the ith node.
func NodeName(i int) string { return fmt.Sprintf("pi-node%d", i) }

// Address is the cluster address of the ith node.
func Address(i int) netip.Addr {
	a := Subnet.Addr()
	for range 10 + i {
		a = a.Next()
	}
	return a
}

// Spares are the names of the spare cards.
func (d *Desk) Spares() (names []string) {
	for i := range d.Want.Spares {
		names = append(names, fmt.Sprintf("spare-%d", i+1))
	}
	return names
}

// CardID is the id of a card's newest generation.
func (d *Desk) CardID(name string) string { return d.Config(name).Join.CardID }

// Config is a card's node.json, as far as joining is concerned.
func (d *Desk) Config(name string) *node.Config {
	d.t.Helper()
	card, err := d.Bundle.Card(name)
	if err != nil {
		d.t.Fatal(err)
	}
	b := d.Bundle
	c := &node.Config{Version: node.Version, Name: name, Role: node.Spare,
		Cluster: node.Cluster{Name: "home", ID: b.ID()}, Build: node.Build{Time: d.Made},
		Join: &node.Join{CardID: card.ID(), Generation: card.Generation(), CA: b.CA(), Certificate: card.Certificate(),
			Key: secret.Wire{Text: card.Key()}, ServerName: b.ServerName(), Server: Address(0)}}
	for _, n := range d.Want.Nodes {
		c.Peers = append(c.Peers, node.Peer{Name: n.Name, Address: n.ClusterAddress})
		if n.Name == name {
			c.Role, c.Network.ClusterAddress = node.Worker, netip.PrefixFrom(n.ClusterAddress, Subnet.Bits())
		}
	}
	if name != NodeName(0) {
		return c
	}
	c.Role = node.ControlPlane
	doc, signature, err := b.Inventory(d.Want)
	if err != nil {
		d.t.Fatal(err)
	}
	c.Join.Service = &node.JoinService{Certificate: b.ServerCertificate(), Key: secret.Wire{Text: b.ServerKey()},
		DeviceCA: b.DeviceCA(), DeviceCAKey: secret.Wire{Text: b.DeviceCAKey()}, Inventory: doc, InventorySig: signature}
	return c
}

// Complete adds what node.json has to have and joining does not care for.
func Complete(c *node.Config) {
	c.System = node.System{User: node.User{Name: "pi", AuthorizedKeys: []string{"ssh-ed25519 AAAA me"}, Sudo: "nopasswd"}, Swap: "zram"}
	c.Network.Interface = "auto"
}
