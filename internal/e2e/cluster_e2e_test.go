//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/internal/cni"
	"picluster/internal/host"
	"picluster/internal/lab/kube/debs"
	"picluster/internal/lab/kube/images"
	"picluster/internal/lab/nodes"
	"picluster/internal/lab/tool"
	"picluster/internal/payload"
)

// clusterTime bounds one thing that a cluster is waited for.
const clusterTime = 15 * time.Minute

var podSubnet = netip.MustParsePrefix("10.244.0.0/16")

// shelf is a directory with all that a node installs: Debian's packages, Kubernetes'
// and images.
func shelf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	packages, err := nodes.Debs(payload.DebianPackages...)
	if err != nil {
		t.Fatal(err)
	}
	more, err := debs.Files(runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	for i, deb := range slices.Concat(packages, more) {
		put(t, deb, filepath.Join(dir, "debs", fmt.Sprintf("%02d.deb", i)))
	}
	// For apt it is a repository.
	list, err := tool.Cmd{Dir: filepath.Join(dir, "debs"), Args: []string{"apt-ftparchive", "packages", "."}}.Output(t.Context())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "debs/Packages"), list, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, ref := range slices.Concat(clusterImages(), cni.Images(cni.Flannel), []string{images.Busybox}) {
		archive, err := images.Archive(ref, runtime.GOARCH)
		if err != nil {
			t.Fatal(err)
		}
		put(t, archive, filepath.Join(dir, "images", fmt.Sprintf("%02d.tar", i)))
	}
	return dir
}

// clusterImages are those that kubeadm names.
func clusterImages() []string {
	return slices.DeleteFunc(images.Names(), func(ref string) bool { return !strings.HasPrefix(ref, "registry.k8s.io/") })
}

// put links a file of the cache, or copies it to another file system.
func put(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Link(from, to) == nil {
		return
	}
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err == nil {
		_, err = io.Copy(out, in)
	}
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// on runs a program on a node, which has to succeed.
func on(t *testing.T, n *nodes.Node, args ...string) string {
	t.Helper()
	return feed(t, n, "", args...)
}

func feed(t *testing.T, n *nodes.Node, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	out, err := n.Run(ctx, host.Cmd{Args: args, Stdin: strings.NewReader(stdin)})
	if err != nil {
		t.Fatalf("%s: %v\n%s", n, err, out)
	}
	return strings.TrimSpace(string(out))
}

// kubectl is the administrator's, on the control plane.
func kubectl(t *testing.T, control *nodes.Node, args ...string) string {
	t.Helper()
	return on(t, control, append([]string{"kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"}, args...)...)
}

// eventually waits for what a cluster gets round to.
func eventually(t *testing.T, what string, ready func() error) {
	t.Helper()
	for end := time.Now().Add(clusterTime); ; time.Sleep(time.Second) {
		err := ready()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("wait for %s: %v", what, err)
		}
	}
}

// demo is a web server on each node, that says where it is, and a Service.
const demo = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: ` + images.Busybox + `
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        command: [sh, -c, "mkdir -p /tmp/web; echo $NODE >/tmp/web/index.html; exec httpd -f -p 80 -h /tmp/web"]
        readinessProbe: {httpGet: {port: 80}, periodSeconds: 1, timeoutSeconds: 10}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
`

// works fails the test unless pods reach each other across nodes, and a Service by
// its name.
func works(t *testing.T, control *nodes.Node, names ...string) {
	t.Helper()
	feed(t, control, demo, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "apply", "-f", "-")
	kubectl(t, control, "rollout", "status", "daemonset/web", "--timeout="+clusterTime.String())
	kubectl(t, control, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout="+clusterTime.String())
	var pods struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ NodeName string }
			Status   struct{ PodIP string }
		}
	}
	if err := json.Unmarshal([]byte(kubectl(t, control, "get", "pods", "-l", "app=web", "-o", "json")), &pods); err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, from := range pods.Items {
		there[from.Spec.NodeName] = true
		for _, to := range pods.Items {
			if got := kubectl(t, control, "exec", from.Metadata.Name, "--", "wget", "-qO-", "-T", "10", "http://"+to.Status.PodIP+"/"); got != to.Spec.NodeName {
				t.Errorf("from %s to %s: %q", from.Spec.NodeName, to.Spec.NodeName, got)
			}
		}
		got := kubectl(t, control, "exec", from.Metadata.Name, "--", "wget", "-qO-", "-T", "10", "http://web.default.svc.cluster.local/")
		if !slices.Contains(names, got) {
			t.Errorf("from %s the service answers %q", from.Spec.NodeName, got)
		}
	}
	if got := slices.Sorted(maps.Keys(there)); !slices.Equal(got, names) {
		t.Errorf("it has pods on %q, not on %q", got, names)
	}
}

// stopwatch prints when things were done.
type stopwatch struct {
	t     *testing.T
	began time.Time
}

func (s stopwatch) lap(what string) {
	s.t.Helper()
	s.t.Logf("%6.1fs %s", time.Since(s.began).Seconds(), what)
}

// explain shows what a cluster that failed was about.
func explain(t *testing.T, control *nodes.Node, all ...*nodes.Node) {
	if !t.Failed() {
		return
	}
	show := func(n *nodes.Node, args ...string) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, err := n.Run(ctx, host.Cmd{Args: args})
		t.Logf("%s: %s: %v\n%s", n, strings.Join(args, " "), err, out)
	}
	show(control, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "nodes,pods", "-A", "-o", "wide")
	show(control, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "events", "-A")
	for _, n := range all {
		show(n, "journalctl", "--no-pager", "-n", "60", "-u", "kubelet", "-u", "containerd", "-u", "picluster-firstboot")
		show(n, "systemctl", "--failed", "--no-legend")
	}
}
