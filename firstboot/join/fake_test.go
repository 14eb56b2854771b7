package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeCluster is an API server as far as the service sees one. The real one is in
// package kube's tests.
type fakeCluster struct {
	mu     sync.Mutex
	down   bool
	tokens map[string]Token
	nodes  map[string]*Node
	uids   int
}

func newFakeCluster() *fakeCluster {
	return &fakeCluster{tokens: map[string]Token{}, nodes: map[string]*Node{}}
}

var errDown = errors.New("connection refused")

func (f *fakeCluster) up() error {
	if f.down {
		return errDown
	}
	return nil
}

func (f *fakeCluster) locked(do func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.up(); err != nil {
		return err
	}
	do()
	return nil
}

func (f *fakeCluster) Admit(_ context.Context, t Token) error {
	return f.locked(func() {
		if _, ok := f.tokens[t.ID]; !ok {
			f.tokens[t.ID] = t
		}
	})
}

func (f *fakeCluster) Dismiss(_ context.Context, id string) error {
	return f.locked(func() { delete(f.tokens, id) })
}

func (f *fakeCluster) Node(_ context.Context, name string) (n *Node, err error) {
	err = f.locked(func() {
		if have := f.nodes[name]; have != nil {
			c := *have
			n = &c
		}
	})
	return n, err
}

func (f *fakeCluster) RemoveNode(_ context.Context, name, uid string) error {
	return f.locked(func() {
		if n := f.nodes[name]; n != nil && n.UID == uid {
			delete(f.nodes, name)
		}
	})
}

func (f *fakeCluster) CA(context.Context) (string, error) {
	return "the API server's CA", f.locked(func() {})
}

// register is what a kubelet with a certificate does: it makes its Node, or goes on
// with the one there is.
func (f *fakeCluster) register(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nodes[name] == nil {
		f.uids++
		f.nodes[name] = &Node{UID: fmt.Sprintf("uid-%d", f.uids)}
	}
	f.nodes[name].Ready = true
}

// set changes the cluster behind the service's back.
func (f *fakeCluster) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// tokenID authenticates a bootstrap token.
func (f *fakeCluster) tokenID(text string, now time.Time) (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, secret, _ := strings.Cut(text, ".")
	t, ok := f.tokens[id]
	return id, ok && t.Secret.Reveal() == secret && now.Before(t.Expires)
}

// kubeletCSR is a kubelet's request before it is signed.
type kubeletCSR struct {
	CSR
	template x509.CertificateRequest
	key      *ecdsa.PrivateKey
}

// nodeCSR is what a kubelet asks for with a bootstrap token.
func nodeCSR(t testing.TB, tokenID, name string) *kubeletCSR {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &kubeletCSR{
		CSR: CSR{Name: "csr-1", Signer: ClientSigner, Username: bootstrapUser + tokenID, Groups: []string{TokenGroup},
			Usages: []string{"digital signature", "client auth"}},
		template: x509.CertificateRequest{Subject: pkix.Name{CommonName: nodeUser + name, Organization: []string{nodesGroup}}},
		key:      key,
	}
}

// renewal is what a node asks for that has a certificate.
func renewal(t testing.TB, name string) *kubeletCSR {
	q := nodeCSR(t, "", name)
	q.Username, q.Groups = nodeUser+name, []string{nodesGroup, "system:authenticated"}
	return q
}

// serving is what a node asks for to serve its own API.
func serving(t testing.TB, name string, address net.IP) *kubeletCSR {
	q := renewal(t, name)
	q.Signer, q.Usages = ServingSigner, []string{"digital signature", "server auth"}
	q.template.DNSNames, q.template.IPAddresses = []string{name}, []net.IP{address}
	return q
}

// signed is the request as the API server has it.
func (q *kubeletCSR) signed(t testing.TB) CSR {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &q.template, q.key)
	if err != nil {
		t.Fatal(err)
	}
	q.Request = []byte(encodePEM("CERTIFICATE REQUEST", der))
	return q.CSR
}

func csrOf(t testing.TB, tokenID, name string) CSR { return nodeCSR(t, tokenID, name).signed(t) }
