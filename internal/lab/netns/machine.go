package netns

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"picluster/internal/host"
)

// Machine is the namespaces of a first process, as a host.Host. It is off until On.
type Machine struct {
	Name string

	mu  sync.Mutex
	pid int
}

var _ host.Host = (*Machine)(nil)

// On says which process is the machine's first one.
func (m *Machine) On(pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pid = pid
}

// Off forgets the first process, and returns its id: 0 if there was none.
func (m *Machine) Off() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	pid := m.pid
	m.pid = 0
	return pid
}

// PID is the process id of the machine's PID 1 among ours; 0 while it is off.
func (m *Machine) PID() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pid
}

// String implements host.Host.
func (m *Machine) String() string { return m.Name }

// Run implements host.Host.
func (m *Machine) Run(ctx context.Context, c host.Cmd) ([]byte, error) {
	pid := m.PID()
	if pid == 0 {
		return nil, fmt.Errorf("run %s on %s: it is off", c, m)
	}
	if len(c.Args) == 0 || strings.HasPrefix(c.Args[0], "-") {
		return host.Local{}.Run(ctx, c) // which says what is wrong with it
	}
	inside := []string{"nsenter", "--target", fmt.Sprint(pid), "--mount", "--uts", "--net", "--ipc", "--pid", "--cgroup", "--"}
	out, err := host.Local{}.Run(ctx, host.Cmd{Args: append(inside, c.Args...), Stdin: c.Stdin, Env: c.Env})
	var exit *host.ExitError
	if errors.As(err, &exit) {
		exit.Args = c.Args
	}
	return out, err
}

// files is the machine's file system; of one that is off, the disk is all there is,
// and nothing of it is at its place.
func (m *Machine) files() (host.Host, error) {
	pid := m.PID()
	if pid == 0 {
		return nil, fmt.Errorf("look at files of %s: it is off", m)
	}
	return host.Local{Root: fmt.Sprintf("/proc/%d/root", pid)}, nil
}

// Stat implements host.Host.
func (m *Machine) Stat(ctx context.Context, path string) (host.Info, error) {
	h, err := m.files()
	if err != nil {
		return host.Info{}, err
	}
	return h.Stat(ctx, path)
}

// ReadFile implements host.Host.
func (m *Machine) ReadFile(ctx context.Context, path string) ([]byte, error) {
	h, err := m.files()
	if err != nil {
		return nil, err
	}
	return h.ReadFile(ctx, path)
}

// ReadDir implements host.Host.
func (m *Machine) ReadDir(ctx context.Context, path string) ([]string, error) {
	h, err := m.files()
	if err != nil {
		return nil, err
	}
	return h.ReadDir(ctx, path)
}

// Write implements host.Host.
func (m *Machine) Write(ctx context.Context, path string, f host.File) error {
	h, err := m.files()
	if err != nil {
		return err
	}
	return h.Write(ctx, path, f)
}

// Remove implements host.Host.
func (m *Machine) Remove(ctx context.Context, path string) error {
	h, err := m.files()
	if err != nil {
		return err
	}
	return h.Remove(ctx, path)
}
