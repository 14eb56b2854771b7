// Package nodes makes Pis without virtual machines: each is a Debian with systemd as
// PID 1, by systemd-nspawn, with a disk, a name, processes, cgroups and a network of
// its own. They are on one switch with a router that gives out addresses. A node can
// lose its power and its cable; on it run the programs that run on a Pi, among them
// containerd and the kubelet.
//
// It needs root, and the Debian packages systemd-container, mmdebstrap, dnsmasq-base
// and iproute2. What the kernel of the test's machine forces upon a node, and no Pi
// would want, is in forced.go.
package nodes

import (
	"os"
	"path/filepath"
	"testing"

	"picluster/internal/host"
	"picluster/internal/lab/netns"
	"picluster/internal/lab/tool"
)

// LAN is a switch, a router and the nodes that are plugged in. It ends with the test.
type LAN struct {
	*netns.Switch
	Router *Router
	Shelf  string // a directory that nodes which are switched on find at /media; may be ""

	t     testing.TB
	dir   string
	root  string // what every disk begins with
	nodes []*Node
}

// New makes a network without nodes.
func New(t testing.TB) *LAN {
	t.Helper()
	for _, name := range []string{"systemd-nspawn", "dnsmasq"} {
		if _, err := tool.Path(name); err != nil {
			t.Fatal(err)
		}
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	l := &LAN{Switch: netns.NewSwitch(t), t: t, dir: t.TempDir(), root: root}
	forceSysctls(t)
	l.Router = startRouter(l)
	t.Cleanup(func() {
		for _, n := range l.nodes {
			n.PowerCut()
		}
	})
	return l
}

// Node makes a node that has never been switched on.
func (l *LAN) Node(name string) *Node {
	l.t.Helper()
	n := &Node{Machine: netns.Machine{Name: name}, lan: l, dir: filepath.Join(l.dir, name), number: len(l.nodes)}
	for _, dir := range append([]string{"", "upper", "work", "root"}, n.volumes()...) {
		if err := os.MkdirAll(filepath.Join(n.dir, dir), 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	l.nodes = append(l.nodes, n)
	n.Install("/etc/systemd/system/containerd.service.d/lab.conf", host.File{Data: []byte(containerdDropIn)})
	n.Install("/usr/local/sbin/systemd-run", host.File{Mode: 0o755, Data: []byte(systemdRun)})
	n.Install("/etc/tmpfiles.d/lab.conf", host.File{Data: []byte(devices())})
	return n
}
