package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"picluster/internal/lab/tool"
)

// qemu is one run of the emulator, from power-on to its end.
type qemu struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser // QMP commands
	stderr *bytes.Buffer
	done   chan struct{} // closed when the process has ended
	err    error         // of the process; read after done

	mu     sync.Mutex
	reason string // of the last QMP SHUTDOWN event: "guest-reset", "guest-shutdown" …
}

// startQEMU powers the machine on. The process ends with the context at the
// latest.
func startQEMU(ctx context.Context, vm VM, boot bootFiles, console string, forwards map[int]int) (*qemu, error) {
	path, err := tool.Path("qemu-system-aarch64")
	if err != nil {
		return nil, err
	}
	clock := "base=utc"
	if vm.NoClock {
		clock = "base=1970-01-01"
	}
	argv := []string{
		path,
		// cortex-a72 is the Pi 4's core; "max" computes pointer authentication in
		// full and takes three times as long under QEMU 7.2.
		"-M", "virt", "-cpu", "cortex-a72", "-smp", strconv.Itoa(vm.CPUs), "-m", strconv.Itoa(vm.Memory),
		"-accel", "tcg,thread=multi,tb-size=256",
		"-kernel", boot.kernel, "-initrd", boot.initramfs, "-append", emulated(boot.cmdline, strings.TrimSpace(patience+" "+vm.Append)),
		"-drive", "file=" + vm.Image + ",format=raw,if=none,id=card,cache=unsafe,discard=unmap", "-device", "virtio-blk-pci,drive=card",
		"-netdev", network(vm, forwards), "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci", "-rtc", clock,
		"-display", "none", "-monitor", "none", "-no-reboot", "-qmp", "stdio",
		"-chardev", "file,id=console,append=on,path=" + console, "-serial", "chardev:console",
	}
	if vm.Inside != nil {
		if argv, err = vm.Inside(argv...); err != nil {
			return nil, err
		}
	}
	q := &qemu{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), stderr: new(bytes.Buffer), done: make(chan struct{})}
	q.cmd.Stderr = q.stderr
	if q.stdin, err = q.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := q.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := q.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start emulator: %w", err)
	}
	// QMP executes nothing before this.
	if err := q.command("qmp_capabilities", map[string]any{}); err != nil {
		q.kill()
		return nil, err
	}
	go q.watch(stdout)
	return q, nil
}

// network is what the machine's cable leads to.
func network(vm VM, forwards map[int]int) string {
	if vm.Tap != "" {
		return "tap,id=net,script=no,downscript=no,ifname=" + vm.Tap
	}
	all := "user,id=net"
	if !vm.Online {
		all += ",restrict=on"
	}
	for guest, host := range forwards {
		all += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", host, guest)
	}
	return all
}

// watch notes why the machine stops and ends with the process.
func (q *qemu) watch(events io.Reader) {
	defer close(q.done)
	for lines := bufio.NewScanner(events); lines.Scan(); {
		var message struct {
			Event string
			Data  struct{ Reason string }
		}
		if json.Unmarshal(lines.Bytes(), &message) == nil && message.Event == "SHUTDOWN" {
			q.mu.Lock()
			q.reason = message.Data.Reason
			q.mu.Unlock()
		}
	}
	q.err = q.cmd.Wait()
}

// command sends a command of QMP; its answer is not waited for.
func (q *qemu) command(name string, arguments map[string]any) error {
	line, err := json.Marshal(map[string]any{"execute": name, "arguments": arguments})
	if err == nil {
		_, err = q.stdin.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("send %s to emulator: %w: %s", name, err, q.stderr)
	}
	return nil
}

// stopReason says why the machine has stopped, "" if the process was killed.
func (q *qemu) stopReason() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.reason
}

// kill ends the process as a power cut ends the machine.
func (q *qemu) kill() {
	// The process may have ended by itself.
	_ = q.cmd.Process.Signal(os.Kill)
}

// patience is for a machine on which others work too: udev alone may then need more
// than the minute and a half after which systemd gives a disk up, and boots into its
// emergency mode (systemd-system.conf(5), DefaultDeviceTimeoutSec).
const patience = "systemd.default_device_timeout_sec=600"
