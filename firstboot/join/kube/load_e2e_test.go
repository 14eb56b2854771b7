//go:build e2e

package kube_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"picluster/internal/lab/desk"

	"picluster/internal/lab"
)

// process is `firstboot serve` as the unit starts it, on its own and measurable.
type process struct {
	cmd     *exec.Cmd
	address string
}

func (w *world) startProcess() *process {
	w.t.Helper()
	dir := w.t.TempDir()
	program := filepath.Join(dir, "firstboot")
	if out, err := exec.Command("go", "build", "-o", program, "picluster/firstboot").CombinedOutput(); err != nil {
		w.t.Fatalf("go build: %v\n%s", err, out)
	}
	config := w.Config("pi-node0")
	desk.Complete(config)
	document, err := config.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	access, err := w.access.Kubeconfig()
	if err != nil {
		w.t.Fatal(err)
	}
	for name, data := range map[string][]byte{"node.json": document, "kubeconfig": access} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	p := &process{cmd: exec.Command(program, "serve", "--config="+filepath.Join(dir, "node.json"), "--kubeconfig="+filepath.Join(dir, "kubeconfig"),
		"--state="+filepath.Join(dir, "state"), "--listen=127.0.0.1:0", "--endpoint="+strings.TrimPrefix(w.plane.URL, "https://"))}
	p.cmd.Env = append(os.Environ(), "GOMEMLIMIT=48MiB") // as in the unit
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { p.cmd.Process.Kill(); p.cmd.Wait() })
	line, err := bufio.NewReader(stderr).ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(line), " at ")
	if err != nil || !ok {
		w.t.Fatalf("firstboot serve says %q, %v", line, err)
	}
	p.address = address
	return p
}

// peak is the most memory that the process has had, in bytes (proc_pid_status(5)).
func (p *process) peak(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(data, []byte("VmHWM:"))
	var kib int64
	if _, err := fmt.Sscan(string(rest), &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// kubelet does with a token what a kubelet does, without the rest of one.
type kubelet struct {
	host, ca string
}

func (k kubelet) client(change func(*rest.Config)) (dynamic.Interface, error) {
	c := &rest.Config{Host: k.host, TLSClientConfig: rest.TLSClientConfig{CAData: []byte(k.ca)}}
	change(c)
	return dynamic.NewForConfig(c)
}

var (
	csrs  = schema.GroupVersionResource{Group: "certificates.k8s.io", Version: "v1", Resource: "certificatesigningrequests"}
	nodes = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
)

// bootstrap gets a certificate for a token and registers the node with it.
func (k kubelet) bootstrap(ctx context.Context, t *testing.T, token, node string) error {
	client, err := k.client(func(c *rest.Config) { c.BearerToken = token })
	if err != nil {
		return err
	}
	r := clientRequest(t, "node-csr-"+node, node)
	der, err := x509.CreateCertificateRequest(rand.Reader, &r.template, r.key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	ask := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": map[string]any{"name": r.name},
		"spec": map[string]any{"request": base64.StdEncoding.EncodeToString(text), "signerName": r.signer, "usages": []any{"digital signature", r.usage}},
	}}
	// The API server learns of a token by a watch of its own, so it may come late.
	for {
		_, err = client.Resource(csrs).Create(ctx, ask, metav1.CreateOptions{})
		if !apierrors.IsUnauthorized(err) || ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	certificate, err := k.certificate(ctx, client, r.name)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(r.key)
	if err != nil {
		return err
	}
	if client, err = k.client(func(c *rest.Config) {
		c.CertData, c.KeyData = certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}); err != nil {
		return err
	}
	_, err = client.Resource(nodes).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": node}}}, metav1.CreateOptions{})
	return err
}

func (k kubelet) certificate(ctx context.Context, client dynamic.Interface, name string) ([]byte, error) {
	for {
		o, err := client.Resource(csrs).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if text, _, _ := unstructured.NestedString(o.Object, "status", "certificate"); text != "" {
			return base64.StdEncoding.DecodeString(text)
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// crowd is how many cards are switched on at the same moment.
const crowd = 200

// All of them become nodes, each once, in little memory; and one more does with a
// thousand connections beside it that do nothing but come back.
func TestServe_admitsACrowd(t *testing.T) {
	w := newWorld(t, crowd+2, 0)
	p := w.startProcess()
	took := make([]time.Duration, crowd)
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() { took[i] = w.raise(p, i+1) })
	}
	wg.Wait()
	slices.Sort(took)
	t.Logf("%d cards at once: half of them are nodes after %v, 99 %% after %v, all after %v",
		crowd, round(took[crowd/2]), round(took[crowd*99/100]), round(took[crowd-1]))
	w.wantCrowd()
	lab.Flood(t, p.address, 1000)
	t.Logf("one card during a flood of 1000 connections: after %v", round(w.raise(p, crowd+1)))
	peak := p.peak(t)
	t.Logf("the service had %.1f MB at most", float64(peak)/1e6)
	if peak > 60e6 {
		t.Error("that is more than 60 MB")
	}
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// raise makes a node of one card and returns how long that took.
func (w *world) raise(p *process, n int) time.Duration {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	pi := w.newPi(desk.NodeName(n), n)
	pi.Address, pi.Sleep = p.address, nil
	pi.Dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 8, byte(n>>8), byte(n))}
	began := time.Now()
	id, err := pi.Enroll(ctx)
	if err != nil {
		w.t.Error(err)
		return 0
	}
	b, err := pi.Join(ctx, false)
	if err == nil {
		err = kubelet{w.plane.URL, w.access.CA}.bootstrap(ctx, w.t, b.Token.Reveal(), id.Node)
	}
	if err == nil {
		err = pi.Joined(ctx, "")
	}
	if err != nil {
		w.t.Errorf("%s: %v", id.Node, err)
	}
	return time.Since(began)
}

// wantCrowd looks at what there is in Kubernetes now.
func (w *world) wantCrowd() {
	w.t.Helper()
	var list struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(w.must(w.kubectl(w.admin, "", "get", "nodes", "-o", "json"))), &list); err != nil {
		w.t.Fatal(err)
	}
	names := map[string]bool{}
	for _, n := range list.Items {
		names[n.Metadata.Name] = true
	}
	if len(names) != crowd {
		w.t.Errorf("there are %d nodes", len(names))
	}
	for i := range crowd {
		if name := desk.NodeName(i + 1); !names[name] {
			w.t.Errorf("there is no %s", name)
		}
	}
	if out := w.must(w.kubectl(w.admin, "", "-n", "kube-system", "get", "secrets", "--field-selector=type=bootstrap.kubernetes.io/token", "-o", "name")); out != "" {
		w.t.Errorf("tokens are left: %s", out)
	}
}
