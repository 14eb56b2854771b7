package lab

import (
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"
)

// ServeTime answers questions for the time (SNTP, RFC 4330) on loopback until the
// test ends. An online guest finds it at GatewayAddr, on NTP's own port, which
// needs root.
func ServeTime(t testing.TB) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:123")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		for packet := make([]byte, 1024); ; {
			n, from, err := conn.ReadFrom(packet)
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err == nil && n >= 48:
				conn.WriteTo(timeAnswer(packet[:48], time.Now()), from)
			}
		}
	}()
}

// GatewayAddr is this machine, as an online guest sees it.
const GatewayAddr = "10.0.2.2"

// timeAnswer is a server's, of stratum 1. All of its time stamps are the same
// moment: on loopback the way takes none.
func timeAnswer(question []byte, now time.Time) []byte {
	answer := make([]byte, 48)
	answer[0] = question[0]&0x38 | 4 // the question's version, mode server
	answer[1], answer[2], answer[3] = 1, question[2], 0xec
	copy(answer[12:], "LOCL")
	copy(answer[24:32], question[40:48])
	// Seconds since 1900 (the epoch of 1970 is 2208988800 of them), and a fraction.
	stamp := uint64(now.Unix()+2208988800)<<32 | uint64(now.Nanosecond())<<32/1_000_000_000
	for _, at := range []int{16, 32, 40} {
		binary.BigEndian.PutUint64(answer[at:], stamp)
	}
	return answer
}
