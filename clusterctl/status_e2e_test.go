//go:build e2e

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/observe"
	"picluster/internal/golden"
	"picluster/internal/lab/desk"
	labkube "picluster/internal/lab/kube"
)

// plainCluster wants nothing that would have to be deployed but the pod network.
const plainCluster = "storage: {backend: none}\naddons: {registry: false, dashboard: none}\n"

// kubernetes is a real API server for a world.
type kubernetes struct {
	*labkube.ControlPlane
	t      testing.TB
	admin  string // kubeconfig
	client *kube.Client
}

func startKubernetes(t testing.TB, o labkube.Options) *kubernetes {
	t.Helper()
	k := &kubernetes{ControlPlane: labkube.Start(t, o), t: t}
	k.admin = k.Kubeconfig("admin", "system:masters")
	var config *rest.Config
	config, err := clientcmd.BuildConfigFromFlags("", k.admin)
	if err != nil {
		t.Fatal(err)
	}
	if k.client, err = kube.New(config); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *kubernetes) apply(objects ...*kube.Object) {
	k.t.Helper()
	for _, o := range objects {
		if _, err := k.client.Apply(k.t.Context(), o); err != nil {
			k.t.Fatal(err)
		}
	}
}

// node registers a node as its kubelet would.
func (k *kubernetes) node(name string) {
	k.t.Helper()
	labels := map[string]any{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}
	if name == desk.NodeName(0) {
		labels["node-role.kubernetes.io/control-plane"] = ""
	}
	k.apply(&kube.Object{Object: map[string]any{"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": name, "labels": labels, "annotations": map[string]any{"kwok.x-k8s.io/node": "fake"}}}})
}

// heard sets what a kubelet would report, by kubectl: "True", or "Unknown" for one
// that the controllers have given up.
func (k *kubernetes) heard(name, ready string) {
	k.t.Helper()
	patch := fmt.Sprintf(`{"status":{"nodeInfo":{"kubeletVersion":"v1.37.2","architecture":"","bootID":"","containerRuntimeVersion":"","kernelVersion":"","kubeProxyVersion":"","machineID":"","operatingSystem":"","osImage":"","systemUUID":""},
		"capacity":{"memory":"4Gi"},"conditions":[{"type":"Ready","status":%q,"reason":"Test","message":"as the test has it","lastTransitionTime":"2026-11-27T12:00:00Z"}]}}`, ready)
	cmd := exec.Command(labkube.Program(k.t, "kubectl"), "--kubeconfig="+k.admin, "patch", "node", name, "--subresource=status", "--type=merge", "--patch="+patch)
	cmd.Env = append(os.Environ(), "HOME="+k.t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("%v\n%s", err, out)
	}
}

func (w *world) withoutAges(text string) string {
	return regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(still(text), "LOOPBACK:PORT")
}

// The states that a person looks at the status for: all is well, a node is off, the
// control plane is down, another cluster's kubeconfig.
func TestStatus_ofACluster(t *testing.T) {
	w := newWorld(t, 3, 0, plainCluster)
	w.serve()
	k := startKubernetes(t, labkube.Options{})
	k.apply(kube.Identity(w.Bundle.ID(), "home"))
	for i := range 3 {
		k.node(desk.NodeName(i))
		k.heard(desk.NodeName(i), "True")
	}
	check := func(name string, want int, args ...string) {
		t.Helper()
		args = append(args, "--timeout", "5s", "--kubeconfig", k.admin)
		code, stdout, stderr := w.run(args...)
		if code != want || stderr != "" {
			t.Errorf("%s ends with %d, want %d: %s", name, code, want, stderr)
		}
		golden.Equal(t, "testdata/status/"+name+".golden", []byte(strings.ReplaceAll(w.withoutAges(stdout), k.Dir, "KUBE")))
	}
	// Without its controllers a DaemonSet is never looked at; so it is not there yet.
	check("not-deployed", isDegraded, "status")
	k.heard(desk.NodeName(2), "Unknown")
	if err := k.client.Cordon(t.Context(), desk.NodeName(1), true); err != nil {
		t.Fatal(err)
	}
	check("node-off", isDegraded, "status")
	check("node-off-doctor", isBroken, "doctor") // its sshd does not run here
	k.apply(kube.Identity("another-cluster", "home"))
	check("other-cluster", isBroken, "status")
	data, err := os.ReadFile(k.admin)
	if err != nil {
		t.Fatal(err)
	}
	down := regexp.MustCompile(`https://127\.0\.0\.1:\d+`).ReplaceAll(data, []byte("https://"+refusing))
	if err := os.WriteFile(k.admin, down, 0o600); err != nil {
		t.Fatal(err)
	}
	check("api-down", isBroken, "status")
	check("api-down-doctor", isBroken, "doctor")
	w.halt()
	check("all-down", isBroken, "status")
}

