//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"picluster/internal/host"
)

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
// Without the internet: the cards bring everything.
func TestCluster_formsByItself(t *testing.T) {
	from := onlineDesk(t, bare, runtime.GOARCH)
	from.gather(t)
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
			b := newOfflineBox(t, bare, from)
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
