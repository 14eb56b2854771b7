//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"picluster/imagebuilder/bundle"
	"picluster/internal/host"
	"picluster/internal/lab"
	"picluster/internal/lab/kube/debs"
	"picluster/internal/lab/kube/images"
	"picluster/internal/lab/nodes"
	"picluster/internal/lab/raspios"
	"picluster/internal/node"
	"picluster/internal/payload"
)

// box is a box of Pis with a card for each.
type box struct {
	lan   *nodes.LAN
	nodes []*nodes.Node // the control plane first
	spare *nodes.Node   // nil: without
	desk  *desk
	wish  wish
}

func (b *box) all() []*nodes.Node {
	if b.spare == nil {
		return b.nodes
	}
	return append(b.nodes[:len(b.nodes):len(b.nodes)], b.spare)
}

// wish is what a person wants of a cluster.
type wish struct {
	nodes  []string // names
	spare  string   // the name that a spare takes; "": there is none
	pis    string   // lines of cluster.yaml that say so, and what is special about them
	spec   string   // lines that say what they have to do
	stages string   // of the agent, for that
}

// bare is a cluster of three nodes and a spare with nothing in it.
var bare = wish{nodes: formed[:3], spare: formed[3], pis: `name: home
nodePrefix: pi-
nodes: 3
spares: 1
network: {interface: eth0}
system: {swap: keep, user: {name: alice, authorizedKeys: [secrets/operator/id_ed25519.pub]}}
`, spec: "storage: {backend: none}\n"}

// clusterYAML is what the person writes, and what the lab needs besides: see package
// nodes. Mirrors are lines of its mirrors.
func clusterYAML(w wish, mirrors string) string {
	return `apiVersion: picluster/v1
kind: Cluster
` + w.pis + `kubernetes:
  kubelet: ` + flow(nodes.Kubelet) + `
  kubeProxy: ` + flow(nodes.KubeProxy) + `
  ignorePreflight: ` + flow(nodes.IgnorePreflight) + `
mirrors:
  kubernetesKey: kubernetes.asc
` + mirrors + w.spec
}

// kubernetesAt says that Kubernetes' packages and all images are at these addresses.
func kubernetesAt(packages, registry string) string {
	return fmt.Sprintf("  kubernetes: %[1]s/\n  images: {registry.k8s.io: %[2]q, ghcr.io: %[2]q, docker.io: %[2]q}\n", packages, "http://"+registry)
}

// stages are those that a machine without a Pi's disk and clock can do.
const stages = "name,network,enroll,kubernetes,runtime,control-plane,join"

// newBox has on its LAN what nodes would find on the internet. Nothing is switched on.
func newBox(t *testing.T) *box {
	t.Helper()
	b := &box{lan: nodes.New(t), wish: bare}
	b.lan.Shelf = shelf(t)
	key := b.serve(t)
	address := nodes.Address.Addr().String()
	b.desk = clusterDesk(t, b.wish, key, kubernetesAt("http://"+address, address+":5000"))
	b.insertCards(t)
	return b
}

// newOfflineBox has nothing on its LAN but the nodes: their cards bring what is in a
// payload that gather has gathered.
func newOfflineBox(t *testing.T, w wish, from *desk) *box {
	t.Helper()
	b := &box{lan: nodes.New(t), wish: w, desk: clusterDesk(t, w, nil, "")}
	for _, name := range []string{"cluster.yaml", "kubernetes.asc", "payload"} {
		b.desk.take(t, name, from)
	}
	b.insertCards(t)
	return b
}

// take makes a file of another desk this one's.
func (d *desk) take(t *testing.T, name string, from *desk) {
	t.Helper()
	path := filepath.Join(d.dir, name)
	if err := errors.Join(os.RemoveAll(path), os.Symlink(filepath.Join(from.dir, name), path)); err != nil {
		t.Fatal(err)
	}
}

// onlineDesk is where a cluster of such nodes is prepared, with this machine's own Debian
// mirror and the lab's look-alikes of Kubernetes' repositories.
func onlineDesk(t *testing.T, w wish, arch string) *desk {
	t.Helper()
	sources, err := raspios.Sources(t.Context(), "trixie")
	if err != nil {
		t.Fatal(err)
	}
	mirror := func(i int) string { return strings.Fields(sources[min(i, len(sources)-1)])[1] }
	packages, key := debs.Serve(t, arch)
	d := clusterDesk(t, w, key.Public(t), fmt.Sprintf("  debian: %s\n  security: %s\n", mirror(0), mirror(1))+
		kubernetesAt(packages.URL, images.Serve(t, images.Names(), arch)))
	d.init(t)
	return d
}

// gather has imagebuilder gather the payload of the desk's cluster, for the lab's nodes.
func (d *desk) gather(t *testing.T, flags ...string) {
	t.Helper()
	root, err := nodes.Root()
	if err != nil {
		t.Fatal(err)
	}
	d.bundle(t, append(flags, "--installed", filepath.Join(root, "root/var/lib/dpkg/status"), "--arch", runtime.GOARCH, "--release", "trixie")...)
}