// Played nodes are Ready, with the pod network that deploy has brought.
func TestWait_untilAllIsThere(t *testing.T) {
	w := newWorld(t, 2, 0, plainCluster)
	w.serve()
	k := startKubernetes(t, labkube.Options{Controllers: true, Scheduler: true, Kwok: true})
	k.apply(kube.Identity(w.Bundle.ID(), "home"))
	k.node(desk.NodeName(0))
	code, _, stderr := w.run("wait", "--for", "ready", "--timeout", "15s", "--kubeconfig", k.admin)
	if code != 6 || !strings.Contains(stderr, "pi-node1: likely cause: ") || strings.Contains(stderr, "pi-node0: likely cause: ") {
		t.Errorf("with one of two nodes: %d\n%s", code, stderr)
	}
	go func() { time.Sleep(2 * time.Second); k.node(desk.NodeName(1)) }()
	if code, _, stderr = w.run("wait", "--timeout", "5m", "--kubeconfig", k.admin); code != 0 {
		t.Errorf("with both: %d\n%s", code, stderr)
	}
	if code, _, stderr = w.run("wait", "--for", "addons", "--timeout", "1s", "--kubeconfig", k.admin); code != 6 || !strings.Contains(stderr, "cni is not deployed") {
		t.Errorf("before it was deployed: %d\n%s", code, stderr)
	}
	if code, _, stderr = w.runPlain("deploy", "--kubeconfig", k.admin); code != 0 {
		t.Fatalf("deploy: %d\n%s", code, stderr)
	}
	if code, _, stderr = w.run("wait", "--for", "addons", "--timeout", "5m", "--kubeconfig", k.admin); code != 0 {
		t.Errorf("afterwards: %d\n%s", code, stderr)
	}
	code, stdout, _ := w.run("status", "--kubeconfig", k.admin)
	if code != isHealthy || !strings.Contains(stdout, "HEALTH: OK") {
		t.Errorf("it is %d\n%s", code, stdout)
	}
}

// A node that is taken out leaves nothing, and a revoked one cannot come back though
// its kubelet has a certificate.
func TestNode_outOfTheCluster(t *testing.T) {
	w := newWorld(t, 4, 0, plainCluster)
	w.serve()
	k := startKubernetes(t, labkube.Options{Controllers: true, Scheduler: true, Kwok: true})
	k.apply(kube.Identity(w.Bundle.ID(), "home"))
	for i := range 4 {
		k.node(desk.NodeName(i))
		if _, err := w.enroll(desk.NodeName(i), i); err != nil && i > 0 {
			t.Fatal(err)
		}
	}
	k.apply(workload())
	wait := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(200 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not so: %s", what)
			}
		}
	}
	pods := func(node string) int {
		list, err := k.client.PodsOn(t.Context(), node)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	wait("pods run on pi-node1", func() bool { return pods("pi-node1") > 0 })
	flags := []string{"--kubeconfig", k.admin}
	if code, _, stderr := w.run(append([]string{"node", "drain", "pi-node1"}, flags...)...); code != 0 || pods("pi-node1") > 0 {
		t.Errorf("drain: %d, %d pods are left\n%s", code, pods("pi-node1"), stderr)
	}
	if code, _, stderr := w.run(append([]string{"node", "uncordon", "pi-node1"}, flags...)...); code != 0 {
		t.Errorf("uncordon: %d\n%s", code, stderr)
	}
	if code, _, stderr := w.run(append([]string{"node", "remove", "--yes", "pi-node0"}, flags...)...); code != 4 {
		t.Errorf("the control plane is removed: %d\n%s", code, stderr)
	}
	if code, _, stderr := w.run(append([]string{"node", "remove", "--yes", "pi-node3"}, flags...)...); code != 0 {
		t.Errorf("remove: %d\n%s", code, stderr)
	}
	if code, _, stderr := w.run(append([]string{"node", "remove", "--yes", "pi-node3"}, flags...)...); code != 0 {
		t.Errorf("removed again: %d\n%s", code, stderr)
	}
	code, _, stderr := w.run(append([]string{"node", "revoke", "--yes", "pi-node2"}, flags...)...)
	if code != 0 || !strings.Contains(stderr, "Secret default/web-secret") {
		t.Errorf("revoke: %d\n%s", code, stderr)
	}
	names, err := k.client.NodeNames(t.Context())
	if slices.Sort(names); err != nil || fmt.Sprint(names) != "[pi-node0 pi-node1]" {
		t.Errorf("Kubernetes has %v, %v", names, err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", k.Kubeconfig("system:node:pi-node2", "system:nodes"))
	if err != nil {
		t.Fatal(err)
	}
	kubelet, err := kube.New(config)
	if err != nil {
		t.Fatal(err)
	}
	itself := &kube.Object{Object: map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "pi-node2"}}}
	if _, err := kubelet.Apply(t.Context(), itself); err == nil || !strings.Contains(err.Error(), "the card of node pi-node2 was revoked") {
		t.Errorf("the revoked kubelet registers: %v", err)
	}
	w.Renew("pi-node2") // a new card for the same node
	if _, err := w.enroll("pi-node2", 22); err != nil {
		t.Fatal(err)
	}
	if _, stdout, _ := w.run(append([]string{"status"}, flags...)...); !strings.Contains(stdout, "N214  pi-node2 has a new card") {
		t.Errorf("that its name is locked is not said:\n%s", stdout)
	}
	if code, _, stderr := w.run(append([]string{"node", "approve", "pi-node2"}, flags...)...); code != 0 {
		t.Errorf("the new card is approved: %d\n%s", code, stderr)
	}
	wait("the name of pi-node2 is free", func() bool {
		_, err := kubelet.Apply(t.Context(), itself)
		return err == nil || !strings.Contains(err.Error(), "was revoked")
	})
}

