package join

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"picluster/internal/lab"
)

// A thousand connections that are opened again as soon as they are closed do not
// keep a card out, and take no more room than is meant for strangers.
func TestServe_letsCardsInDuringAFlood(t *testing.T) {
	w := newWorld(t, 2, 0)
	w.serve()
	p := w.newPi("pi-node1", 1)
	lab.Flood(t, w.address, 1000)
	tries := 0
	p.Sleep = func(ctx context.Context, d time.Duration) error {
		if tries++; tries > 300 { // half a minute; a card waits longer each time
			return errors.New("the flood keeps the card out")
		}
		time.Sleep(100 * time.Millisecond)
		return ctx.Err()
	}
	if err := p.member(); err != nil {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	w.whole(p, "pi-node1")
	t.Logf("%d tries were in vain", tries)
}

// pipe is a connection from an address.
type pipe struct {
	net.Conn
	from net.Addr
}

func (p pipe) RemoteAddr() net.Addr { return p.from }

func connection(t *testing.T, address string) pipe {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return pipe{ours, &net.TCPAddr{IP: net.ParseIP(address)}}
}

func TestGuard_limits(t *testing.T) {
	g := newGuard(nil)
	enter := func(address string) *guarded {
		x, _ := g.admit(connection(t, address)).(*guarded)
		return x
	}
	others := 0
	other := func() *guarded {
		others++
		return enter(fmt.Sprintf("10.1.%d.%d", others>>8, others&255))
	}
	var in []*guarded
	for range 2 * strangersEach {
		if x := enter("10.0.0.1"); x != nil {
			in = append(in, x)
		}
	}
	if len(in) != strangersEach {
		t.Fatalf("one address has %d connections", len(in))
	}
	in[0].speaks()
	for g.strangers.Len() < strangersMax {
		other()
	}
	other()
	other()
	if in[0].closed || !in[1].closed || !in[2].closed || in[3].closed {
		t.Error("it is not the oldest silent ones that go")
	}
	if in[1].Close(); g.strangers.Len() != strangersMax || g.open != strangersMax {
		t.Errorf("%d strangers, %d connections", g.strangers.Len(), g.open)
	}
	// Who has shown a certificate is none of them, and stays.
	known := other()
	known.known()
	for range 2 * strangersMax {
		other().speaks()
	}
	if known.closed || g.strangers.Len() != strangersMax || g.open != strangersMax+1 {
		t.Errorf("known: closed %v; %d strangers, %d connections", known.closed, g.strangers.Len(), g.open)
	}
	for n := 0; ; n++ {
		x := enter("10.0.0.2")
		if x == nil {
			if n != connectionsEach {
				t.Errorf("one card has %d connections", n)
			}
			break
		}
		x.known()
	}
	for g.open < connectionsMax {
		other().known()
	}
	if other() != nil {
		t.Errorf("there are %d connections", g.open)
	}
}
