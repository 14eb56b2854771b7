//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"picluster/internal/host"
	"picluster/internal/lab/kube/images"
	"picluster/internal/lab/nodes"
)

// hello runs the image that was pushed on every node.
const hello = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: hello}
spec:
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 0
      containers: [{name: hello, image: "localhost:5000/team/hello:1", command: [sleep, "1000000"]}]
`

// A registry in the cluster: deployed from the laptop, pushed to through the API server,
// pulled from by every node, and closed to everybody else.
func TestAddons_registryServesEveryNode(t *testing.T) {
	b := newBox(t)
	watch := stopwatch{t, time.Now()}
	for _, n := range b.nodes {
		n.PowerOn()
	}
	b.clusterctl(t, 0, "wait", "--timeout", clusterTime.String())
	watch.lap("all nodes Ready")
	b.clusterctl(t, 0, "deploy", "cni", "registry")
	watch.lap("registry deployed")
	if out := b.clusterctl(t, 0, "deploy", "cni", "registry"); !strings.HasPrefix(out, "Nothing to do") {
		t.Errorf("the second run changes something:\n%s", out)
	}
	archive, err := images.Archive(images.Busybox, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	pushed := b.clusterctl(t, 0, "registry", "push", archive, "team/hello:1")
	if !strings.HasPrefix(pushed, "localhost:5000/team/hello:1@sha256:") {
		t.Errorf("push: %s", pushed)
	}
	watch.lap("image pushed")
	feed(t, b.nodes[0], hello, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "apply", "-f", "-")
	kubectl(t, b.nodes[0], "rollout", "status", "daemonset/hello", "--timeout="+clusterTime.String())
	watch.lap("image runs on every node")
	if n := kubectl(t, b.nodes[0], "get", "daemonset", "hello", "-o", "jsonpath={.status.numberAvailable}"); n != "3" {
		t.Errorf("it runs on %s nodes", n)
	}
	for _, n := range b.nodes {
		// Nothing listens for the LAN: neither at the image's name nor at the writing side.
		if out := on(t, n, "ss", "-Hltn", "( sport = :5000 or sport = :5001 )"); out != "" {
			t.Errorf("%s listens: %s", n, out)
		}
	}
	b.readsOnly(t)
}

// readsOnly tries to push by the Service, as any pod could.
func (b *box) readsOnly(t *testing.T) {
	t.Helper()
	out, err := b.nodes[1].Run(t.Context(), host.Cmd{Args: []string{"curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "http://10.96.0.11:5000/v2/team/hello/blobs/uploads/"}})
	if err != nil || string(out) != "405" {
		t.Errorf("an upload by the Service: %s, %v, want 405", out, err)
	}
}

// clusterctl runs the program at the desk, which is on the cluster's LAN.
func (b *box) clusterctl(t *testing.T, code int, args ...string) string {
	t.Helper()
	return b.desk.clusterctl(t, b.lan, code, args...)
}

// clusterctl runs the program on a LAN, or elsewhere if that is nil, wants an exit code,
// and returns what was printed.
func (d *desk) clusterctl(t *testing.T, lan *nodes.LAN, code int, args ...string) string {
	t.Helper()
	program, err := filepath.Abs("../../bin/clusterctl")
	if err != nil {
		t.Fatal(err)
	}
	argv := append([]string{program}, args...)
	if lan != nil {
		if argv, err = lan.Inside(argv...); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*clusterTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = d.dir, append(os.Environ(), "KUBECONFIG=", "HOME="+d.dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	t.Logf("clusterctl %s\n%s%s", strings.Join(args, " "), stderr.String(), stdout.String())
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("clusterctl %s: exit code %d, want %d: %v", strings.Join(args, " "), got, code, err)
	}
	return stdout.String()
}