// workload is a Deployment that uses a Secret.
func workload() *kube.Object {
	return &kube.Object{Object: map[string]any{"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": "web", "namespace": "default"},
		"spec": map[string]any{"replicas": int64(8), "selector": map[string]any{"matchLabels": map[string]any{"app": "web"}},
			"template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"app": "web"}},
				"spec": map[string]any{
					"containers": []any{map[string]any{"name": "web", "image": "example.org/web"}},
					"volumes":    []any{map[string]any{"name": "s", "secret": map[string]any{"secretName": "web-secret"}}},
				}}}}}
}

// BenchmarkStatus is `clusterctl status` on a hundred nodes.
func BenchmarkStatus(b *testing.B) {
	k := startKubernetes(b, labkube.Options{Kwok: true})
	c := bigCluster(b, 100)
	for _, name := range c.NodeNames() {
		k.node(name)
	}
	sources := observe.Sources{Cluster: c, API: func(_ context.Context) (*kube.Client, error) { return k.client, nil }}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Second) {
		ready := 0
		for _, n := range sources.Look(b.Context()).Nodes {
			if n.Phase == observe.Ready {
				ready++
			}
		}
		if ready == 100 {
			break
		}
		if time.Now().After(end) {
			b.Fatalf("%d nodes are ready", ready)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s := sources.Look(b.Context())
		if text := renderStatus(s); len(s.Nodes) != 100 || text == "" {
			b.Fatal("it does not see all nodes")
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-of-memory")
}

// The API server's certificate is not for the address that it is called at, which
// changes with each lease; its name is asked for.
func TestKubeconfig_ofARealAPIServerAtAnotherAddress(t *testing.T) {
	k := startKubernetes(t, labkube.Options{})
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go forward(l, strings.TrimPrefix(k.URL, "https://"))
	in, err := clientcmd.LoadFromFile(k.admin)
	if err != nil {
		t.Fatal(err)
	}
	for name, works := range map[string]bool{"kubernetes": true, "pi-node7": false} {
		out, err := fromHere(t.Context(), in, "home", name, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		config, err := clientcmd.NewDefaultClientConfig(*out, nil).ClientConfig()
		if err != nil {
			t.Fatal(err)
		}
		client, err := kube.New(config)
		if err != nil {
			t.Fatal(err)
		}
		if version, err := client.Version(t.Context()); (err == nil) != works {
			t.Errorf("as %s: %s, %v", name, version, err)
		}
	}
}

// forward is a router.
func forward(l net.Listener, to string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer out.Close()
			go io.Copy(out, in)
			io.Copy(in, out)
		}()
	}
}
