package join

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"picluster/internal/joinapi"
)

var errCut = errors.New("the power is cut")

// cutter panics at its nth call, and ever after: what is dead writes nothing.
type cutter struct{ left atomic.Int64 }

func cutAt(n int) *cutter {
	c := new(cutter)
	c.left.Store(int64(n))
	return c
}

func (c *cutter) fault(string, string) {
	if c.left.Add(-1) < 0 {
		panic(errCut)
	}
}

func (c *cutter) dead() bool { return c.left.Load() < 0 }

// survive runs what may be cut off and reports whether it was.
func survive(do func() error) (cut bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != errCut {
				panic(p)
			}
			cut = true
		}
	}()
	return false, do()
}

// member brings a Pi into the cluster like the agent does: from the start again
// after each interruption, whatever happened before.
func (p *pi) member() error {
	if _, err := p.Enroll(context.Background()); err != nil {
		return err
	}
	b, err := p.Join(context.Background(), false)
	if reason(err) == joinapi.AlreadyJoined {
		return nil
	}
	if err != nil {
		return err
	}
	if err := p.kubelet(b); err != nil {
		return err
	}
	return p.Joined(context.Background(), "")
}

// whole fails the test unless a card has become that node, once, and no trace is
// left of how often it was interrupted.
func (w *world) whole(p *pi, node string) {
	w.t.Helper()
	r := w.service.cards[p.Config.Join.CardID]
	if r == nil || r.State != joinapi.Joined || r.Node != node || r.Token != nil || r.NodeUID != w.kube.nodes[node].UID {
		w.t.Fatalf("record is %+v", r)
	}
	if len(w.kube.tokens) > 0 || len(w.kube.nodes) != 1 {
		w.t.Fatalf("tokens are %v, nodes are %v", w.kube.tokens, w.kube.nodes)
	}
	for _, e := range w.audit() {
		if e.Result == joinapi.Alarm && e.Reason != joinapi.ForeignKey {
			w.t.Errorf("alarm: %+v", e)
		}
	}
}

// settle waits, when a Pi starts anew, until its first node is not Ready any more.
func (w *world) settle() {
	w.kube.set(func() {
		for _, n := range w.kube.nodes {
			n.Ready = false
		}
	})
}

// node0 loses power at every single write of the way of two cards; it starts again,
// the Pi asks again.
func TestService_powerCutAtEveryWrite(t *testing.T) {
	cuts := 0
	for _, tc := range [][2]string{{"pi-node1", "pi-node1"}, {"spare-1", "pi-node2"}} {
		for n := 0; ; n++ {
			c := cutAt(n)
			if !w1(t, tc[0], tc[1], c) {
				break
			}
			cuts++
		}
	}
	if cuts < 60 {
		t.Errorf("only %d writes were cut", cuts)
	}
}

// w1 raises one Pi while node0 loses power once; it reports whether it did.
func w1(t *testing.T, name, node string, c *cutter) bool {
	w := newWorld(t, 2, 1)
	w.serve()
	w.halt()
	w.fault = c.fault
	start := func() {
		if cut, _ := survive(func() error { w.serve(); return nil }); cut {
			w.fault = nil
			w.serve()
		}
	}
	start()
	p := w.newPi(name, 1)
	sleep := p.Sleep
	p.Sleep = func(ctx context.Context, d time.Duration) error {
		if c.dead() && w.fault != nil {
			w.halt()
			w.fault = nil
			w.serve()
		}
		w.settle()
		return sleep(ctx, d)
	}
	for range 5 {
		cut, err := survive(p.member)
		if !cut && err == nil {
			break
		}
		p.again()
		if err := p.Sleep(context.Background(), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	w.whole(p, node)
	w.halt()
	return c.dead()
}

// The Pi loses power at every single write: before it has asked, and with an answer
// that never reached its disk.
func TestClient_powerCutAtEveryWrite(t *testing.T) {
	for n := 0; ; n++ {
		w := newWorld(t, 2, 1)
		w.serve()
		c := cutAt(n)
		p := w.newPi("spare-1", 1)
		p.Fault = c.fault
		for range 5 {
			cut, err := survive(p.member)
			if !cut && err == nil {
				break
			}
			p.again()
			w.settle()
		}
		w.whole(p, "pi-node2")
		w.halt()
		if !c.dead() {
			if n < 15 {
				t.Errorf("the Pi wrote only %d times", n)
			}
			break
		}
	}
}

// cutProxy lets through what node0 sends until its nth packet, and cuts that
// connection.
func cutProxy(t *testing.T, to string, n int64) (address string, cut func() bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var left atomic.Int64
	left.Store(n)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go relay(c, to, &left)
		}
	}()
	return l.Addr().String(), func() bool { return left.Load() < 0 }
}

func relay(c net.Conn, to string, left *atomic.Int64) {
	defer c.Close()
	s, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		io.Copy(s, c)
		s.(*net.TCPConn).CloseWrite()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := s.Read(buffer)
		if n > 0 && left.Add(-1) == -1 {
			return
		}
		if n > 0 {
			c.Write(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

// The network loses each answer once.
func TestCalls_everyAnswerLostOnce(t *testing.T) {
	for n := int64(0); ; n++ {
		w := newWorld(t, 2, 0)
		w.serve()
		p := w.newPi("pi-node1", 1)
		address, cut := cutProxy(t, w.address, n)
		p.Address = address
		p.Dialer.LocalAddr = nil
		if err := p.member(); err != nil {
			t.Fatalf("packet %d: %v", n, err)
		}
		w.whole(p, "pi-node1")
		w.halt()
		if !cut() {
			if n < 6 {
				t.Errorf("node0 sent only %d packets", n)
			}
			break
		}
	}
}

// What was recorded on the wire is worth nothing when it is sent again.
func TestCalls_cannotBeReplayed(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	recorded := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		s, err := net.Dial("tcp", w.address)
		if err != nil {
			return
		}
		defer s.Close()
		go io.Copy(c, s)
		data, _ := io.ReadAll(io.TeeReader(c, s))
		recorded <- data
	}()
	p := w.newPi("pi-node1", 1)
	p.Address, p.Dialer.LocalAddr = l.Addr().String(), nil
	if err := p.enrollOnce(); err != nil {
		t.Fatal(err)
	}
	data := <-recorded
	before := len(w.audit())
	s, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Write(data); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(s); err == nil && len(answer) == 0 {
		t.Error("nothing came back, not even the handshake")
	}
	if after := len(w.audit()); after != before {
		t.Errorf("the audit log has %d new entries", after-before)
	}
}