// bundle runs the command; busybox is what tests run on a cluster.
func (d *desk) bundle(t *testing.T, flags ...string) {
	t.Helper()
	stdout, stderr, code := d.run(t, "", append([]string{"bundle", "--with", images.Busybox}, flags...)...)
	if code != 0 {
		t.Fatalf("bundle: exit code %d\n%s", code, stderr)
	}
	t.Log(stdout)
}

// clusterDesk is a desk with the cluster's file and new secrets.
func clusterDesk(t *testing.T, w wish, key []byte, mirrors string) *desk {
	t.Helper()
	d := newDesk(t)
	if err := os.RemoveAll(filepath.Join(d.dir, "secrets")); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"kubernetes.asc": string(key), "cluster.yaml": clusterYAML(w, mirrors)} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// init makes the secrets that cluster.yaml speaks of.
func (d *desk) init(t *testing.T) {
	t.Helper()
	if _, stderr, code := d.run(t, "", "init"); code != 0 {
		t.Fatalf("init: %s", stderr)
	}
}

// insertCards writes the cards and puts them in.
func (b *box) insertCards(t *testing.T) {
	t.Helper()
	b.desk.init(t)
	agent := agentOfThisMachine(t)
	insert := func(name string) *nodes.Node {
		n := b.lan.Node(name)
		b.insertCard(t, n, agent)
		return n
	}
	for _, name := range b.wish.nodes {
		b.nodes = append(b.nodes, insert(name))
	}
	if b.wish.spare != "" {
		b.spare = insert("spare")
	}
	t.Cleanup(func() { explain(t, b.nodes[0], b.all()...) })
}

// insertCard writes a card, the next one unless flags say which, and puts it in.
func (b *box) insertCard(t *testing.T, n *nodes.Node, agent string, flags ...string) {
	t.Helper()
	card := filepath.Join(t.TempDir(), "card.img")
	args := append([]string{"write", card, "--yes", "--image", lab.Image(t, lab.Layout{Release: "trixie"}), "--no-payload"}, flags...)
	if _, stderr, code := b.desk.run(t, "", args...); code != 0 {
		t.Fatalf("write card of %s: exit code %d\n%s", n, code, stderr)
	}
	files := copyFAT(t, extract(t, card).boot)
	put(t, agent, filepath.Join(files, "picluster/firstboot"))
	b.layPayload(t, files)
	n.Insert(files)
	b.prepare(n)
}

// layPayload does what write does with a payload, for a machine that is no Pi: write
// would refuse another processor's.
func (b *box) layPayload(t *testing.T, files string) {
	t.Helper()
	all, err := bundle.Open(filepath.Join(b.desk.dir, "payload"))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(files, "picluster/node.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := node.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	part := all.For(c.Role == node.ControlPlane)
	for _, f := range part.Files() {
		put(t, all.Path(f.Ref), filepath.Join(files, payload.Dir, f.Name))
	}
	list, err := part.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	c.Build.Arch, c.Kubernetes.Payload = runtime.GOARCH, payload.Digest(list)
	if data, err = c.Marshal(); err == nil {
		err = errors.Join(os.WriteFile(path, data, 0o600), os.WriteFile(filepath.Join(files, payload.Dir, payload.ManifestName), list, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serve is what nodes would find on the internet, on their own LAN.
func (b *box) serve(t *testing.T) (key []byte) {
	t.Helper()
	packages, signer := debs.Serve(t, runtime.GOARCH)
	address := nodes.Address.Addr().String()
	for port, handler := range map[string]http.Handler{"80": packages, "5000": images.Handler(t, images.Names(), runtime.GOARCH)} {
		listener := b.lan.Listen(net.JoinHostPort(address, port))
		go func() {
			if err := http.Serve(listener, handler); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}()
	}
	return signer.Public(t)
}

// prepare has the agent do what it can do here, at each boot until that is done.
func (b *box) prepare(n *nodes.Node) {
	const unit = "/etc/systemd/system/picluster-firstboot.service"
	n.Install(unit+".d/lab.conf", host.File{Data: []byte("[Service]\nExecStart=\nExecStart=/usr/local/sbin/firstboot run --stage " + stages + b.wish.stages + "\n")})
	if b.lan.Shelf != "" {
		n.Install("/etc/apt/sources.list.d/shelf.list", host.File{Data: []byte("deb [trusted=yes] file:/media/debs ./\n")})
	}
}

// agentOfThisMachine builds firstboot for the processor that nodes have here.
func agentOfThisMachine(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firstboot")
	t.Setenv("CGO_ENABLED", "0")
	run(t, "go", "build", "-trimpath", "-buildvcs=false", "-o", path, "picluster/firstboot")
	return path
}
