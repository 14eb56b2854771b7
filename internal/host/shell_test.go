package host_test

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"testing"

	"picluster/internal/host"
	"picluster/internal/host/hosttest"
)

// here starts programs on this machine the way that containers have them started: in a
// session of their own, and with nobody to end them.
func here(_ context.Context, s host.Streams) (int, error) {
	cmd := exec.Command(s.Args[0], s.Args[1:]...)
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.Stdin != nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			return 0, err
		}
		go func() { // which nobody waits for: a program need not care for its input
			io.Copy(in, s.Stdin)
			in.Close()
		}()
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status := exit.Sys().(syscall.WaitStatus)
		if status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

func TestShell_conforms(t *testing.T) {
	t.Parallel()
	hosttest.Conform(t, func(*testing.T) host.Host { return host.Shell{Name: "shell", Start: here} })
}

func TestShell_saysThatTheWayIsBroken(t *testing.T) {
	h := host.Shell{Name: "node1", Start: func(context.Context, host.Streams) (int, error) { return 0, errors.New("connection refused") }}
	if _, err := h.Run(t.Context(), host.Cmd{Args: []string{"true"}}); err == nil || err.Error() != "run true on node1: connection refused" {
		t.Errorf("got %v", err)
	}
}
