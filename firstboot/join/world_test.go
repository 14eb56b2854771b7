package join

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/internal/joinapi"
	"picluster/internal/lab/desk"
	"picluster/internal/node"
)

// world is a cluster with real keys from the desk, a service on loopback and a
// clock that only moves when somebody waits.
type world struct {
	*desk.Desk
	t       testing.TB
	dir     string
	policy  Policy
	kube    *fakeCluster
	service *Service
	address string
	stop    func()
	fault   func(op, path string)

	mu  sync.Mutex
	now time.Time
}

func newWorld(t testing.TB, nodes, spares int) *world {
	w := &world{Desk: desk.New(t, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), nodes, spares), t: t, dir: filepath.Join(t.TempDir(), "join"), kube: newFakeCluster()}
	w.now = w.Made.Add(time.Hour)
	t.Cleanup(w.halt)
	return w
}

func TestMain(m *testing.M) { os.Exit(desk.Main(m)) }

func (w *world) nameAndAddress(k int) string {
	return fmt.Sprintf("%s %s", desk.NodeName(k), netip.PrefixFrom(desk.Address(k), desk.Subnet.Bits()))
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) options() Options {
	return Options{Config: w.Config("pi-node0"), Dir: w.dir, Endpoint: "pi-node0:6443", Policy: w.policy,
		Cluster: w.kube, Now: w.clock, Fault: w.fault}
}

// serve starts the service, again after halt, always at the same address.
func (w *world) serve() {
	w.t.Helper()
	var err error
	if w.service, err = Open(w.options()); err != nil {
		w.t.Fatal(err)
	}
	at := w.address
	if at == "" {
		at = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		w.t.Fatal(err)
	}
	w.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	service := w.service
	go func() { done <- service.Serve(ctx, l) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		service.Close()
	}
}

// halt ends the service as a power cut would: what is not on the disk is gone.
func (w *world) halt() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// pi is a board with a card in it.
type pi struct {
	*Client
	w *world
}

// board makes one of a kind.
func board(n int) joinapi.Hardware {
	return joinapi.Hardware{Serial: fmt.Sprintf("%016x", n), MachineID: fmt.Sprintf("%064x", n), Model: "Raspberry Pi 3 Model B Rev 1.2"}
}

// newPi puts a card into a board. Its waiting moves the clock.
func (w *world) newPi(name string, n int) *pi {
	return w.newPiWith(w.Config(name), n)
}

func (w *world) newPiWith(c *node.Config, n int) *pi {
	p := &pi{w: w}
	p.Client = &Client{Config: c, Hardware: board(n), Dir: filepath.Join(w.t.TempDir(), "device"), Address: w.address, Now: w.clock}
	p.Dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 1, byte(n>>8), byte(n))}
	tries := 0
	p.Sleep = func(ctx context.Context, d time.Duration) error {
		if tries++; tries > 100 {
			return errors.New("the test has waited long enough")
		}
		w.pass(d)
		return ctx.Err()
	}
	return p
}

// again is the same Pi after a power cut.
func (p *pi) again() {
	c := *p.Client
	c.device, c.Fault = nil, nil
	p.Client = &c
}

// once makes a call that gives up after the first answer.
func (p *pi) once(call func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	sleep := p.Sleep
	defer func() { p.Sleep = sleep }()
	p.Sleep = func(context.Context, time.Duration) error { cancel(); return ctx.Err() }
	return call(ctx)
}

// reason is why a call was refused, "" if it was not or for another cause.
func reason(err error) joinapi.Reason {
	var r *joinapi.Refusal
	if !errors.As(err, &r) {
		return ""
	}
	return r.Reason
}

func (p *pi) enrollOnce() error {
	return p.once(func(ctx context.Context) error { _, err := p.Enroll(ctx); return err })
}

func (p *pi) joinOnce() (*joinapi.Bundle, error) { return p.join(false) }

func (p *pi) join(rejoin bool) (b *joinapi.Bundle, err error) {
	err = p.once(func(ctx context.Context) error { b, err = p.Join(ctx, rejoin); return err })
	return b, err
}

func (p *pi) joinedOnce() error {
	return p.once(func(ctx context.Context) error { return p.Joined(ctx, "") })
}

// raise is all of a Pi's way to a member of the cluster, with a kubelet in it.
func (p *pi) raise() *joinapi.Bundle {
	p.w.t.Helper()
	if err := p.enrollOnce(); err != nil {
		p.w.t.Fatal(err)
	}
	b, err := p.joinOnce()
	if err != nil {
		p.w.t.Fatal(err)
	}
	if err := p.kubelet(b); err != nil {
		p.w.t.Fatal(err)
	}
	if err := p.joinedOnce(); err != nil {
		p.w.t.Fatal(err)
	}
	return b
}

