//go:build e2e

package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"picluster/internal/host"
	"picluster/internal/lab"
	"picluster/internal/lab/kube/debs"
	"picluster/internal/lab/kube/images"
	"picluster/internal/lab/nodes"
)

// box is a box of Pis with a card for each: three nodes and a spare.
type box struct {
	lan   *nodes.LAN
	nodes []*nodes.Node // node0 to node2
	spare *nodes.Node
	dir   string // of cluster.yaml
}

func (b *box) all() []*nodes.Node { return append(b.nodes[:len(b.nodes):len(b.nodes)], b.spare) }

// clusterYAML is what the person writes, and what the lab needs besides: see package
// nodes.
func clusterYAML(mirror string) string {
	return `apiVersion: picluster/v1
kind: Cluster
name: home
nodePrefix: pi-
nodes: 3
spares: 1
system:
  swap: keep
  user: {name: alice, authorizedKeys: [secrets/operator/id_ed25519.pub]}
network: {interface: eth0}
kubernetes:
  kubelet: ` + flow(nodes.Kubelet) + `
  kubeProxy: ` + flow(nodes.KubeProxy) + `
  ignorePreflight: ` + flow(nodes.IgnorePreflight) + `
mirrors:
  kubernetes: http://` + mirror + `/
  kubernetesKey: kubernetes.asc
  images: {registry.k8s.io: "http://` + mirror + `:5000", ghcr.io: "http://` + mirror + `:5000", docker.io: "http://` + mirror + `:5000"}
storage: {backend: none}
`
}

// stages are those that a machine without a Pi's disk and clock can do.
const stages = "name,network,enroll,kubernetes,runtime,control-plane,join"

// newBox writes the cards and puts them in. Nothing is switched on yet.
func newBox(t *testing.T) *box {
	t.Helper()
	b := &box{lan: nodes.New(t)}
	b.lan.Shelf = shelf(t)
	key := b.serve(t)
	d := newDesk(t)
	b.dir = d.dir
	if err := os.RemoveAll(filepath.Join(d.dir, "secrets")); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"kubernetes.asc": string(key), "cluster.yaml": clusterYAML(nodes.Address.Addr().String())} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, stderr, code := d.run(t, "", "init"); code != 0 {
		t.Fatalf("init: %s", stderr)
	}
	agent := agentOfThisMachine(t)
	base := lab.Image(t, lab.Layout{Release: "trixie"})
	for i, name := range []string{"pi-node0", "pi-node1", "pi-node2", "spare"} {
		n := b.lan.Node(name)
		card := filepath.Join(d.dir, fmt.Sprintf("card-%d.img", i))
		if _, stderr, code := d.run(t, "", "write", card, "--yes", "--image", base); code != 0 {
			t.Fatalf("write card of %s: exit code %d\n%s", name, code, stderr)
		}
		files := copyFAT(t, extract(t, card).boot)
		put(t, agent, filepath.Join(files, "picluster/firstboot"))
		n.Insert(files)
		b.prepare(n)
		if name == "spare" {
			b.spare = n
		} else {
			b.nodes = append(b.nodes, n)
		}
	}
	t.Cleanup(func() { explain(t, b.nodes[0], b.all()...) })
	return b
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
	n.Install(unit+".d/lab.conf", host.File{Data: []byte("[Service]\nExecStart=\nExecStart=/usr/local/sbin/firstboot run --stage " + stages + "\n")})
	n.Install("/etc/apt/sources.list.d/shelf.list", host.File{Data: []byte("deb [trusted=yes] file:/media/debs ./\n")})
}

// agentOfThisMachine builds firstboot for the processor that nodes have here.
func agentOfThisMachine(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firstboot")
	t.Setenv("CGO_ENABLED", "0")
	run(t, "go", "build", "-trimpath", "-buildvcs=false", "-o", path, "picluster/firstboot")
	return path
}

