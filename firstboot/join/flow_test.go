package join

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"picluster/internal/joinapi"
	"picluster/internal/lab/desk"
	"picluster/internal/node"
)

func TestCards_becomeNodesOfTheInventory(t *testing.T) {
	w := newWorld(t, 3, 1)
	w.serve()
	for i, name := range []string{"pi-node1", "pi-node2", "spare-1"} {
		b := w.newPi(name, i+1).raise()
		want := []string{"pi-node1", "pi-node2", "pi-node3"}[i]
		if b.Identity.Node != want || b.Identity.Role != node.Worker || b.Identity.Address.Addr() != desk.Address(i+1) || b.Identity.Address.Bits() != 24 {
			t.Errorf("%s becomes %+v, want %s at %s", name, b.Identity, want, desk.Address(i+1))
		}
		if b.Endpoint != "pi-node0:6443" || b.CA != "the API server's CA" || b.Expires.Sub(w.clock()) > tokenLife {
			t.Errorf("bundle is %+v", b)
		}
	}
	if len(w.kube.tokens) > 0 {
		t.Errorf("tokens are left after all have joined: %v", w.kube.tokens)
	}
	if b, ok := w.service.cards[w.Config("pi-node1").Join.CardID]; !ok || b.State != joinapi.Joined || b.NodeUID == "" {
		t.Errorf("record is %+v", b)
	}
}

