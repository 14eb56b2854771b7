package join

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/internal/joinapi"
)

// attacks are what a stranger, a thief of a card or a careless owner can do, each
// against a service over real TLS. None may get more than the text says.
var attacks = []struct {
	name string
	run  func(t *testing.T, w *world)
}{
	{"a client without a certificate gets no answer", func(t *testing.T, w *world) {
		w.stranger(t, pair{})
	}},
	{"a client with a certificate of its own making gets no answer", func(t *testing.T, w *world) {
		w.stranger(t, newWorld(t, 2, 0).cardPair("pi-node1"))
	}},
	{"the join service's own certificate makes no client", func(t *testing.T, w *world) {
		w.stranger(t, pair{w.Bundle.ServerCertificate(), w.Bundle.ServerKey().Reveal()})
	}},
	{"an authority's certificate makes no client", func(t *testing.T, w *world) {
		w.stranger(t, w.ca("device"))
	}},
	{"the thief of the device CA cannot make a card", func(t *testing.T, w *world) {
		c := client(w.service.urn(cardKind, w.CardID("pi-node1"), 1))
		w.stranger(t, w.issue(w.ca("device"), c))
	}},
	{"the thief of the device CA cannot make an operator", func(t *testing.T, w *world) {
		c := client(w.service.urn(deviceKind, w.CardID("pi-node1"), 1))
		c.URIs, c.Subject = nil, pkix.Name{Organization: []string{operatorGroup}}
		w.stranger(t, w.issue(w.ca("device"), c))
		c = client(w.service.urn(deviceKind, w.CardID("pi-node1"), 1))
		c.Subject = pkix.Name{Organization: []string{operatorGroup}}
		w.stranger(t, w.issue(w.ca("device"), c))
	}},
	{"a device certificate with another key is not that device", func(t *testing.T, w *world) {
		w.newPi("pi-node1", 1).raise()
		p := w.issue(w.ca("device"), client(w.service.urn(deviceKind, w.CardID("pi-node1"), 1)))
		w.refused(t, p, "/v1/join", fmt.Sprintf(`{"hardware":%s}`, jsonOf(board(1))), joinapi.ForeignKey)
	}},
	{"a card of another cluster's name is none of ours", func(t *testing.T, w *world) {
		u := "urn:picluster:00000000-0000-0000-0000-000000000000:card:" + w.CardID("pi-node1") + ":gen:1"
		w.stranger(t, w.issue(w.ca("enrolment"), client(u)))
	}},
	{"a server of another cluster is told nothing", func(t *testing.T, w *world) {
		rogue := newWorld(t, 2, 0)
		rogue.serve()
		p := w.newPi("pi-node1", 1)
		p.Address = rogue.address
		if err := p.enrollOnce(); err == nil || !strings.Contains(err.Error(), "x509: certificate is valid for join.") {
			t.Errorf("error is %v", err)
		}
		if len(rogue.service.cards) > 0 {
			t.Error("it got a request")
		}
		// Nor by our name, which is no secret.
		if err := w.against(t, rogue.issue(rogue.ca("enrolment"), serverTemplate(w))); err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
			t.Errorf("error is %v", err)
		}
	}},
	{"a stolen card makes no server", func(t *testing.T, w *world) {
		for _, p := range []pair{w.cardPair("pi-node1"), w.issue(w.ca("device"), serverTemplate(w))} {
			if err := w.against(t, p); err == nil || !strings.Contains(err.Error(), "x509: certificate") {
				t.Errorf("error is %v", err)
			}
		}
	}},
	{"an old card of node0 is not obeyed any more", func(t *testing.T, w *world) {
		old := pair{w.Bundle.ServerCertificate(), w.Bundle.ServerKey().Reveal()}
		w.halt()
		w.Renew("pi-node0")
		w.serve()
		p := w.newPi("pi-node1", 1)
		if err := p.enrollOnce(); err != nil {
			t.Fatal(err)
		}
		p.again()
		p.Address = w.serverWith(t, old)
		if _, err := p.joinOnce(); err == nil || !strings.Contains(err.Error(), "an old card of it is running") {
			t.Errorf("error is %v", err)
		}
	}},
	{"a card that lay in a drawer for too long is told so", func(t *testing.T, w *world) {
		w.pass(91 * 24 * time.Hour)
		if err := w.newPi("pi-node1", 1).enrollOnce(); reason(err) != joinapi.CardExpired || !strings.Contains(err.Error(), "expired on 2027-01-30") {
			t.Errorf("error is %v", err)
		}
	}},
	{"clocks in 1970 do no harm", func(t *testing.T, w *world) {
		w.mu.Lock()
		w.now = time.Unix(1000, 0)
		w.mu.Unlock()
		w.halt()
		w.serve()
		b := w.newPi("pi-node1", 1).raise()
		if b.Expires.Before(w.Made) {
			t.Errorf("the token expires on %v, before the card was made", b.Expires)
		}
	}},
	{"a Pi that thinks it is another year takes node0's time", func(t *testing.T, w *world) {
		for i, year := range []int{2020, 2029} {
			p := w.newPi(fmt.Sprintf("pi-node%d", i+1), i+1)
			var told time.Time
			p.Now, p.ServerTime = func() time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }, func(at time.Time) { told = at }
			if err := p.enrollOnce(); err != nil || told != w.clock() {
				t.Errorf("%d: told %v, %v", year, told, err)
			}
		}
	}},
	{"a Pi that thinks it is eleven years later says that the clocks differ", func(t *testing.T, w *world) {
		p := w.newPi("pi-node1", 1)
		p.Now = func() time.Time { return w.Made.AddDate(11, 0, 0) }
		if err := p.enrollOnce(); err == nil || !strings.Contains(err.Error(), "certificate is valid from 2026-10-25 to 2036-10-29, and not by this Pi's clock") {
			t.Errorf("error is %v", err)
		}
	}},
	{"a role that is asked for is not looked at", func(t *testing.T, w *world) {
		p := w.newPi("pi-node1", 1)
		body := w.enrolBody(p, `"role":"control-plane","node":"pi-node0","labels":{"a":"b"}`)
		code, answer, err := w.post(w.cardPair("pi-node1"), "/v1/enroll", body)
		if err != nil || code != http.StatusOK || strings.Contains(answer, "control-plane") || !strings.Contains(answer, `"node":"pi-node1"`) {
			t.Errorf("%d %s %v", code, answer, err)
		}
	}},
	{"the control plane's card does not join", func(t *testing.T, w *world) {
		if err := w.newPi("pi-node0", 9).enrollOnce(); reason(err) != joinapi.NotAllowed {
			t.Errorf("error is %v", err)
		}
	}},
	{"two Pis with copies of one card: the second is shut out, the first goes on", func(t *testing.T, w *world) {
		first, second := w.newPi("pi-node1", 1), w.newPi("pi-node1", 2)
		first.raise()
		if err := second.enrollOnce(); reason(err) != joinapi.Quarantined {
			t.Errorf("the second: %v", err)
		}
		if _, err := first.Report(context.Background(), joinapi.Event{Phase: "x"}); err != nil {
			t.Errorf("the first: %v", err)
		}
		if !slices.Contains(w.alarms(), joinapi.Quarantined) {
			t.Error("the audit log has no alarm")
		}
		if _, answer := w.operator("/v1/cards", ""); !strings.Contains(answer, `"conflict":{"serial":"0000000000000002"`) {
			t.Errorf("the operator sees %s", answer)
		}
	}},
	{"a copy of a node's whole card in another Pi is shut out", func(t *testing.T, w *world) {
		p := w.newPi("pi-node1", 1)
		p.raise()
		p.Hardware.Serial = board(2).Serial
		if _, err := p.join(true); reason(err) != joinapi.Quarantined {
			t.Errorf("error is %v", err)
		}
	}},
	{"a card does not go on with the key that was made on the desk", func(t *testing.T, w *world) {
		p := w.newPi("pi-node1", 1)
		p.device = &device{CardID: p.Config.Join.CardID, Key: p.Config.Join.Key}
		if err := p.enrollOnce(); reason(err) != joinapi.ForeignKey {
			t.Errorf("error is %v", err)
		}
	}},
	{"two cards do not share a device key", func(t *testing.T, w *world) {
		first, second := w.newPi("pi-node1", 1), w.newPi("pi-node2", 2)
		first.raise()
		second.device = &device{CardID: second.Config.Join.CardID, Key: first.device.Key}
		if err := second.enrollOnce(); reason(err) != joinapi.ForeignKey {
			t.Errorf("error is %v", err)
		}
	}},
	{"a request for somebody else's key is worth nothing", func(t *testing.T, w *world) {
		p := w.newPi("pi-node1", 1)
		csr, err := base64.StdEncoding.DecodeString(w.enrolCSR(p))
		if err != nil {
			t.Fatal(err)
		}
		csr[len(csr)-5] ^= 1 // within the signature
		body := fmt.Sprintf(`{"csr":%q,"hardware":%s}`, base64.StdEncoding.EncodeToString(csr), jsonOf(p.Hardware))
		w.refused(t, w.cardPair("pi-node1"), "/v1/enroll", body, joinapi.BadRequest)
	}},
	{"a card cannot join before it is enrolled", func(t *testing.T, w *world) {
		w.refused(t, w.cardPair("pi-node1"), "/v1/join", `{}`, joinapi.NotAllowed)
	}},
	{"a device cannot enroll for another", func(t *testing.T, w *world) {
		p := w.newPi("pi-node1", 1)
		p.raise()
		w.refused(t, pair{p.device.Certificate, p.device.Key.Reveal()}, "/v1/enroll", w.enrolBody(w.newPi("pi-node2", 2), `"x":1`), joinapi.NotAllowed)
	}},
	{"what is the operator's is refused to all others", func(t *testing.T, w *world) {
		p := w.newPi("pi-node1", 1)
		p.raise()
		for _, who := range []pair{w.cardPair("pi-node2"), {p.device.Certificate, p.device.Key.Reveal()}} {
			w.refused(t, who, "/v1/cards", "", joinapi.NotAllowed)
			w.refused(t, who, "/v1/audit", "", joinapi.NotAllowed)
			w.refused(t, who, "/v1/cards/"+w.CardID("pi-node2")+"/revoke", "{}", joinapi.NotAllowed)
		}
	}},
	{"an operator whose certificate has expired is none", func(t *testing.T, w *world) {
		w.pass(366 * 24 * time.Hour)
		w.refused(t, w.operatorPair(), "/v1/cards", "", joinapi.NotAllowed)
	}},
	{"a request longer than allowed is not read", func(t *testing.T, w *world) {
		w.refused(t, w.cardPair("pi-node1"), "/v1/enroll", `{"csr":"`+strings.Repeat("A", maxBody)+`"}`, joinapi.BadRequest)
	}},
	{"a card that asks too often is told to come back", func(t *testing.T, w *world) {
		var last error
		p := w.newPi("pi-node1", 1)
		for i := range callsPerMinute + 1 {
			p.device = nil
			p.Dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 2, 0, byte(i+1))} // that is not what is counted here
			last = p.enrollOnce()
			p.device.Identity = nil
			if err := p.save(context.Background(), p.device); err != nil {
				t.Fatal(err)
			}
		}
		if reason(last) != joinapi.TooManyRequests {
			t.Errorf("after %d calls: %v", callsPerMinute, last)
		}
		w.pass(time.Minute)
		p.Dialer.LocalAddr = nil
		if err := p.enrollOnce(); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	}},
	{"a copied machine-id waits for the operator", func(t *testing.T, w *world) {
		w.newPi("pi-node1", 1).raise()
		p := w.newPi("pi-node2", 2)
		p.Hardware.MachineID = board(1).MachineID
		if err := p.enrollOnce(); reason(err) != joinapi.AwaitingApproval {
			t.Errorf("error is %v", err)
		}
		w.act(p.Config.Join.CardID, joinapi.Approve)
		p.raise()
	}},
	{"nobody is joined by the name of another's node", func(t *testing.T, w *world) {
		p := w.newPi("pi-node1", 1)
		if err := p.enrollOnce(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.joinOnce(); err != nil {
			t.Fatal(err)
		}
		if err := p.joinedOnce(); reason(err) != joinapi.NoNode {
			t.Errorf("without a node: %v", err)
		}
		w.kube.register("pi-node1")
		if err := p.joinedOnce(); reason(err) != joinapi.NotYourNode {
			t.Errorf("with a node that the token did not make: %v", err)
		}
	}},
}

