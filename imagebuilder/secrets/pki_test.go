package secrets

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/node"
	"picluster/internal/secret"
)

func TestCertificates_areWhatOpensslReads(t *testing.T) {
	b := bundle(t, home(2, 1))
	id := b.ID()
	c := card(t, b, "raspberrypi-node1")
	for file, want := range map[string][]string{
		"ca/enrolment.crt": {"Subject: CN = picluster home enrolment", "CA:TRUE, pathlen:1", "Certificate Sign", "NIST CURVE: P-256"},
		"ca/device.crt":    {"Subject: CN = picluster home devices", "CA:TRUE, pathlen:0", "TLS Web Client Authentication\n"},
		"join/g1/server.crt": {"TLS Web Server Authentication\n", "CA:FALSE",
			"DNS:join." + id + ", URI:urn:picluster:" + id + ":join:gen:1\n"},
		"operator/operator.crt": {"O = picluster:operator", "TLS Web Client Authentication\n", "CA:FALSE"},
		"cards/raspberrypi-node1/g1/card.crt": {"Subject: CN = raspberrypi-node1\n", "TLS Web Client Authentication\n", "CA:FALSE",
			"\n                URI:urn:picluster:" + id + ":card:" + c.ID() + ":gen:1\n"},
		"cards/spare-1/g1/card.crt": {"Subject: CN = spare-1\n"},
	} {
		text := mustRun(t, b.Dir(), "openssl", "openssl", "x509", "-in", file, "-noout", "-text")
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s has no %q:\n%s", file, w, text)
			}
		}
		// The key beside it is the certificate's.
		fromKey := mustRun(t, b.Dir(), "openssl", "openssl", "pkey", "-in", strings.TrimSuffix(file, "crt")+"key", "-pubout")
		if fromCert := mustRun(t, b.Dir(), "openssl", "openssl", "x509", "-in", file, "-noout", "-pubkey"); fromKey != fromCert {
			t.Errorf("%s and its key differ", file)
		}
	}
}

func TestCertificates_lastAsLongAsTheyShould(t *testing.T) {
	want := home(1, 0)
	want.CardTTL = 30 * day
	b := bundle(t, want)
	for name, tc := range map[string]struct {
		cert *x509.Certificate
		life time.Duration
	}{
		"enrolment": {b.enrolment.cert, 10 * year}, "device": {b.device.cert, 10 * year},
		"service": {b.service.cert, 10 * year}, "operator": {b.operator.cert, year},
		"card": {card(t, b, "raspberrypi-node0").pair.cert, 30 * day},
	} {
		if !tc.cert.NotBefore.Equal(made.Add(-7*day)) || !tc.cert.NotAfter.Equal(made.Add(tc.life)) {
			t.Errorf("%s is valid from %s to %s", name, tc.cert.NotBefore, tc.cert.NotAfter)
		}
	}
}

// opensslVerify says whether openssl accepts a certificate for a purpose.
func opensslVerify(t *testing.T, dir, purpose string, more ...string) (string, error) {
	t.Helper()
	args := append([]string{"verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca/enrolment.crt"}, more...)
	return run(t, dir, "openssl", "openssl", args...)
}

func TestCertificates_opensslAcceptsThemForTheirPurposeOnly(t *testing.T) {
	b := bundle(t, home(1, 1))
	const (
		server, client = "sslserver", "sslclient"
	)
	for _, tc := range []struct {
		file, purpose string
		ok            bool
	}{
		{"join/g1/server.crt", server, true},
		{"join/g1/server.crt", client, false},
		{"operator/operator.crt", client, true},
		{"operator/operator.crt", server, false},
		{"cards/raspberrypi-node0/g1/card.crt", client, true},
		{"cards/raspberrypi-node0/g1/card.crt", server, false},
		{"cards/spare-1/g1/card.crt", client, true},
		{"ca/device.crt", client, false}, // it signs, it does not log in
		{"ca/device.crt", server, false},
	} {
		if out, err := opensslVerify(t, b.Dir(), tc.purpose, tc.file); (err == nil) != tc.ok {
			t.Errorf("%s as %s: %v\n%s", tc.file, tc.purpose, err, out)
		}
	}
	if out, err := opensslVerify(t, b.Dir(), server, "-verify_hostname", b.ServerName(), "join/g1/server.crt"); err != nil {
		t.Errorf("the service's own name: %v\n%s", err, out)
	}
	if _, err := opensslVerify(t, b.Dir(), server, "-verify_hostname", "raspberrypi-node0.local", "join/g1/server.crt"); err == nil {
		t.Error("the service's certificate holds for a host name")
	}
	if _, err := opensslVerify(t, bundle(t, home(1, 0)).Dir(), client, filepath.Join(b.Dir(), "operator/operator.crt")); err == nil {
		t.Error("another cluster's root accepts this operator")
	}
}

