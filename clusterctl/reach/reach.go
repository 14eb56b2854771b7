// Package reach finds a cluster's machines from the desk and connects to them.
//
// Where a Pi is changes with each lease of its router; what it is called does not.
// So nothing here is remembered for longer than a command runs, several ways are
// tried at once, and who answers has to prove himself to the caller: by a pinned
// certificate or host key. An address is only a hint.
package reach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// Times of finding a machine. They are bounds for what is switched off; what is
// there answers within milliseconds.
const (
	lookupTime = 2 * time.Second
	dialTime   = 3 * time.Second
)

// Finder knows where machines may be. It is safe for concurrent use.
type Finder struct {
	// Fixed are addresses that machines have been given, by name.
	Fixed map[string][]netip.Addr

	// At are places that a person has named: for "NODE" or, of one port only,
	// "NODE:PORT" the "HOST" or "HOST:PORT" to use instead of anything else.
	At map[string]string

	// Lookup asks for a name in the local network; nil is MDNS and the system's
	// resolver.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)

	mu    sync.Mutex
	known map[string]netip.Addr // what has answered
	asked map[string]*lookup
}

type lookup struct {
	done      chan struct{}
	addresses []netip.Addr
	err       error
}

// NotFoundError is a machine that none of the ways has led to.
type NotFoundError struct {
	Name string
	Err  error
}

func (e *NotFoundError) Error() string { return e.Err.Error() }
func (e *NotFoundError) Unwrap() error { return e.Err }

// Dial connects to a port of a machine, at the first of its addresses that takes
// the connection.
func (f *Finder) Dial(ctx context.Context, name, port string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime+dialTime)
	defer cancel()
	if at := f.named(name, port); at != "" {
		conn, err := f.dial(ctx, at)
		if err != nil {
			return nil, &NotFoundError{name, plain(err)}
		}
		return conn, nil
	}
	if a, ok := f.remembered(name); ok {
		if conn, err := f.dial(ctx, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
	}
	conn, err := f.race(ctx, name, port)
	if err != nil {
		return nil, &NotFoundError{name, err}
	}
	return conn, nil
}

// Find returns the address, "HOST:PORT", at which a port of a machine answers.
func (f *Finder) Find(ctx context.Context, name, port string) (string, error) {
	conn, err := f.Dial(ctx, name, port)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.RemoteAddr().String(), nil
}

func (f *Finder) named(name, port string) string {
	at, ok := f.At[name+":"+port]
	if !ok {
		at = f.At[name]
	}
	if at == "" {
		return ""
	}
	if _, _, err := net.SplitHostPort(at); err != nil {
		return net.JoinHostPort(strings.Trim(at, "[]"), port)
	}
	return at
}

func (f *Finder) remembered(name string) (netip.Addr, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.known[name]
	return a, ok
}

func (f *Finder) dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTime}
	return d.DialContext(ctx, "tcp", address)
}

// race tries the fixed addresses at once and the others as soon as they are known.
// The first connection wins.
func (f *Finder) race(ctx context.Context, name, port string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	var tries sync.WaitGroup
	try := func(a netip.Addr) {
		tries.Go(func() {
			conn, err := f.dial(ctx, net.JoinHostPort(a.String(), port))
			select {
			case results <- result{conn, err}:
			case <-ctx.Done():
				if conn != nil {
					conn.Close()
				}
			}
		})
	}
	for _, a := range f.Fixed[name] {
		try(a)
	}
	tries.Go(func() {
		addresses, err := f.lookup(ctx, name)
		for _, a := range addresses {
			try(a)
		}
		if err != nil {
			select {
			case results <- result{err: err}:
			case <-ctx.Done():
			}
		}
	})
	go func() { tries.Wait(); close(results) }()
	why := errors.New("no address is known")
	for r := range results {
		if r.err == nil {
			f.remember(name, r.conn)
			return r.conn, nil
		}
		if !refused(why) {
			why = r.err
		}
	}
	return nil, plain(why)
}

// refused is the answer of a machine that is there; it says most.
func refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout() && op.Addr != nil
}

// plain is an error of a connection without Go's wrapping.
func plain(err error) error {
	var op *net.OpError
	var call *os.SyscallError
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return fmt.Errorf("look up %s: %s", dns.Name, dns.Err)
	case !errors.As(err, &op) || op.Addr == nil:
		return err
	case op.Timeout():
		return fmt.Errorf("%s does not answer", op.Addr)
	case errors.As(op.Err, &call):
		return fmt.Errorf("connect to %s: %w", op.Addr, call.Err)
	}
	return fmt.Errorf("connect to %s: %w", op.Addr, op.Err)
}

func (f *Finder) remember(name string, conn net.Conn) {
	remote, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = map[string]netip.Addr{}
	}
	f.known[name] = remote.Addr()
}

// Forget makes the next Dial look again: the machine may have another address after
// a reboot.
func (f *Finder) Forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, name)
	delete(f.asked, name)
}

// lookup asks once for each name, however many ports are asked for at the same time.
func (f *Finder) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	f.mu.Lock()
	l := f.asked[name]
	if l == nil {
		l = &lookup{done: make(chan struct{})}
		if f.asked == nil {
			f.asked = map[string]*lookup{}
		}
		f.asked[name] = l
		go func() {
			ask := f.Lookup
			if ask == nil {
				ask = localName
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTime)
			defer cancel()
			l.addresses, l.err = ask(ctx, name+".local")
			close(l.done)
			if l.err != nil { // it may be there next time
				f.mu.Lock()
				defer f.mu.Unlock()
				delete(f.asked, name)
			}
		}()
	}
	f.mu.Unlock()
	select {
	case <-l.done:
		return l.addresses, l.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// localName asks the network itself and, at the same time, the system's resolver,
// which on macOS and with systemd-resolved knows such names too. Many routers know
// their clients by name as well.
func localName(ctx context.Context, name string) ([]netip.Addr, error) {
	type answer struct {
		addresses []netip.Addr
		err       error
	}
	answers := make(chan answer, 2)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		a, err := MDNS(ctx, name)
		answers <- answer{a, err}
	}()
	go func() {
		a, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
		answers <- answer{a, err}
	}()
	var why error
	for range 2 {
		a := <-answers
		if a.err == nil && len(a.addresses) > 0 {
			return a.addresses, nil
		}
		var dns *net.DNSError
		if why == nil || !errors.As(a.err, &dns) {
			why = a.err
		}
	}
	return nil, why
}
