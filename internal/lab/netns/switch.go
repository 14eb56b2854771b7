package netns

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"

	"picluster/internal/lab/tool"
)

// Switch is an Ethernet switch: a bridge in a network of its own, so that nothing of
// it is to be seen in the test's. It ends with the test.
type Switch struct {
	t   testing.TB
	cmd *exec.Cmd
}

// NewSwitch starts a switch without cables.
func NewSwitch(t testing.TB) *Switch {
	t.Helper()
	for _, name := range []string{"ip", "nsenter", "unshare"} {
		if _, err := tool.Path(name); err != nil {
			t.Fatal(err)
		}
	}
	s := &Switch{t: t, cmd: exec.Command("unshare", "--net", "--kill-child", "--fork", "sleep", "infinity")}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	})
	// unshare itself is in the new network before its child is there.
	Await(t, "the switch", func() error { return s.Run("ip", "link", "add", "br0", "type", "bridge") })
	for _, device := range []string{"lo", "br0"} {
		if err := s.Run("ip", "link", "set", device, "up"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// Run runs a program of this machine in the switch's network.
func (s *Switch) Run(args ...string) error {
	inside, err := s.Inside(args...)
	if err != nil {
		return err
	}
	return tool.Run(context.Background(), inside...)
}

// Inside is the command that runs another one in the switch's network.
func (s *Switch) Inside(args ...string) ([]string, error) {
	if !OwnNetwork(s.PID()) {
		return nil, errors.New("enter the switch: it is not there")
	}
	return append([]string{"nsenter", "--target", fmt.Sprint(s.PID()), "--net", "--"}, args...), nil
}

// PID is a process of this machine that is in the switch's network.
func (s *Switch) PID() int { return s.cmd.Process.Pid }

// PlugIn makes a cable from a port of the switch to the network of a process, where
// its end is named device. The cable goes with that network.
func (s *Switch) PlugIn(port string, pid int, device string) {
	s.t.Helper()
	Await(s.t, "cable at "+port, func() error {
		return s.Run("ip", "link", "add", port, "type", "veth", "peer", "name", device, "netns", fmt.Sprint(pid))
	})
	if err := s.Run("ip", "link", "set", port, "master", "br0", "up"); err != nil {
		s.t.Fatal(err)
	}
}

// Take takes a cable away for good. The kernel does it too, but only when it gets
// round to the network at its other end; until then the port is taken.
func (s *Switch) Take(port string) { s.Run("ip", "link", "delete", port) }

// Switch a port on or off. While it is off packets are lost, and connections stay open.
func (s *Switch) Port(port string, on bool) {
	s.t.Helper()
	state := map[bool]string{true: "up", false: "down"}[on]
	if err := s.Run("ip", "link", "set", port, state); err != nil {
		s.t.Fatal(err)
	}
}