// What the thief of node0's card can do with the device CA's key: certify
// clients, and nothing else.
func TestDeviceCA_mintsNoServerAndNoAuthority(t *testing.T) {
	b := bundle(t, home(1, 0))
	dir := t.TempDir()
	mint := func(name string, template *x509.Certificate, issuer *pair) pair {
		p, err := issue(template, issuer)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(p.pem), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	device := mint("device.crt", b.cluster.operatorTemplate(made), &b.device)
	rogue := mint("rogue.crt", b.cluster.serviceTemplate(2, made), &b.device)
	ca := b.cluster.deviceTemplate(made)
	ca.ExtKeyUsage = nil
	sub := mint("sub.crt", ca, &b.device)
	below := mint("below.crt", b.cluster.operatorTemplate(made), &sub)

	for _, tc := range []struct {
		file, purpose string
		cert          pair
		usage         x509.ExtKeyUsage
		ok            bool
	}{
		{"device.crt", "sslclient", device, x509.ExtKeyUsageClientAuth, true},
		{"rogue.crt", "sslserver", rogue, x509.ExtKeyUsageServerAuth, false},
		{"below.crt", "sslclient", below, x509.ExtKeyUsageClientAuth, false},
	} {
		out, err := opensslVerify(t, b.Dir(), tc.purpose, "-untrusted", "ca/device.crt",
			"-untrusted", filepath.Join(dir, "sub.crt"), filepath.Join(dir, tc.file))
		if (err == nil) != tc.ok {
			t.Errorf("openssl on %s: %v\n%s", tc.file, err, out)
		}
		roots, inter := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(b.enrolment.cert)
		inter.AddCert(b.device.cert)
		inter.AddCert(sub.cert)
		_, err = tc.cert.cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: inter,
			KeyUsages: []x509.ExtKeyUsage{tc.usage}, CurrentTime: made})
		if (err == nil) != tc.ok {
			t.Errorf("crypto/x509 on %s: %v", tc.file, err)
		}
	}
}

func TestCertificates_holdForTheLongestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	want := home(1, 0)
	want.Cluster, want.Nodes[0].Name = long, long
	b := bundle(t, want)
	if out, err := opensslVerify(t, b.Dir(), "sslclient", "cards/"+long+"/g1/card.crt"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// handshake connects a client with a certificate to a join service, and returns
// the errors of both sides.
func handshake(t *testing.T, server *Bundle, client *Bundle, cert string, key secret.Text, name string, now time.Time) error {
	t.Helper()
	clock := func() time.Time { return now }
	pool := func(b *Bundle) *x509.CertPool {
		p := x509.NewCertPool()
		if !p.AppendCertsFromPEM([]byte(b.CA())) {
			t.Fatal("the CA is no PEM certificate")
		}
		return p
	}
	keyPair := func(cert string, key secret.Text) []tls.Certificate {
		c, err := tls.X509KeyPair([]byte(cert), []byte(key.Reveal()))
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{c}
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS13, Time: clock,
		Certificates: keyPair(server.ServerCertificate(), server.ServerKey()),
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool(server)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			err = conn.(*tls.Conn).Handshake()
		}
		served <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tc := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS13, Time: clock, ServerName: name,
		Certificates: keyPair(cert, key), RootCAs: pool(client)})
	err = tc.Handshake()
	if err != nil {
		conn.Close()
	}
	return errors.Join(err, <-served)
}

