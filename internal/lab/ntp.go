package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// ServeTime answers questions for the time (SNTP, RFC 4330) on loopback until the
// test ends. An online guest finds it at GatewayAddr, on NTP's own port, which
// needs root. A machine that has a time server already is as good.
func ServeTime(t testing.TB) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:123")
	if errors.Is(err, syscall.EADDRINUSE) {
		err = askTime()
		if err == nil {
			return
		}
	}
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

// askTime is an error if nobody tells the time on loopback.
func askTime() error {
	conn, err := net.DialTimeout("udp4", "127.0.0.1:123", time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	question := make([]byte, 48)
	question[0] = 4<<3 | 3 // version 4, mode client
	answer := make([]byte, 48)
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(question); err != nil {
		return err
	}
	if n, err := conn.Read(answer); err != nil || n < 48 || answer[0]&7 != 4 {
		return fmt.Errorf("ask for the time: %d bytes, %w", n, err)
	}
	return nil
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
