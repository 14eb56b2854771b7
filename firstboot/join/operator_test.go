package join

import (
	"encoding/json"
	"net/http"
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

// Twenty spares that are switched on at the same moment get twenty names.
func TestSpares_getTheLowestFreeNamesOnce(t *testing.T) {
	w := newWorld(t, 3, 20)
	w.serve()
	names := make([]string, 20)
	var wg sync.WaitGroup
	for i, spare := range w.Spares() {
		p := w.newPi(spare, i+1)
		wg.Go(func() {
			if err := p.enrollOnce(); err != nil {
				t.Error(err)
				return
			}
			names[i] = p.device.Identity.Node + " " + p.device.Identity.Address.String()
		})
	}
	wg.Wait()
	got := map[string]bool{}
	for _, n := range names {
		got[n] = true
	}
	for k := 3; k < 23; k++ {
		if want := w.nameAndAddress(k); !got[want] {
			t.Errorf("nobody is %s; there are %v", want, names)
		}
	}
}

func TestNames_areOfTheDesksForm(t *testing.T) {
	w := newWorld(t, 1, 0)
	c := w.Config("pi-node0")
	peer := func(name string, i int) node.Peer { return node.Peer{Name: name, Address: desk.Address(i)} }
	for _, tc := range []struct {
		peers []node.Peer
		taken []string
		want  string
	}{
		{[]node.Peer{peer("pi-node0", 0), peer("pi-node1", 1)}, []string{"pi-node0", "pi-node1"}, "pi-node2 10.77.0.12/24"},
		{[]node.Peer{peer("alpha", 0), peer("beta", 1)}, []string{"alpha", "beta"}, "node2 10.77.0.12/24"},
		{[]node.Peer{peer("alpha", 0), peer("rack7", 1)}, []string{"alpha", "rack7"}, "rack2 10.77.0.12/24"},
		// A card that was removed frees the name, with the address that goes with it.
		{[]node.Peer{peer("pi-node0", 0), peer("pi-node1", 7)}, []string{"pi-node0"}, "pi-node1 10.77.0.17/24"},
	} {
		taken := map[string]bool{}
		for _, name := range tc.taken {
			taken[name] = true
		}
		name, address, ok := names{tc.peers, c.Network.ClusterAddress}.free(taken)
		if got := name + " " + address.String(); !ok || got != tc.want {
			t.Errorf("%v: free is %s, want %s", tc.peers, got, tc.want)
		}
	}
	full := map[string]bool{}
	n := names{[]node.Peer{peer("pi-node0", 0)}, c.Network.ClusterAddress}
	for range 256 {
		name, address, ok := n.free(full)
		if !ok {
			break
		}
		if address.Addr().String() == "10.77.0.255" {
			t.Error("a node gets the broadcast address")
		}
		full[name] = true
	}
	if len(full) != 254-9 {
		t.Errorf("%d names fit into %v", len(full), desk.Subnet)
	}
}

// A card that is written again for a node takes its place, but not while the node
// works.
func TestRewrittenCard_replacesTheOldOne(t *testing.T) {
	w := newWorld(t, 3, 0)
	w.serve()
	old := w.newPi("pi-node1", 1)
	old.raise()
	uid := w.kube.nodes["pi-node1"].UID
	w.Renew("pi-node1")
	fresh := w.newPi("pi-node1", 1)
	fresh.Hardware.MachineID = board(11).MachineID // a new system in the same board
	if err := fresh.enrollOnce(); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.joinOnce(); reason(err) != joinapi.AwaitingApproval || !strings.Contains(err.Error(), "is Ready") {
		t.Errorf("while the old one works: %v", err)
	}
	if err := old.Renew(t.Context()); err != nil {
		t.Errorf("the old one is disturbed: %v", err)
	}
	w.kube.set(func() { w.kube.nodes["pi-node1"].Ready = false })
	fresh.raise()
	if n := w.kube.nodes["pi-node1"]; n == nil || n.UID == uid {
		t.Errorf("node is %+v, the old one was %s", n, uid)
	}
	w.halt()
	w.serve() // it is on the disk
	w.pass(time.Minute)
	if _, err := old.join(true); reason(err) != joinapi.Superseded {
		t.Errorf("the old card: %v", err)
	}
	if err := w.newPiWith(old.Config, 1).enrollOnce(); reason(err) != joinapi.Superseded {
		t.Errorf("the old card enrolls: %v", err)
	}
}

// With the operator's word the new card need not wait.
func TestRewrittenCard_canBeApprovedAtOnce(t *testing.T) {
	w := newWorld(t, 3, 0)
	w.serve()
	w.newPi("pi-node1", 1).raise()
	w.Renew("pi-node1")
	fresh := w.newPi("pi-node1", 3)
	if err := fresh.enrollOnce(); err != nil {
		t.Fatal(err)
	}
	w.act(fresh.Config.Join.CardID, joinapi.Approve)
	fresh.raise()
}

func TestUnknownCards_waitForTheOperator(t *testing.T) {
	for _, auto := range []bool{false, true} {
		w := newWorld(t, 2, 0)
		w.policy.AdmitUnknownCards = auto
		w.serve() // the inventory is that of now
		w.Grow(1, 1)
		for i, name := range []string{"pi-node2", "spare-1"} {
			p := w.newPi(name, i+1)
			if err := p.enrollOnce(); reason(err) != joinapi.AwaitingApproval && !auto {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := p.joinOnce(); reason(err) != joinapi.AwaitingApproval && !auto {
				t.Errorf("%s: %v", name, err)
			}
			if !auto {
				w.act(p.Config.Join.CardID, joinapi.Approve)
			}
			if b := p.raise(); b.Identity.Node != []string{"pi-node2", "pi-node3"}[i] || b.Identity.Address.Addr() != desk.Address(2+i) {
				t.Errorf("%s becomes %+v", name, b.Identity)
			}
		}
	}
}

// A revoked card is out at once, wherever it stands, and stays out.
func TestRevoke_atEveryState(t *testing.T) {
	for _, state := range []joinapi.State{joinapi.Provisioned, joinapi.Enrolled, joinapi.TokenIssued, joinapi.Joined} {
		w := newWorld(t, 2, 0)
		w.serve()
		p := w.newPi("pi-node1", 1)
		var b *joinapi.Bundle
		if state != joinapi.Provisioned {
			if err := p.enrollOnce(); err != nil {
				t.Fatal(err)
			}
		}
		if state == joinapi.TokenIssued {
			var err error
			if b, err = p.joinOnce(); err != nil {
				t.Fatal(err)
			}
		}
		if state == joinapi.Joined {
			p.raise()
		}
		w.act("pi-node1", joinapi.Revoke)
		if len(w.kube.tokens) > 0 {
			t.Errorf("%s: its token is still there", state)
		}
		w.halt()
		w.serve()
		if err := w.newPi("pi-node1", 1).enrollOnce(); reason(err) != joinapi.Revoked {
			t.Errorf("%s: it enrolls: %v", state, err)
		}
		if state != joinapi.Provisioned {
			if _, err := p.join(true); reason(err) != joinapi.Revoked {
				t.Errorf("%s: it joins: %v", state, err)
			}
		}
		if b != nil {
			id, _, _ := strings.Cut(b.Token.Reveal(), ".")
			if err := w.service.Judge(csrOf(t, id, "pi-node1")); err == nil {
				t.Errorf("%s: its token gets a certificate", state)
			}
		}
		if err := w.service.Judge(renewal(t, "pi-node1").signed(t)); state == joinapi.Joined && reason(err) != joinapi.Revoked {
			t.Errorf("%s: its node renews its certificate: %v", state, err)
		}
		if code, _ := w.operator("/v1/cards/pi-node1/approve", "{}"); code != http.StatusForbidden {
			t.Errorf("%s: approving it is answered %d", state, code)
		}
	}
}

func TestRebind_acceptsTheOtherPi(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	w.newPi("pi-node1", 1).raise()
	// The card was written again without a new generation: all is new but its key.
	again := w.newPi("pi-node1", 2)
	if err := again.enrollOnce(); reason(err) != joinapi.Quarantined {
		t.Fatal(err)
	}
	w.act("pi-node1", joinapi.Rebind)
	w.kube.set(func() { w.kube.nodes["pi-node1"].Ready = false })
	again.raise()
	// A device that moves on with its card.
	again.Hardware.Serial = board(3).Serial
	if _, err := again.join(true); reason(err) != joinapi.Quarantined {
		t.Fatal(err)
	}
	w.act("pi-node1", joinapi.Rebind)
	if err := w.service.Judge(renewal(t, "pi-node1").signed(t)); err != nil {
		t.Errorf("on its new board the member does not get its next certificate: %v", err)
	}
	if _, err := again.join(true); err != nil {
		t.Error(err)
	}
}

// A removed node's name goes to the next spare.
func TestRemove_freesTheName(t *testing.T) {
	w := newWorld(t, 3, 1)
	w.serve()
	w.newPi("pi-node1", 1).raise()
	w.act("pi-node1", joinapi.Remove)
	w.kube.set(func() { delete(w.kube.nodes, "pi-node1") })
	if b := w.newPi("spare-1", 2).raise(); b.Identity.Node != "pi-node1" || b.Identity.Address.Addr() != desk.Address(1) {
		t.Errorf("the spare becomes %+v", b.Identity)
	}
}

func TestRejoin_waitsForTheOperatorWhereWanted(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.policy.ApproveRejoins = true
	w.serve()
	p := w.newPi("pi-node1", 1)
	p.raise()
	if _, err := p.join(true); reason(err) != joinapi.AwaitingApproval {
		t.Errorf("error is %v", err)
	}
	w.act("pi-node1", joinapi.Approve)
	if _, err := p.join(true); err != nil {
		t.Error(err)
	}
}

// A Pi that was switched off until its device certificate had run out is let in
// again by one word.
func TestRenew_afterExpiryIsTheOperators(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	p.raise()
	began := w.Made
	w.pass(deviceLife + time.Hour)
	p.Now = func() time.Time { return began } // its clock has stood still
	if _, err := p.join(true); reason(err) != joinapi.CardExpired {
		t.Errorf("join: %v", err)
	}
	// node0's certificate has run out as well, and the operator's: its card was
	// written again.
	w.halt()
	w.Made = w.clock()
	for _, file := range []string{"operator.key", "operator.crt"} {
		if err := os.Remove(filepath.Join(w.Bundle.Dir(), "operator", file)); err != nil {
			t.Fatal(err)
		}
	}
	w.Grow(0, 0)
	w.Renew("pi-node0")
	w.serve()
	p.Now = w.clock
	if err := p.once(p.Renew); reason(err) != joinapi.AwaitingApproval {
		t.Errorf("renew: %v", err)
	}
	w.act("pi-node1", joinapi.Approve)
	// What runs every ten minutes gets the new one, and is heard with it.
	if standing, err := p.KeepUp(t.Context(), joinapi.Event{Phase: "sync", State: "ready"}); standing == nil || err != nil {
		t.Errorf("keep up after approval: %v", err)
	}
	if _, err := p.join(true); err != nil {
		t.Errorf("join after renewal: %v", err)
	}
}

func TestCardList_showsWhereEachStands(t *testing.T) {
	w := newWorld(t, 3, 1)
	w.serve()
	p := w.newPi("pi-node1", 1)
	p.raise()
	if _, err := p.Report(t.Context(), joinapi.Event{Phase: "storage", State: "waiting", Detail: "for a disk"}); err != nil {
		t.Fatal(err)
	}
	_, answer := w.operator("/v1/cards", "")
	var list []joinapi.CardStatus
	if err := json.Unmarshal([]byte(answer), &list); err != nil {
		t.Fatal(err)
	}
	states := map[string]joinapi.State{}
	for _, c := range list {
		states[c.Name] = c.State
		if c.Name == "pi-node1" && (c.Event == nil || c.Event.Detail != "for a disk" || c.Node != "pi-node1") {
			t.Errorf("pi-node1 is %+v", c)
		}
	}
	if len(list) != 4 || states["pi-node1"] != joinapi.Joined || states["spare-1"] != joinapi.Provisioned {
		t.Errorf("cards are %v", states)
	}
}

func TestAudit_isTheOperatorsToRead(t *testing.T) {
	w := newWorld(t, 3, 1)
	w.serve()
	w.newPi("pi-node1", 1).raise()
	code, answer := w.operator("/v1/audit", "")
	if n, err := joinapi.VerifyAudit(strings.NewReader(answer)); code != http.StatusOK || err != nil || n != 4 {
		t.Errorf("%d: %d entries, %v:\n%s", code, n, err, answer)
	}
}