func TestHandshake(t *testing.T) {
	b, other := bundle(t, home(2, 1)), bundle(t, home(2, 1))
	c, s, o := card(t, b, "raspberrypi-node1"), card(t, b, "spare-1"), card(t, other, "raspberrypi-node1")
	for name, tc := range map[string]struct {
		trusts *Bundle
		cert   string
		key    secret.Text
		name   string
		now    time.Time
		want   string // in the error; "" for none
	}{
		"a card joins":                        {b, c.Certificate(), c.Key(), b.ServerName(), made, ""},
		"a spare joins":                       {b, s.Certificate(), s.Key(), b.ServerName(), made, ""},
		"the operator connects":               {b, b.operator.pem, b.operator.key, b.ServerName(), made, ""},
		"a card joins on its last day":        {b, c.Certificate(), c.Key(), b.ServerName(), made.Add(90*day - 1), ""},
		"clocks are six days behind":          {b, c.Certificate(), c.Key(), b.ServerName(), made.Add(-6 * day), ""},
		"another cluster's card":              {b, o.Certificate(), o.Key(), b.ServerName(), made, "unknown authority"},
		"a card meets another cluster":        {other, o.Certificate(), o.Key(), b.ServerName(), made, "unknown authority"},
		"a card asks for another name":        {b, c.Certificate(), c.Key(), other.ServerName(), made, "certificate is valid for join."},
		"an expired card":                     {b, c.Certificate(), c.Key(), b.ServerName(), made.Add(91 * day), "expired"},
		"clocks from before the cluster":      {b, c.Certificate(), c.Key(), b.ServerName(), made.Add(-8 * day), "not yet valid"},
		"the service's certificate as client": {b, b.ServerCertificate(), b.ServerKey(), b.ServerName(), made, "incompatible key usage"},
	} {
		t.Run(name, func(t *testing.T) {
			err := handshake(t, b, tc.trusts, tc.cert, tc.key, tc.name, tc.now)
			if (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want %q", err, tc.want)
			}
		})
	}
}

