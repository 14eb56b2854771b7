package join

import (
	"crypto/tls"
	"net"
	"testing"
)

// serverWith is a server with any certificate. It answers nothing.
func (w *world) serverWith(t *testing.T, p pair) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{p.tls(t)}, ClientAuth: tls.RequireAnyClientCert})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				c.Read(make([]byte, 1))
			}(c)
		}
	}()
	return l.Addr().String()
}

// against lets a Pi meet a server with that certificate.
func (w *world) against(t *testing.T, p pair) error {
	t.Helper()
	victim := w.newPi("pi-node2", 2)
	victim.Address = w.serverWith(t, p)
	return victim.enrollOnce()
}
