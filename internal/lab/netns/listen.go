package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Listen listens in the switch's network, for a server of the test's own process: who
// is plugged in reaches it, and nobody else. The listener ends with the test.
func (s *Switch) Listen(address string) net.Listener {
	s.t.Helper()
	type result struct {
		net.Listener
		error
	}
	got := make(chan result)
	go func() {
		l, err := s.listen(address)
		got <- result{l, err}
	}()
	r := <-got
	if r.error != nil {
		s.t.Fatal(r.error)
	}
	s.t.Cleanup(func() { r.Close() })
	return r.Listener
}

// listen runs on a goroutine of its own: a network belongs to a thread. The thread goes
// back, because the programs that were started by it end with it (Pdeathsig). One that
// does not come back is lost.
func (s *Switch) listen(address string) (l net.Listener, err error) {
	networks := make([]*os.File, 2)
	for i, path := range []string{fmt.Sprintf("/proc/%d/ns/net", s.PID()), "/proc/self/ns/net"} {
		if networks[i], err = os.Open(path); err != nil {
			return nil, fmt.Errorf("listen on the switch: %w", err)
		}
		defer networks[i].Close()
	}
	runtime.LockOSThread()
	if err := unix.Setns(int(networks[0].Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("listen on the switch: %w", err)
	}
	l, err = net.Listen("tcp", address)
	if backErr := unix.Setns(int(networks[1].Fd()), unix.CLONE_NEWNET); backErr != nil {
		return l, errors.Join(err, fmt.Errorf("leave the switch: %w", backErr))
	}
	runtime.UnlockOSThread()
	return l, err
}