// awaitReady waits until the cluster has these nodes, all Ready.
func (b *box) awaitReady(t *testing.T, names ...string) {
	t.Helper()
	eventually(t, "all nodes to be Ready", func() error {
		out, err := b.nodes[0].Run(t.Context(), host.Cmd{Args: []string{"kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "nodes",
			`--output=jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}`}})
		want := strings.Join(names, "=True ") + "=True"
		if got := strings.TrimSpace(string(out)); err == nil && got != want {
			err = fmt.Errorf("there are %q", got)
		}
		return err
	})
}

// formed are the nodes of a box that has become a cluster. The spare took the lowest
// name that was free.
var formed = []string{"pi-node0", "pi-node1", "pi-node2", "pi-node3"}

// Cards in, power on, a cluster: in whatever order the nodes come up.
func TestCluster_formsByItself(t *testing.T) {
	for name, powerOn := range map[string]func(t *testing.T, b *box){
		"all at once": func(t *testing.T, b *box) {
			for _, n := range b.all() {
				n.PowerOn()
			}
		},
		"workers first": func(t *testing.T, b *box) {
			for _, n := range b.all()[1:] {
				n.PowerOn()
			}
			time.Sleep(2 * time.Minute)
			b.nodes[0].PowerOn()
		},
		"node0 last": func(t *testing.T, b *box) {
			for _, n := range b.all()[1:] {
				n.PowerOn()
			}
			for _, n := range b.all()[1:] { // until they have nothing left to do but to wait
				eventually(t, n.Name+" to wait for node0", func() error {
					out, err := n.Run(t.Context(), host.Cmd{Args: []string{"firstboot", "status"}})
					if err == nil && !strings.Contains(string(out), "pi-node0") {
						err = fmt.Errorf("it says %q", out)
					}
					return err
				})
			}
			b.nodes[0].PowerOn()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			watch := stopwatch{t, time.Now()}
			powerOn(t, b)
			watch.lap("power on")
			b.awaitReady(t, formed...)
			watch.lap("all nodes Ready")
			works(t, b.nodes[0], formed...)
			watch.lap("pods and the service answer on all nodes")
			b.noSecretsOnWorkers(t)
		})
	}
}

// A worker's disk has nothing on it that makes it more than itself: no administrator's
// kubeconfig, no key of an authority, no token that still counts.
func (b *box) noSecretsOnWorkers(t *testing.T) {
	t.Helper()
	secrets := map[string]string{}
	for what, file := range map[string]string{"administrator's kubeconfig": "/etc/kubernetes/admin.conf", "key of Kubernetes' CA": "/etc/kubernetes/pki/ca.key"} {
		data, err := b.nodes[0].ReadFile(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		// A line of a key, or the key of a client.
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "client-key-data:") || what != "administrator's kubeconfig" && len(line) == 64 {
				secrets[what] = strings.TrimPrefix(line, "client-key-data: ")
			}
		}
		if secrets[what] == "" {
			t.Fatalf("%s: no secret found in it", file)
		}
	}
	tokens := kubectl(t, b.nodes[0], "-n", "kube-system", "get", "secrets", "--field-selector=type=bootstrap.kubernetes.io/token",
		"-o", "jsonpath={range .items[*]}{.data.token-secret}{\"\\n\"}{end}")
	for i, encoded := range strings.Fields(tokens) {
		token, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		secrets[fmt.Sprintf("token %d", i)] = string(token)
	}
	for _, n := range b.all()[1:] {
		for what, secret := range secrets {
			grep := exec.Command("grep", "--recursive", "--files-with-matches", "--fixed-strings", "--text", "--file=-", filepath.Join(n.Dir(), "upper"), filepath.Join(n.Dir(), "disk"))
			grep.Stdin = strings.NewReader(secret + "\n")
			if out, err := grep.Output(); err == nil || grep.ProcessState.ExitCode() != 1 {
				t.Errorf("%s has the %s in %s (%v)", n, what, out, err)
			}
		}
	}
}