// A Pi that is switched on before node0 waits for it, and says what for.
func TestClient_waitsForNode0(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	w.halt()
	p := w.newPi("pi-node1", 1)
	tries := 0
	sleep := p.Sleep
	p.Sleep = func(ctx context.Context, d time.Duration) error {
		if tries++; tries == 8 {
			w.serve()
		}
		if d < firstDelay/2 || d > 2*longestDelay {
			t.Errorf("waits %v between two tries", d)
		}
		return sleep(ctx, d)
	}
	w.kube.down = true
	if _, err := p.Enroll(context.Background()); err != nil || tries != 8 {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	p.Sleep = func(ctx context.Context, d time.Duration) error {
		tries++
		w.kube.set(func() { w.kube.down = tries < 20 })
		return sleep(ctx, d)
	}
	if b, err := p.Join(context.Background(), false); err != nil || b.Identity.Node != "pi-node1" || tries != 20 {
		t.Fatalf("after %d tries: %v", tries, err)
	}
}

func TestClient_saysWhatItWaitsFor(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	w.halt()
	if err := p.enrollOnce(); err == nil || err.Error() != "enroll: context canceled, after pi-node0: connection refused" {
		t.Errorf("error is %v", err)
	}
	w.serve()
	if err := p.enrollOnce(); err != nil {
		t.Fatal(err)
	}
	w.kube.down = true
	if _, err := p.joinOnce(); reason(err) != joinapi.ControlPlaneNotReady || !strings.Contains(err.Error(), "pi-node0 is not ready yet") {
		t.Errorf("error is %v", err)
	}
}

// An answer that is lost, or a second thought, gets the same answer again.
func TestCalls_canBeRepeated(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	if err := p.enrollOnce(); err != nil {
		t.Fatal(err)
	}
	first := p.device.Certificate
	p.device.Identity = nil // as if the answer had not come
	if err := p.enrollOnce(); err != nil || p.device.Certificate != first {
		t.Errorf("a second enrolment: %v, another certificate: %v", err, p.device.Certificate != first)
	}
	one, err := p.joinOnce()
	if err != nil {
		t.Fatal(err)
	}
	w.halt()
	w.serve()
	two, err := p.joinOnce()
	if err != nil || two.Token.Reveal() != one.Token.Reveal() {
		t.Errorf("a second question: %v, the same token: %v", err, two != nil && two.Token.Reveal() == one.Token.Reveal())
	}
	w.pass(tokenLife)
	three, err := p.joinOnce()
	if err != nil || three.Token.Reveal() == one.Token.Reveal() {
		t.Errorf("after the token's life: %v, or the same token", err)
	}
	if err := p.kubelet(three); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.joinedOnce(); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.joinOnce(); reason(err) != joinapi.AlreadyJoined {
		t.Errorf("after it has joined: %v", err)
	}
}

// Who starts to join anew after its kubelet had a certificate has another key, so
// it needs another token; and the node that its first try has made goes.
func TestJoin_canBeginAnew(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	if err := p.enrollOnce(); err != nil {
		t.Fatal(err)
	}
	one, err := p.joinOnce()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.kubelet(one); err != nil {
		t.Fatal(err)
	}
	old := w.kube.nodes["pi-node1"].UID
	if _, err := p.joinOnce(); reason(err) != joinapi.AwaitingApproval {
		t.Errorf("while its node is Ready: %v", err)
	}
	w.kube.set(func() { w.kube.nodes["pi-node1"].Ready = false })
	two, err := p.joinOnce()
	if err != nil {
		t.Fatal(err)
	}
	if w.kube.nodes["pi-node1"] != nil {
		t.Errorf("the first try's node %s is still there", old)
	}
	if err := p.kubelet(one); err == nil {
		t.Error("the first token is good for a second key")
	}
	if err := p.kubelet(two); err != nil {
		t.Error(err)
	}
	if err := p.joinedOnce(); err != nil {
		t.Error(err)
	}
}

func TestJoin_fiveTokensADay(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	if err := p.enrollOnce(); err != nil {
		t.Fatal(err)
	}
	for range tokensPerDay {
		if _, err := p.joinOnce(); err != nil {
			t.Fatal(err)
		}
		w.pass(tokenLife)
	}
	if _, err := p.joinOnce(); reason(err) != joinapi.TooManyTokens {
		t.Errorf("the sixth token of a day: %v", err)
	}
	w.pass(24 * time.Hour)
	if _, err := p.joinOnce(); err != nil {
		t.Errorf("a day later: %v", err)
	}
}

// A node whose kubelet certificate ran out while it was switched off joins again,
// as the same node.
func TestRejoin_keepsTheNode(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	p.raise()
	uid := w.kube.nodes["pi-node1"].UID
	w.pass(60 * 24 * time.Hour)
	w.kube.set(func() { w.kube.nodes["pi-node1"].Ready = false })
	b, err := p.Join(context.Background(), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.kubelet(b); err != nil {
		t.Fatal(err)
	}
	if err := p.joinedOnce(); err != nil || w.kube.nodes["pi-node1"].UID != uid {
		t.Errorf("it joined again: %v; node is %v", err, w.kube.nodes["pi-node1"])
	}
}

// node0 was lost with its card and set up anew: its nodes come back by themselves.
func TestClient_enrollsAgainWithANewNode0(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	p.raise()
	w.halt()
	w.dir, w.kube = t.TempDir(), newFakeCluster()
	w.Renew("pi-node0")
	w.serve()
	p.again()
	if b, err := p.joinOnce(); err != nil || b.Identity.Node != "pi-node1" {
		t.Errorf("it becomes %+v, %v", b, err)
	}
}

func TestRenew_isForTheSameKeyAndInTime(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	p.raise()
	first := p.device.Certificate
	if err := p.Renew(context.Background()); err != nil || p.device.Certificate != first {
		t.Errorf("on its first day: %v, or another certificate", err)
	}
	w.pass(deviceLife * 3 / 4)
	if err := p.Renew(context.Background()); err != nil || p.device.Certificate == first {
		t.Errorf("after three quarters of its life: %v, or the same certificate", err)
	}
	p.again()
	if _, err := p.Report(context.Background(), joinapi.Event{Phase: "run", State: "finished"}); err != nil {
		t.Errorf("with the new certificate: %v", err)
	}
}

// What a Pi keeps is its own key and nothing of the cluster's.
func TestDevice_keepsNoToken(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	b := p.raise()
	data, err := os.ReadFile(p.Dir + "/" + deviceName)
	if err != nil {
		t.Fatal(err)
	}
	_, secret, _ := strings.Cut(b.Token.Reveal(), ".")
	if strings.Contains(string(data), secret) {
		t.Error("the bootstrap token is in device.json")
	}
	if info, err := os.Stat(p.Dir + "/" + deviceName); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("device.json has mode %v, %v", info.Mode(), err)
	}
}
