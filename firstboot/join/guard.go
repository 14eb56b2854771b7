package join

import (
	"container/list"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// Limits of connections, for a computer with four slow cores and 1 GB. Strangers
// are those who have not shown a certificate yet.
const (
	strangersMax     = 128
	strangersEach    = 8 // of one address
	connectionsEach  = 16
	connectionsMax   = 256
	connectionRate   = 5 // per second, of one address
	connectionsBurst = 20
	addressesMax     = 4096 // that are remembered
)

// guard is a listener that keeps strangers from filling the house. When there are
// too many the oldest goes of those that have not said hello, else the oldest: an
// honest client speaks at once and needs a fraction of a second, so it is through
// before a flood has pushed it out.
type guard struct {
	net.Listener

	mu        sync.Mutex
	strangers *list.List // of *guarded, the oldest first
	open      int
	addresses map[netip.Addr]*address
}

type address struct {
	rate      *rate.Limiter
	strangers int
	open      int
}

func newGuard(l net.Listener) *guard {
	return &guard{Listener: l, strangers: list.New(), addresses: map[netip.Addr]*address{}}
}

// Accept returns the next connection that is let in.
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := g.admit(c); admitted != nil {
			return admitted, nil
		}
		c.Close()
	}
}

func (g *guard) admit(c net.Conn) net.Conn {
	from := addressOf(c.RemoteAddr())
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.addresses[from]
	if a == nil {
		if len(g.addresses) >= addressesMax {
			clear(g.addresses)
		}
		a = &address{rate: rate.NewLimiter(connectionRate, connectionsBurst)}
		g.addresses[from] = a
	}
	if !a.rate.Allow() || a.strangers >= strangersEach || a.open >= connectionsEach || g.open >= connectionsMax {
		return nil
	}
	if g.strangers.Len() >= strangersMax {
		g.tiresome().drop()
	}
	x := &guarded{Conn: c, guard: g, address: a}
	x.place = g.strangers.PushBack(x)
	a.strangers++
	a.open++
	g.open++
	return x
}

// tiresome is the stranger that goes first.
func (g *guard) tiresome() *guarded {
	for e := g.strangers.Front(); e != nil; e = e.Next() {
		if x := e.Value.(*guarded); !x.spoke {
			return x
		}
	}
	return g.strangers.Front().Value.(*guarded)
}

func addressOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// guarded is a connection that was let in.
type guarded struct {
	net.Conn
	guard   *guard
	address *address
	place   *list.Element // among the strangers; nil once it is none
	spoke   bool          // it has begun a handshake
	closed  bool
}

// speaks is called when the client has begun a handshake.
func (x *guarded) speaks() {
	x.guard.mu.Lock()
	defer x.guard.mu.Unlock()
	x.spoke = true
}

// known is called when the client has shown who it is.
func (x *guarded) known() {
	x.guard.mu.Lock()
	defer x.guard.mu.Unlock()
	x.leave()
}

// leave takes the connection off the strangers. The caller holds the lock.
func (x *guarded) leave() {
	if x.place != nil {
		x.guard.strangers.Remove(x.place)
		x.place = nil
		x.address.strangers--
	}
}

// drop throws a stranger out. The caller holds the lock.
func (x *guarded) drop() {
	x.leave()
	x.forget()
	x.Conn.Close()
}

func (x *guarded) forget() {
	if !x.closed {
		x.closed = true
		x.address.open--
		x.guard.open--
	}
}

// Close implements net.Conn.
func (x *guarded) Close() error {
	x.guard.mu.Lock()
	x.leave()
	x.forget()
	x.guard.mu.Unlock()
	return x.Conn.Close()
}
