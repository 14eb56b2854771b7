package join

import (
	"crypto/x509/pkix"
	"net"
	"net/url"
	"testing"

	"picluster/internal/joinapi"
	"picluster/internal/lab/desk"
)

// nodeIP is the cluster address of a node.
func nodeIP(i int) net.IP { return desk.Address(i).AsSlice() }

func TestJudge_approvesTheNodesOwnCertificatesOnly(t *testing.T) {
	w := newWorld(t, 4, 0)
	w.serve()
	w.newPi("pi-node1", 1).raise()
	id := w.newPi("pi-node2", 2).token()
	first := nodeCSR(t, id, "pi-node2")
	change := func(q *kubeletCSR, f func(q *kubeletCSR)) *kubeletCSR { f(q); return q }
	for _, tc := range []struct {
		name string
		q    *kubeletCSR
		want joinapi.Reason // "" is approved
	}{
		{"another node's name", nodeCSR(t, id, "pi-node1"), joinapi.NotYourNode},
		{"the control plane's name", nodeCSR(t, id, "pi-node0"), joinapi.NotYourNode},
		{"an administrator", change(nodeCSR(t, id, "pi-node2"), func(q *kubeletCSR) { q.template.Subject.Organization = []string{"system:masters"} }), joinapi.BadRequest},
		{"one group more", change(nodeCSR(t, id, "pi-node2"), func(q *kubeletCSR) {
			q.template.Subject.Organization = append(q.template.Subject.Organization, "system:masters")
		}), joinapi.BadRequest},
		{"no group", change(nodeCSR(t, id, "pi-node2"), func(q *kubeletCSR) { q.template.Subject.Organization = nil }), joinapi.BadRequest},
		{"a server's names", change(nodeCSR(t, id, "pi-node2"), func(q *kubeletCSR) { q.template.DNSNames = []string{"pi-node2"} }), joinapi.BadRequest},
		{"an address", change(nodeCSR(t, id, "pi-node2"), func(q *kubeletCSR) { q.template.IPAddresses = []net.IP{nodeIP(2)} }), joinapi.BadRequest},
		{"a URI", change(nodeCSR(t, id, "pi-node2"), func(q *kubeletCSR) { q.template.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} }), joinapi.BadRequest},
		{"a server's usage", change(nodeCSR(t, id, "pi-node2"), func(q *kubeletCSR) { q.Usages = append(q.Usages, "server auth") }), joinapi.BadRequest},
		{"an authority's usage", change(nodeCSR(t, id, "pi-node2"), func(q *kubeletCSR) { q.Usages = append(q.Usages, "cert sign") }), joinapi.BadRequest},
		{"a token of kubeadm's", nodeCSR(t, "abcdef", "pi-node2"), joinapi.NotAllowed},
		{"a user who is no node", change(renewal(t, "pi-node1"), func(q *kubeletCSR) { q.Username = "jane" }), joinapi.NotAllowed},
		{"a user who calls himself a node", change(renewal(t, "pi-node1"), func(q *kubeletCSR) { q.Groups = nil }), joinapi.NotAllowed},

		{"the token's own node", first, ""},
		{"the same request again", first, ""},
		{"a second key with the same token", nodeCSR(t, id, "pi-node2"), joinapi.ForeignKey},

		{"a node renews", renewal(t, "pi-node1"), ""},
		{"a node renews that has not said yet that it joined", renewal(t, "pi-node2"), ""},
		{"the control plane renews", renewal(t, "pi-node0"), ""},
		{"a node that never joined renews", renewal(t, "pi-node3"), joinapi.NotAllowed},
		{"a node renews for another", change(renewal(t, "pi-node1"), func(q *kubeletCSR) { q.template.Subject.CommonName = nodeUser + "pi-node0" }), joinapi.NotYourNode},

		{"a node serves", serving(t, "pi-node1", nodeIP(1)), ""},
		{"the control plane serves", serving(t, "pi-node0", nodeIP(0)), ""},
		{"a node serves by its mDNS name", change(serving(t, "pi-node1", nodeIP(1)), func(q *kubeletCSR) { q.template.DNSNames = []string{"pi-node1.local"} }), ""},
		{"a node serves at another's address", serving(t, "pi-node1", nodeIP(0)), joinapi.NotYourNode},
		{"a node serves at one more address", change(serving(t, "pi-node1", nodeIP(1)), func(q *kubeletCSR) {
			q.template.IPAddresses = append(q.template.IPAddresses, net.IPv4(192, 168, 1, 7))
		}), joinapi.NotYourNode},
		{"a node serves by another's name", change(serving(t, "pi-node1", nodeIP(1)), func(q *kubeletCSR) { q.template.DNSNames = []string{"pi-node0"} }), joinapi.NotYourNode},
		{"a node serves as the API server", change(serving(t, "pi-node1", nodeIP(1)), func(q *kubeletCSR) { q.template.DNSNames = []string{"kubernetes.default.svc"} }), joinapi.NotYourNode},
		{"a node serves by no name", change(serving(t, "pi-node1", nodeIP(1)), func(q *kubeletCSR) { q.template.DNSNames, q.template.IPAddresses = nil, nil }), joinapi.BadRequest},
		{"a node serves and is a client", change(serving(t, "pi-node1", nodeIP(1)), func(q *kubeletCSR) { q.Usages = append(q.Usages, "client auth") }), joinapi.BadRequest},
		{"a token serves", change(nodeCSR(t, id, "pi-node2"), func(q *kubeletCSR) {
			q.Signer, q.Usages, q.template.DNSNames = ServingSigner, []string{"server auth"}, []string{"pi-node2"}
		}), joinapi.NotAllowed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := w.service.Judge(tc.q.signed(t))
			if reason(err) != tc.want || (err != nil) != (tc.want != "") {
				t.Errorf("error is %v, want %q", err, tc.want)
			}
		})
	}
}

