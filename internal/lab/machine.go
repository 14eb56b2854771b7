package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// VM describes an emulated Pi. Only Image is required.
type VM struct {
	// Image is the card, a raw image. The machine writes to it; see Card.
	Image  string
	Memory int // MiB; 0 is 1024
	CPUs   int // 0 is 2
	// Append is put in front of the kernel's arguments.
	Append string
	// Ports of the guest that can be reached through Addr, besides 22 and 7390.
	Ports []int
	// Online lets the guest reach the world through this machine. Otherwise it
	// gets an address by DHCP and can connect to nothing.
	Online bool
	// Tap is a device that the cable leads to, in place of a network of the machine's
	// own: nothing is Online then, and no port can be reached through Addr. Where it is
	// in another network namespace, Inside starts a program there, see netns.Switch.
	Tap    string
	Inside func(argv ...string) ([]string, error)
	// Unplugged takes the cable out: no carrier, until PlugIn.
	Unplugged bool
	// NoClock starts the guest in 1970, like a Pi, which has no clock of its own.
	// Otherwise it knows the time.
	NoClock bool
}

// Machine is an emulated Pi. Its methods may be called by one goroutine.
type Machine struct {
	t        testing.TB
	vm       VM
	dir      string
	forwards map[int]int // guest port → port on loopback
	console  *console
	ctx      context.Context

	mu      sync.Mutex
	running *qemu // nil when off
	reboots int
	err     error // of a restart
	wait    sync.WaitGroup
}

// Boot powers on a machine. It is killed when the test ends; if that fails, the
// end of the console is logged. The whole of it is in console.log in the test's
// artifact directory, which `go test -artifacts` keeps.
//
// At each power-on, also after the guest has rebooted, kernel, initramfs and
// command line are read from the card's FAT, as a Pi's firmware does.
func Boot(t testing.TB, vm VM) *Machine {
	t.Helper()
	if vm.Memory == 0 {
		vm.Memory = 1024
	}
	if vm.CPUs == 0 {
		vm.CPUs = 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &Machine{
		t: t, vm: vm, dir: t.TempDir(), ctx: ctx, forwards: map[int]int{},
		console: &console{path: filepath.Join(t.ArtifactDir(), "console.log")},
	}
	for _, guest := range append([]int{22, 7390}, vm.Ports...) {
		host, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		m.forwards[guest] = host
	}
	t.Cleanup(func() {
		cancel()
		m.wait.Wait()
		if t.Failed() {
			t.Logf("console (%s) ends:\n%s", m.console.path, m.console.tail(60))
		}
	})
	m.PowerOn()
	return m
}

// PowerOn switches a machine on that is off.
func (m *Machine) PowerOn() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running != nil {
		m.t.Fatal("power on: the machine is on")
	}
	if err := m.start(); err != nil {
		m.t.Fatal(err)
	}
}

// start reads the FAT and starts the emulator; m.mu is held.
func (m *Machine) start() error {
	boot, err := readBoot(m.ctx, m.vm.Image, m.dir)
	if err != nil {
		return err
	}
	q, err := startQEMU(m.ctx, m.vm, boot, m.console.path, maps.Clone(m.forwards))
	if err != nil {
		return err
	}
	m.running = q
	if m.vm.Unplugged {
		if err := q.command("set_link", map[string]any{"name": "net", "up": false}); err != nil {
			return err
		}
	}
	m.wait.Go(func() { m.supervise(q) })
	return nil
}

// supervise waits for the end of a run and starts the next if the guest rebooted.
func (m *Machine) supervise(q *qemu) {
	<-q.done
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = nil
	switch reason := q.stopReason(); {
	case reason == "guest-reset" && m.ctx.Err() == nil:
		m.reboots++
		m.err = m.start()
	case reason == "" && q.stderr.Len() > 0:
		m.err = fmt.Errorf("run emulator: %w: %s", q.err, q.stderr)
	}
}

// Reboots counts how often the guest has rebooted by itself.
func (m *Machine) Reboots() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reboots
}

// On reports whether the machine is on.
func (m *Machine) On() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running != nil
}

// PowerCut takes the power away: what the guest has not written to its disk is
// lost. It returns when the machine is off.
func (m *Machine) PowerCut() {
	m.t.Helper()
	m.mu.Lock()
	q := m.running
	m.mu.Unlock()
	if q == nil {
		m.t.Fatal("cut power: the machine is off")
	}
	q.kill()
	m.awaitOff(10 * time.Second)
}

// PlugIn puts the cable in.
func (m *Machine) PlugIn() {
	m.t.Helper()
	m.tell("set_link", map[string]any{"name": "net", "up": true})
}

// SlowDown bounds the writes to the card, a second, to so many and to 64 KiB for each,
// so that what takes no time in an emulator can be met in the middle. Zero lifts the
// bound, as does a reboot.
func (m *Machine) SlowDown(writes int) {
	m.t.Helper()
	m.tell("block_set_io_throttle", map[string]any{
		"device": "card", "bps": 0, "bps_rd": 0, "bps_wr": writes << 16, "iops": 0, "iops_rd": 0, "iops_wr": writes})
}

func (m *Machine) tell(command string, arguments map[string]any) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running == nil {
		m.t.Fatalf("%s: the machine is off", command)
	}
	if err := m.running.command(command, arguments); err != nil {
		m.t.Fatal(err)
	}
}

// PowerOff presses the power button and waits until the guest has shut down.
func (m *Machine) PowerOff(timeout time.Duration) {
	m.t.Helper()
	m.mu.Lock()
	q := m.running
	m.mu.Unlock()
	if q == nil {
		m.t.Fatal("power off: the machine is off")
	}
	if err := q.command("system_powerdown", map[string]any{}); err != nil {
		m.t.Fatal(err)
	}
	m.awaitOff(timeout)
}

// awaitOff waits until the guest has shut down by itself.
func (m *Machine) awaitOff(timeout time.Duration) {
	m.t.Helper()
	for end := time.Now().Add(timeout); m.On(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("wait for power off: the machine is on after %s", timeout)
		}
	}
}

// Expect waits until the console shows something that the pattern, a regular
// expression, matches behind what Expect matched before. It returns the match and
// its groups. A kernel panic or the initramfs' emergency shell, an emulator that
// ends or the timeout fail the test.
func (m *Machine) Expect(pattern string, timeout time.Duration) []string {
	m.t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(timeout); ; time.Sleep(100 * time.Millisecond) {
		// Before the console, so that its last words count.
		state := m.state()
		match, err := m.console.find(re)
		switch {
		case err != nil:
			m.t.Fatal(err)
		case match != nil:
			return match
		case state != nil:
			m.t.Fatalf("wait for %q on the console: %v", pattern, state)
		case m.console.stuck():
			m.t.Fatalf("wait for %q on the console: the boot is stuck", pattern)
		case time.Now().After(end):
			m.t.Fatalf("wait for %q on the console: not seen within %s", pattern, timeout)
		}
	}
}

// state is an error if the machine is off.
func (m *Machine) state() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if m.running == nil {
		return errors.New("the machine is off")
	}
	return nil
}

// ConsoleLog is the path of what the console has shown since the first power-on.
func (m *Machine) ConsoleLog() string { return m.console.path }

// Addr is where a port of the guest can be reached on this machine. The emulator
// accepts connections there even while nothing listens in the guest.
func (m *Machine) Addr(guest int) string {
	m.t.Helper()
	host, ok := m.forwards[guest]
	if !ok {
		m.t.Fatalf("find port %d of the guest: it is not forwarded", guest)
	}
	return fmt.Sprintf("127.0.0.1:%d", host)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
