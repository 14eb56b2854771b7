package netns

import (
	"context"
	"errors"
	"fmt"
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

// inside is the machine as its first process sees it.
func (m *Machine) inside() (host.Entered, error) {
	pid := m.PID()
	if pid == 0 {
		return host.Entered{}, errors.New("it is off")
	}
	return host.Entered{Name: m.Name, PID: pid, Namespaces: []string{"mount", "uts", "net", "ipc", "pid", "cgroup"}}, nil
}

// Run implements host.Host.
func (m *Machine) Run(ctx context.Context, c host.Cmd) ([]byte, error) {
	h, err := m.inside()
	if err != nil {
		return nil, fmt.Errorf("run %s on %s: %w", c, m, err)
	}
	return h.Run(ctx, c)
}

// files are the machine's; of one that is off, the disk is all there is, and nothing
// of it is at its place.
func (m *Machine) files() (host.Host, error) {
	h, err := m.inside()
	if err != nil {
		return nil, fmt.Errorf("look at files of %s: %w", m, err)
	}
	return h, nil
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
