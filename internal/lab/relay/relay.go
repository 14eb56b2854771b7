// Package relay stands between a client and a server on loopback, and can cut their
// connections.
package relay

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Relay passes connections on. It ends with the test.
type Relay struct {
	Address string // "127.0.0.1:PORT"

	mu   sync.Mutex
	open map[net.Conn]bool
}

// New passes connections on to an address.
func New(t testing.TB, to string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Address: l.Addr().String(), open: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); r.Cut() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go r.pass(from, to)
		}
	}()
	return r
}

func (r *Relay) pass(from net.Conn, address string) {
	defer from.Close()
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer to.Close()
	r.mu.Lock()
	r.open[from], r.open[to] = true, true
	r.mu.Unlock()
	go func() {
		io.Copy(to, from)
		to.Close()
	}()
	io.Copy(from, to)
}

// Cut ends all connections, as a Wi-Fi that goes away for a moment. New ones are
// passed on.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		c.Close()
	}
	clear(r.open)
}
