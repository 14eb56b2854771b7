package lab

import (
	"context"
	"net"
	"sync"
	"testing"
)

// Flood opens connections that say nothing, from as many addresses as there are in
// a /24, until the test ends.
func Flood(t testing.TB, to string, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	for i := range n {
		wg.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, byte(i>>8), byte(i))}}
			for ctx.Err() == nil {
				c, err := d.DialContext(ctx, "tcp", to)
				if err != nil {
					continue
				}
				stop := context.AfterFunc(ctx, func() { c.Close() })
				c.Read(make([]byte, 1)) // until it is thrown out
				stop()
				c.Close()
			}
		})
	}
}