func TestRenew_givesTheNextGeneration(t *testing.T) {
	want := home(2, 1)
	b := bundle(t, want)
	before := snapshot(t, b.Dir())
	old := card(t, b, "raspberrypi-node1")
	later := made.Add(100 * day)
	want.Now = func() time.Time { return later }
	c, err := b.Renew("raspberrypi-node1", want)
	if err != nil {
		t.Fatal(err)
	}
	if c.Generation() != 2 || c.ID() == old.ID() || c.Key().Reveal() == old.Key().Reveal() || !c.Created().Equal(later) ||
		!c.Expires().Equal(later.Add(DefaultCardTTL)) || c.HostKey().Reveal() != old.HostKey().Reveal() {
		t.Errorf("the new card is %+v", c.record)
	}
	reopened, err := Open(b.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*Bundle{b, reopened} {
		if card(t, b, "raspberrypi-node1").ID() != c.ID() {
			t.Error("the bundle still gives the old card")
		}
		if b.service.hasURN(b.cluster.serviceURN(2)) {
			t.Error("a worker's renewal renewed the join service")
		}
	}
	after := snapshot(t, b.Dir())
	for name, sum := range before {
		if after[name] != sum {
			t.Errorf("%s has changed", name)
		}
	}
	if len(after) != len(before)+3 {
		t.Errorf("there are %d new files, want 3", len(after)-len(before))
	}
	if err := handshake(t, b, b, c.Certificate(), c.Key(), b.ServerName(), later); err != nil {
		t.Errorf("the new card does not join: %v", err)
	}
}

func TestRenew_ofTheControlPlaneRenewsTheService(t *testing.T) {
	want := home(2, 0)
	b := bundle(t, want)
	c1 := card(t, b, "raspberrypi-node1") // on a Pi whose clock stands where the card was made
	want.Now = func() time.Time { return made.Add(30 * day) }
	if _, err := b.Renew("raspberrypi-node0", want); err != nil {
		t.Fatal(err)
	}
	if !b.service.hasURN(b.cluster.serviceURN(2)) {
		t.Errorf("the join service is %s", b.service.cert.URIs)
	}
	if err := handshake(t, b, b, c1.Certificate(), c1.Key(), b.ServerName(), made); err != nil {
		t.Errorf("an older card refuses the new service: %v", err)
	}
}

func TestRenew_refusesWhatIsNoCard(t *testing.T) {
	b := bundle(t, home(2, 0))
	for _, name := range []string{"raspberrypi-node2", "spare-1", "../ca", ""} {
		if _, err := b.Renew(name, home(3, 0)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: error is %v", name, err)
		}
	}
}

func TestInventory_listsTheNewestCardsAndVerifiesWithOpenssl(t *testing.T) {
	want := home(2, 1)
	b := bundle(t, want)
	if _, err := b.Renew("raspberrypi-node1", want); err != nil {
		t.Fatal(err)
	}
	doc, sig, err := b.Inventory(want)
	if err != nil {
		t.Fatal(err)
	}
	var inv Inventory
	if err := json.Unmarshal(doc, &inv); err != nil {
		t.Fatal(err)
	}
	if inv.Version != 1 || inv.Cluster != b.ID() || len(inv.Cards) != 3 {
		t.Fatalf("inventory is %s", doc)
	}
	for i, w := range []struct {
		name string
		role node.Role
		gen  int
	}{{"raspberrypi-node0", node.ControlPlane, 1}, {"raspberrypi-node1", node.Worker, 2}, {"spare-1", node.Spare, 1}} {
		got := inv.Cards[i]
		file := fmt.Sprintf("cards/%s/g%d/card.crt", w.name, w.gen)
		sum := mustRun(t, b.Dir(), "openssl", "sh", "-c", "openssl x509 -in "+file+" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -c1-64")
		if got.Node != w.name || got.Role != w.role || got.Generation != w.gen || got.CardID != card(t, b, w.name).ID() || got.PublicKeySHA256+"\n" != sum {
			t.Errorf("card %d is %+v", i, got)
		}
	}
	if inv.Cards[0].Labels["rack"] != "a" || inv.Cards[1].Labels != nil {
		t.Errorf("labels are %v and %v", inv.Cards[0].Labels, inv.Cards[1].Labels)
	}

	dir := t.TempDir()
	for name, data := range map[string][]byte{"doc": doc, "sig": sig, "changed": []byte(strings.Replace(string(doc), "worker", "control-plane", 1))} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, dir, "openssl", "sh", "-c", "openssl x509 -in "+filepath.Join(b.Dir(), "ca/enrolment.crt")+" -noout -pubkey >pub")
	mustRun(t, dir, "openssl", "openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "doc")
	if out, err := run(t, dir, "openssl", "openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "changed"); err == nil {
		t.Errorf("openssl accepts a changed inventory: %s", out)
	}
	// And as a Pi does it.
	sum := sha256.Sum256(doc)
	if !ecdsa.VerifyASN1(b.enrolment.cert.PublicKey.(*ecdsa.PublicKey), sum[:], sig) {
		t.Error("crypto/ecdsa refuses the signature")
	}
}

func TestInventory_isTheSameEveryTime(t *testing.T) {
	b := bundle(t, home(3, 2))
	first, firstSig, err := b.Inventory(home(3, 2))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := Open(b.Dir())
		if err != nil {
			t.Fatal(err)
		}
		doc, sig, err := again.Inventory(home(3, 2))
		if err != nil || string(doc) != string(first) || string(sig) != string(firstSig) {
			t.Fatalf("it differs: %v", err)
		}
	}
}

func TestInventory_refusesCardsThatAreNotMadeYet(t *testing.T) {
	b := bundle(t, home(1, 0))
	var none *NoCardError
	if doc, sig, err := b.Inventory(home(2, 0)); !errors.As(err, &none) || none.Name != "raspberrypi-node1" || doc != nil || sig != nil {
		t.Errorf("error is %v", err)
	}
}
