package steps_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/firstboot/join"
	"picluster/firstboot/steps"
	"picluster/internal/host/hosttest"
	"picluster/internal/lab/desk"
	"picluster/internal/node"
)

// deskTime is when the cards of these tests were made.
var deskTime = time.Now().Add(-time.Hour)

// cluster is the real join service with an API server as far as that sees one: it
// keeps tokens, and a node is there once its kubelet has a certificate.
type cluster struct {
	t       testing.TB
	desk    *desk.Desk
	service *join.Service
	address string

	mu     sync.Mutex
	tokens map[string]join.Token
	all    []string // every token that there ever was
	nodes  map[string]*join.Node
}

func newCluster(t testing.TB, spares int) *cluster {
	t.Helper()
	c := &cluster{t: t, desk: desk.New(t, deskTime, 2, spares), tokens: map[string]join.Token{}, nodes: map[string]*join.Node{}}
	service, err := join.Open(join.Options{Config: c.config("pi-node0"), Dir: filepath.Join(t.TempDir(), "join"), Endpoint: "pi-node0:6443", Cluster: c})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.service, c.address = service, l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		service.Close()
	})
	return c
}

// config is a whole node.json for Kubernetes.
func (c *cluster) config(name string) *node.Config {
	d := c.desk.Config(name)
	desk.Complete(d)
	d.Build.Release, d.Build.Arch = "trixie", "arm64"
	d.Kubernetes = &node.Kubernetes{Version: "v1.37.2", CNI: "flannel", Schedulable: true,
		PodSubnet: netip.MustParsePrefix("10.244.0.0/16"), ServiceSubnet: netip.MustParsePrefix("10.96.0.0/12")}
	if d.Role == node.Spare {
		d.Network.ClusterSubnet = desk.Subnet
	}
	return d
}

func (c *cluster) locked(do func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	return nil
}

func (c *cluster) Admit(_ context.Context, t join.Token) error {
	return c.locked(func() { c.tokens[t.ID], c.all = t, append(c.all, t.ID+"."+t.Secret.Reveal()) })
}

func (c *cluster) Dismiss(_ context.Context, id string) error {
	return c.locked(func() { delete(c.tokens, id) })
}

func (c *cluster) Node(_ context.Context, name string) (n *join.Node, err error) {
	return n, c.locked(func() { n = c.nodes[name] })
}

func (c *cluster) RemoveNode(_ context.Context, name, uid string) error {
	return c.locked(func() { delete(c.nodes, name) })
}

func (c *cluster) CA(context.Context) (string, error) { return "the CA of the API server", nil }

// worker is a Pi with the programs that joining calls. kubeadm and the kubelet stand
// there as far as they leave files and ask for certificates.
type workerPi struct {
	*hosttest.Machine
	cluster *cluster
	config  *node.Config
}

// The fake kubeadm stumbles over what the real one does (cmd/kubeadm/app/preflight,
// checks.go, RunJoinNodeChecks), and writes the file with the token as the real one
// does: through a symbolic link, which it then removes.
const fakeKubeadm = `
k=$ROOT/etc/kubernetes
case "$1" in
reset) test "$*" = "reset --force --cri-socket unix:///run/containerd/containerd.sock" || unexpected "$@"
	rm -rf "$k" "$ROOT/var/lib/kubelet" ;;
join) test "$*" = "join --config /run/picluster/join/join.json" || unexpected "$@"
	for f in kubelet.conf pki/ca.crt manifests; do
		if [ -e "$k/$f" ]; then
			printf 'error execution phase preflight: [preflight] Some fatal errors occurred:\n\t[ERROR FileAvailable--%s]: it already exists\n' "$f" >&2
			exit 1
		fi
	done
	token=$(sed -n 's/.*"tlsBootstrapToken": "\(.*\)".*/\1/p' "$ROOT$3")
	test -e "$ROOT$(sed -n 's/.*"kubeConfigPath": "\(.*\)".*/\1/p' "$ROOT$3")"
	echo "$token" >"$ROOT$(readlink "$k/bootstrap-kubelet.conf")"
	mkdir -p "$k/pki" "$k/manifests" "$ROOT/var/lib/kubelet"
	touch "$k/pki/ca.crt" "$ROOT/var/lib/kubelet/config.yaml"
	kubelet "$token"
	rm "$k/bootstrap-kubelet.conf" ;;
*) unexpected "$@" ;;
esac`

// The fake kubelet asks with the token and waits for the certificate.
const fakeKubelet = `
mkdir -p "$ROOT/var/lib/kubelet/pki" "$ROOT/etc/kubernetes"
rm -f "$ROOT/given"
echo "$1" >"$ROOT/asks.new"
mv "$ROOT/asks.new" "$ROOT/asks"
until [ -e "$ROOT/given" ]; do sleep 0.02; done
cp "$ROOT/given" "$ROOT/var/lib/kubelet/pki/kubelet-client-current.pem"
touch "$ROOT/etc/kubernetes/kubelet.conf"`