// kubelet bootstraps: it asks for the node's certificate with the token and
// registers the node.
func (p *pi) kubelet(b *joinapi.Bundle) error {
	w := p.w
	id, ok := w.kube.tokenID(b.Token.Reveal(), w.clock())
	if !ok {
		return errors.New("the API server does not know the token")
	}
	if err := w.service.Judge(csrOf(w.t, id, b.Identity.Node)); err != nil {
		return err
	}
	w.kube.register(b.Identity.Node)
	return nil
}

// pair is a key with a certificate, PEM.
type pair struct{ certificate, key string }

func (p pair) tls(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair([]byte(p.certificate), []byte(p.key))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// authority reads one of the desk's authorities: "enrolment" or "device".
func (w *world) ca(name string) pair {
	w.t.Helper()
	var p pair
	for file, to := range map[string]*string{name + ".crt": &p.certificate, name + ".key": &p.key} {
		data, err := os.ReadFile(filepath.Join(w.Bundle.Dir(), "ca", file))
		if err != nil {
			w.t.Fatal(err)
		}
		*to = string(data)
	}
	return p
}

// issue makes a certificate by an authority, with its chain.
func (w *world) issue(ca pair, template x509.Certificate) pair {
	w.t.Helper()
	issuer := ca.tls(w.t)
	parent, err := x509.ParseCertificate(issuer.Certificate[0])
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := newKey()
	if err != nil {
		w.t.Fatal(err)
	}
	own, err := parseKey(key.Text)
	if err != nil {
		w.t.Fatal(err)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = w.Made.Add(-time.Hour), w.Made.Add(24*time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, own.Public(), issuer.PrivateKey)
	if err != nil {
		w.t.Fatal(err)
	}
	return pair{encodePEM("CERTIFICATE", der) + ca.certificate, key.Reveal()}
}

// client is a template of a client's certificate with that name in it.
func client(urn string) x509.Certificate {
	u, err := url.Parse(urn)
	if err != nil {
		panic(err)
	}
	return x509.Certificate{URIs: []*url.URL{u}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
}

// post sends any body with any certificate, as no client of ours would.
func (w *world) post(p pair, path, body string) (int, string, error) {
	config := &tls.Config{InsecureSkipVerify: true}
	if p.certificate != "" {
		config.Certificates = []tls.Certificate{p.tls(w.t)}
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequest(method, "https://"+w.address+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return response.StatusCode, string(data), err
}

// operator does what clusterctl does.
func (w *world) operator(path, body string) (int, string) {
	w.t.Helper()
	code, answer, err := w.post(w.operatorPair(), path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return code, answer
}

func (w *world) operatorPair() pair {
	w.t.Helper()
	var p pair
	for file, to := range map[string]*string{"operator.crt": &p.certificate, "operator.key": &p.key} {
		data, err := os.ReadFile(filepath.Join(w.Bundle.Dir(), "operator", file))
		if err != nil {
			w.t.Fatal(err)
		}
		*to = string(data)
	}
	return p
}

// act is one of the operator's actions, which must work.
func (w *world) act(card, action string) {
	w.t.Helper()
	if code, answer := w.operator("/v1/cards/"+card+"/"+action, "{}"); code != http.StatusNoContent {
		w.t.Fatalf("%s %s: %d %s", action, card, code, answer)
	}
}

// audit is the audit log.
func (w *world) audit() []joinapi.Entry {
	w.t.Helper()
	var text strings.Builder
	if err := w.service.audit.copyTo(&text); err != nil {
		w.t.Fatal(err)
	}
	answer := text.String()
	if _, err := joinapi.VerifyAudit(strings.NewReader(answer)); err != nil {
		w.t.Error(err)
	}
	var all []joinapi.Entry
	for line := range strings.Lines(answer) {
		var e joinapi.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// alarms are the reasons of the alarms in the audit log.
func (w *world) alarms() []joinapi.Reason {
	var all []joinapi.Reason
	for _, e := range w.audit() {
		if e.Result == joinapi.Alarm {
			all = append(all, e.Reason)
		}
	}
	return all
}

// split takes a bundle's token apart.
func split(b *joinapi.Bundle) (id, secret string, ok bool) { return strings.Cut(b.Token.Reveal(), ".") }