func TestAttacks(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			w := newWorld(t, 3, 2)
			w.serve()
			a.run(t, w)
		})
	}
}

func serverTemplate(w *world) x509.Certificate {
	return x509.Certificate{DNSNames: []string{w.Bundle.ServerName()}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

func (w *world) cardPair(name string) pair {
	j := w.Config(name).Join
	return pair{j.Certificate, j.Key.Reveal()}
}

func jsonOf(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// stranger is one that the service ends the handshake with.
func (w *world) stranger(t *testing.T, p pair) {
	t.Helper()
	code, answer, err := w.post(p, "/v1/cards", "")
	if err == nil || !strings.Contains(err.Error(), "remote error: tls") {
		t.Errorf("the answer is %d %s, %v; want none", code, answer, err)
	}
	if len(w.service.cards) > 0 {
		t.Error("it left a trace")
	}
}

// refused is one that gets an answer, and it is no.
func (w *world) refused(t *testing.T, p pair, path, body string, want joinapi.Reason) {
	t.Helper()
	code, answer, err := w.post(p, path, body)
	var r joinapi.Refusal
	if err != nil || code < 400 || json.Unmarshal([]byte(answer), &r) != nil || r.Reason != want {
		t.Errorf("%s: %d %s, %v; want %s", path, code, answer, err, want)
	}
}

func (w *world) enrolCSR(p *pi) string {
	if err := p.load(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	csr, err := p.csr()
	if err != nil {
		w.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(csr)
}

// enrolBody is an enrolment with more in it than ours has.
func (w *world) enrolBody(p *pi, more string) string {
	return fmt.Sprintf(`{"csr":%q,"hardware":%s,%s}`, w.enrolCSR(p), jsonOf(p.Hardware), more)
}
