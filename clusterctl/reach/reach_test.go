package reach

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
)

// listen is a machine at one of the addresses of the loopback network.
func listen(t *testing.T, address string) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func TestFinder_takesTheAddressThatAnswers(t *testing.T) {
	port := listen(t, "127.0.0.2:0")
	var asked atomic.Int32
	f := &Finder{
		Fixed: map[string][]netip.Addr{"pi-node0": {netip.MustParseAddr("127.0.0.3")}}, // refuses
		Lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
			if asked.Add(1); name != "pi-node0.local" {
				t.Errorf("it asks for %s", name)
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.4"), netip.MustParseAddr("127.0.0.2")}, nil
		},
	}
	for range 3 {
		if at, err := f.Find(t.Context(), "pi-node0", port); err != nil || at != "127.0.0.2:"+port {
			t.Errorf("found %q, %v", at, err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the network was asked %d times", asked.Load())
	}
}

// After a reboot a router may give another address.
func TestFinder_looksAgainWhereAnAddressIsGone(t *testing.T) {
	port := listen(t, "127.0.0.2:0")
	address := "127.0.0.2"
	f := &Finder{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr(address)}, nil
	}}
	if _, err := f.Find(t.Context(), "pi-node0", port); err != nil {
		t.Fatal(err)
	}
	address = "127.0.0.5"
	port = listen(t, "127.0.0.5:0")
	if _, err := f.Find(t.Context(), "pi-node0", port); err == nil {
		t.Error("what was not forgotten is looked for again")
	}
	f.Forget("pi-node0")
	if at, err := f.Find(t.Context(), "pi-node0", port); err != nil || at != "127.0.0.5:"+port {
		t.Errorf("found %q, %v", at, err)
	}
}

// What a person has named is used for that port, and nothing else is tried.
func TestFinder_takesAPersonAtTheirWord(t *testing.T) {
	port := listen(t, "127.0.0.2:0")
	f := &Finder{At: map[string]string{"pi-node0": "127.0.0.2", "pi-node0:7": "127.0.0.2:" + port, "pi-node1": "127.0.0.9:1"},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			t.Error("the network is asked")
			return nil, errors.New("no")
		}}
	for _, p := range []string{port, "7"} {
		if at, err := f.Find(t.Context(), "pi-node0", p); err != nil || at != "127.0.0.2:"+port {
			t.Errorf("port %s: found %q, %v", p, at, err)
		}
	}
	if _, err := f.Find(t.Context(), "pi-node1", port); err == nil {
		t.Error("it was found elsewhere")
	}
}

func TestAnswers_areOnlyThoseOfTheName(t *testing.T) {
	question, err := mdnsQuestion("pi-node0.local")
	if err != nil {
		t.Fatal(err)
	}
	// A header that says response, one answer (RFC 1035, section 4.1): the question's
	// name, type A, class IN, 120 s, 192.168.1.20.
	answer := append([]byte{0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0}, question[12:len(question)-4]...)
	answer = append(answer, 0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4, 192, 168, 1, 20)
	for name, want := range map[string]int{"pi-node0.local": 1, "PI-NODE0.local.": 1, "pi-node1.local": 0} {
		if got := mdnsAnswers(answer, name); len(got) != want {
			t.Errorf("for %s it has %v", name, got)
		}
	}
	for n := range answer {
		mdnsAnswers(answer[:n], "pi-node0.local") // whatever is cut off, it does not fall over
	}
	if got := mdnsAnswers(question, "pi-node0.local"); len(got) > 0 {
		t.Errorf("a question has %v", got)
	}
}
