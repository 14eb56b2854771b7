package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/firstboot/join"
	"picluster/firstboot/report"
	"picluster/internal/cli"
	"picluster/internal/joinapi"
	"picluster/internal/lab/desk"
	"picluster/internal/node"
	"picluster/internal/spec"
	"picluster/internal/step"
)

// world is a desk with a project on it, and as much of a cluster as a test has
// switched on: the real join service with the desk's keys, and real status pages. A
// command finds them by --at; all other ports of all nodes refuse.
type world struct {
	*desk.Desk
	t    *testing.T
	dir  string // of cluster.yaml
	kube join.Cluster

	mu      sync.Mutex
	at      map[string]string // NODE:PORT
	service *join.Service
	stop    func()
}

// newWorld plans a cluster; more is appended to its cluster.yaml.
func newWorld(t *testing.T, nodes, spares int, more string) *world {
	t.Helper()
	w := &world{Desk: desk.New(t, time.Now(), nodes, spares), t: t, kube: &memoryCluster{}, at: map[string]string{}}
	w.dir = filepath.Dir(w.Bundle.Dir())
	text := fmt.Sprintf("name: home\nnodePrefix: pi-\nnodes: %d\nspares: %d\n", nodes, spares) + authorized
	w.write("cluster.yaml", text+more)
	for i := range nodes + spares {
		w.at[desk.NodeName(i)] = refusing // nothing is found in the network by accident
	}
	t.Cleanup(w.halt)
	return w
}

// refusing is where nobody listens.
const refusing = "127.0.0.1:1"

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// place says where a port of a node is: "pi-node0:8643".
func (w *world) place(port, address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[port] = address
}

// serve switches node0's join service on.
func (w *world) serve() {
	w.t.Helper()
	var err error
	w.service, err = join.Open(join.Options{Config: w.Config(desk.NodeName(0)), Dir: filepath.Join(w.t.TempDir(), "join"), Endpoint: "pi-node0:6443", Cluster: w.kube})
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.service.Serve(ctx, l) }()
	w.place("pi-node0:8643", l.Addr().String())
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		w.service.Close()
	}
}

// halt switches it off.
func (w *world) halt() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// enroll is a card's contact from a board, the first or another one, and what it was
// refused for.
func (w *world) enroll(card string, board int) (*join.Client, error) {
	w.mu.Lock()
	address := w.at["pi-node0:8643"]
	w.mu.Unlock()
	c := &join.Client{Config: w.Config(card), Dir: filepath.Join(w.dir, "devices", fmt.Sprint(card, board)), Address: address,
		Hardware: joinapi.Hardware{Serial: fmt.Sprintf("%016x", board), MachineID: fmt.Sprintf("%064x", board), Model: "Raspberry Pi 4 Model B Rev 1.5", RAM: 4 << 30}}
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	c.Sleep = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
	_, err := c.Enroll(ctx)
	return c, err
}

// page puts up a node's status page with that much of its journal.
func (w *world) page(name string, events ...step.Event) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	c := w.Config(name)
	desk.Complete(c)
	c.Kubernetes = &node.Kubernetes{Version: "v1.37.2"}
	r := report.New(report.Options{Config: c, Events: events, Boot: "b1", Listen: address})
	w.t.Cleanup(func() { r.Close(context.Background()) })
	w.place(name+":7390", address)
}

// run runs a command at the desk.
func (w *world) run(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	return w.runWith(w.t.Context(), strings.NewReader(""), args...)
}

func (w *world) runWith(ctx context.Context, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	w.mu.Lock()
	for port, address := range w.at {
		args = append(args, "--at", port+"="+address)
	}
	w.mu.Unlock()
	args = append(args, "--file", filepath.Join(w.dir, "cluster.yaml"))
	var out, err bytes.Buffer
	code = cli.Run(ctx, program(), cli.Env{Stdin: stdin, Stdout: &out, Stderr: &err}, args)
	return code, w.clean(out.String()), w.clean(err.String())
}

// clean puts names in place of what is another one in each run.
func (w *world) clean(text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for port, address := range w.at {
		if address != refusing {
			text = strings.ReplaceAll(text, address, port)
		}
	}
	for _, name := range w.names() {
		text = strings.ReplaceAll(text, w.CardID(name), "card-of-"+name)
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, w.Bundle.ID(), "CLUSTER-ID"), w.dir, "DIR")
}

// memoryCluster is Kubernetes as far as the join service sees it. The real one is in
// the tests with the tag e2e.
type memoryCluster struct {
	mu    sync.Mutex
	nodes map[string]*join.Node
}

func (m *memoryCluster) Admit(context.Context, join.Token) error { return nil }
func (m *memoryCluster) Dismiss(context.Context, string) error   { return nil }
func (m *memoryCluster) CA(context.Context) (string, error)      { return "", nil }
func (m *memoryCluster) RemoveNode(_ context.Context, name, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.nodes, name)
	return nil
}

func (m *memoryCluster) Node(_ context.Context, name string) (*join.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[name], nil
}

// names are those of all cards.
func (w *world) names() (all []string) {
	for _, n := range w.Want.Nodes {
		all = append(all, n.Name)
	}
	return append(all, w.Spares()...)
}

// runPlain is run for commands that reach no nodes.
func (w *world) runPlain(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	var out, err bytes.Buffer
	args = append(args, "--file", filepath.Join(w.dir, "cluster.yaml"))
	code = cli.Run(w.t.Context(), program(), cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &err}, args)
	return code, w.clean(out.String()), w.clean(err.String())
}

// bigCluster is a cluster.yaml of that many nodes.
func bigCluster(t testing.TB, nodes int) *spec.Cluster {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	text := fmt.Sprintf("name: home\nnodePrefix: pi-\nnodes: %d\nstorage: {backend: none}\naddons: {registry: false, dashboard: none}\n"+authorized, nodes)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := spec.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// authorized lets somebody in, without which cluster.yaml is refused.
const authorized = "system: {user: {authorizedKeys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me']}}\n"