func (c *cluster) newPi(name string) *workerPi {
	c.t.Helper()
	p := &workerPi{Machine: hosttest.NewMachine(c.t), cluster: c, config: c.config(name)}
	p.Put("/etc/machine-id", strings.Repeat("a", 32)+"\n")
	p.Put("/proc/meminfo", "MemTotal:         945364 kB\n")
	p.Fake("kubeadm", fakeKubeadm)
	p.Fake("kubelet", fakeKubelet)
	p.Fake("kubectl", `test "$*" = "--kubeconfig /etc/kubernetes/kubelet.conf --request-timeout=30s get node `+name+` -o jsonpath={.metadata.uid}" || unexpected "$@"; printf uid-1`)
	p.Fake("systemctl", `case "$*" in
		"show --property=LoadState,ActiveState,UnitFileState,NeedDaemonReload picluster-sync.timer")
			if [ -e "$ROOT/sync" ]; then printf 'LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n'; else printf 'LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n'; fi ;;
		daemon-reload | "enable --quiet --no-reload picluster-sync.timer") ;;
		"restart picluster-sync.timer") touch "$ROOT/sync" ;;
		"restart kubelet.service") kubelet "$(sed -n 's/.*"token": "\(.*\)".*/\1/p' "$ROOT$(readlink "$ROOT/etc/kubernetes/bootstrap-kubelet.conf")")" ;;
		*) unexpected "$@" ;;
	esac`)
	ctx, cancel := context.WithCancel(context.Background())
	var kubelet sync.WaitGroup
	kubelet.Go(func() { p.certify(ctx) })
	c.t.Cleanup(kubelet.Wait)
	c.t.Cleanup(cancel)
	return p
}

// certify is the API server's side of a kubelet's first certificate: the join service
// judges the request, and what it approves is signed.
func (p *workerPi) certify(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
		data, err := os.ReadFile(filepath.Join(p.Root, "asks"))
		if err != nil {
			continue
		}
		os.Remove(filepath.Join(p.Root, "asks"))
		c := p.cluster
		id, secret, _ := strings.Cut(strings.TrimSpace(string(data)), ".")
		c.mu.Lock()
		token, live := c.tokens[id]
		c.mu.Unlock()
		if !live || token.Secret.Reveal() != secret {
			c.t.Errorf("the kubelet asks with a token that the API server does not know")
			return
		}
		if err := c.service.Judge(csr(c.t, id, token.Node)); err != nil {
			c.t.Errorf("judge request of %s: %v", token.Node, err)
			return
		}
		c.locked(func() { c.nodes[token.Node] = &join.Node{UID: "uid-1", Ready: true} })
		p.give(time.Now().Add(time.Hour))
	}
}

// give hands the kubelet a certificate.
func (p *workerPi) give(until time.Time) {
	tmp := filepath.Join(p.Root, "given.new")
	if err := os.WriteFile(tmp, certificate(p.cluster.t, until), 0o600); err != nil {
		p.cluster.t.Error(err)
	}
	os.Rename(tmp, filepath.Join(p.Root, "given"))
}

func key(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func csr(t testing.TB, tokenID, name string) join.CSR {
	k := key(t)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}}}, k)
	if err != nil {
		t.Fatal(err)
	}
	return join.CSR{Name: "csr-1", Signer: join.ClientSigner, Username: "system:bootstrap:" + tokenID, Groups: []string{join.TokenGroup},
		Usages: []string{"digital signature", "client auth"}, Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})}
}

func certificate(t testing.TB, until time.Time) []byte {
	k := key(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-2 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (p *workerPi) env() steps.Env {
	return steps.Env{Client: func(c *join.Client) { c.Address = p.cluster.address }}
}

func (p *workerPi) stages(names ...string) []steps.Stage {
	var some []steps.Stage
	for _, s := range steps.Run(p.config, p.env()) {
		if slices.Contains(names, s.Name) {
			some = append(some, s)
		}
	}
	return some
}

func (p *workerPi) there(path string) bool {
	_, err := p.Lstat(path)
	return err == nil
}

func (p *workerPi) Lstat(path string) (fs.FileInfo, error) {
	return os.Lstat(filepath.Join(p.Root, path))
}

// judge wants a member of the cluster, that node0 knows of it, and no token left.
func (p *workerPi) judge() {
	t := p.cluster.t
	t.Helper()
	for path, want := range map[string]bool{
		"/etc/kubernetes/kubelet.conf": true, "/var/lib/picluster/member": true,
		"/etc/kubernetes/bootstrap-kubelet.conf": false, "/run/picluster/join": false,
	} {
		if p.there(path) != want {
			t.Errorf("%s is there: %v", path, !want)
		}
	}
	p.cluster.mu.Lock()
	defer p.cluster.mu.Unlock()
	if len(p.cluster.tokens) > 0 {
		t.Error("a token lives on after the join")
	}
	p.noTokens("")
}

// noTokens looks for any token that ever was in all files but those below one
// directory, which is in memory.
func (p *workerPi) noTokens(memory string) {
	t := p.cluster.t
	t.Helper()
	err := filepath.WalkDir(p.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || memory != "" && strings.HasPrefix(path, filepath.Join(p.Root, memory)) {
			return err
		}
		data, err := os.ReadFile(path)
		for _, token := range p.cluster.all {
			if bytes.Contains(data, []byte(token)) && filepath.Base(path) != "asks" {
				t.Errorf("%s has a token in it", path)
			}
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the kubelet's files come and go
		t.Error(err)
	}
}