// token is the id of the token that a Pi gets.
func (p *pi) token() string {
	p.w.t.Helper()
	if err := p.enrollOnce(); err != nil {
		p.w.t.Fatal(err)
	}
	b, err := p.joinOnce()
	if err != nil {
		p.w.t.Fatal(err)
	}
	id, _, _ := split(b)
	return id
}

func TestJudge_wantsAWholeRequestOfItsOwnKey(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	w.newPi("pi-node1", 1).raise()
	good := renewal(t, "pi-node1").signed(t)
	forged := good
	forged.Request = []byte(string(good.Request) + string(good.Request))
	for name, request := range map[string][]byte{"nothing": nil, "two": forged.Request, "text": []byte("hello"),
		"a certificate": []byte(w.Bundle.CA())} {
		q := good
		q.Request = request
		if err := w.service.Judge(q); reason(err) != joinapi.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A token is dead once its time is over, once its node has joined, and once there is
// a newer one.
func TestJudge_tokensEnd(t *testing.T) {
	w := newWorld(t, 3, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	b := p.raise()
	id, _, _ := split(b)
	if err := w.service.Judge(csrOf(t, id, "pi-node1")); reason(err) != joinapi.NotAllowed {
		t.Errorf("after its node has joined: %v", err)
	}
	p = w.newPi("pi-node2", 2)
	id = p.token()
	w.pass(tokenLife)
	if err := w.service.Judge(csrOf(t, id, "pi-node2")); reason(err) != joinapi.NotAllowed {
		t.Errorf("after its time: %v", err)
	}
	if _, err := p.joinOnce(); err != nil {
		t.Fatal(err)
	}
	if err := w.service.Judge(csrOf(t, id, "pi-node2")); reason(err) != joinapi.NotAllowed {
		t.Errorf("after a newer one: %v", err)
	}
}

// A node that asks for ever does not fill the audit log.
func TestJudge_logsARepetitionOnce(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	w.newPi("pi-node1", 1).raise()
	before := len(w.audit())
	for range 20 {
		bad := renewal(t, "pi-node1")
		bad.template.Subject = pkix.Name{CommonName: nodeUser + "pi-node0", Organization: []string{nodesGroup}}
		if err := w.service.Judge(bad.signed(t)); err == nil {
			t.Fatal("approved")
		}
		if err := w.service.Judge(serving(t, "pi-node1", nodeIP(1)).signed(t)); err != nil {
			t.Fatal(err)
		}
	}
	if grown := len(w.audit()) - before; grown != 2 {
		t.Errorf("%d new entries, want 2", grown)
	}
}
