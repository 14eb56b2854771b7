package nodes

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"picluster/internal/host"
	"picluster/internal/lab/netns"
)

// Node is a Pi. Everything but /run and /tmp outlives its power.
type Node struct {
	netns.Machine

	lan    *LAN
	dir    string    // of its disk
	number int       // of its port on the switch
	disk   string    // MAJOR:MINOR of its root file system while it is on
	nspawn *exec.Cmd // nil: off
}

//go:embed boot.sh
var bootScript string

// onDisk are directories that lie beside the overlay: containerd lays overlays over
// one, and etcd and the kubelet look at what they are on.
var onDisk = []string{"/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd"}

func (n *Node) volumes() (names []string) {
	for _, dir := range onDisk {
		names = append(names, "disk"+dir)
	}
	return names
}

// Dir is where the node's disk is kept: its own files are below upper and disk.
func (n *Node) Dir() string { return n.dir }

// Install puts a file on the disk of a node that is off.
func (n *Node) Install(path string, f host.File) {
	n.lan.t.Helper()
	if err := (host.Local{Root: filepath.Join(n.dir, "upper")}).Write(context.Background(), path, f); err != nil {
		n.lan.t.Fatal(err)
	}
}

// Insert puts a card's boot partition, with its files in a directory, into a node that
// is off. What of it is for the kernel is done when the node is switched on.
func (n *Node) Insert(card string) {
	n.lan.t.Helper()
	boot := filepath.Join(n.dir, "upper/boot/firmware")
	if err := os.MkdirAll(boot, 0o755); err != nil {
		n.lan.t.Fatal(err)
	}
	err := os.CopyFS(boot, os.DirFS(card))
	if err == nil { // on a FAT all files can be run
		err = filepath.WalkDir(boot, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chmod(path, 0o755))
		})
	}
	if err != nil {
		n.lan.t.Fatal(err)
	}
}

// PowerOn switches the node on, with its cable in. It returns before the node is up.
// Nothing happens if it is on.
func (n *Node) PowerOn() {
	t := n.lan.t
	t.Helper()
	if n.nspawn != nil {
		return
	}
	console, err := os.OpenFile(n.Console(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	cmd := n.command()
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.nspawn = cmd
	netns.Await(t, n.Name, func() error {
		pid, err := n.first()
		if err == nil {
			err = isSystemd(pid)
		}
		if err == nil {
			n.On(pid)
		}
		if err != nil {
			err = fmt.Errorf("%w: %s", err, n.consoleTail())
		}
		return err
	})
	var root unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/root", n.PID()), &root); err != nil {
		t.Fatal(err)
	}
	n.disk = fmt.Sprintf("%d:%d", unix.Major(root.Dev), unix.Minor(root.Dev))
	n.lan.PlugIn(n.port(), n.PID(), "eth0")
}

// command starts the node in processes of its own, so that nothing of it is left behind
// if the test is killed: what nspawn starts does not end with nspawn.
func (n *Node) command() *exec.Cmd {
	args := []string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "slave",
		"sh", "-c", bootScript, "boot.sh", n.Name, n.dir, filepath.Join(n.lan.root, "root"), n.cgroup()}
	if n.lan.Shelf != "" {
		args = append(args, "--bind-ro="+n.lan.Shelf+":/media")
	}
	for i, dir := range onDisk {
		args = append(args, "--bind="+filepath.Join(n.dir, n.volumes()[i])+":"+dir)
	}
	return exec.Command("unshare", args...)
}

// first is the process id of the node's PID 1, the only child of nspawn, which is
// unshare's.
func (n *Node) first() (int, error) {
	nspawn, err := netns.Child(n.nspawn.Process.Pid)
	if err != nil {
		return 0, err
	}
	return netns.Child(nspawn)
}

// isSystemd reports whether nspawn has mounted all, and given way to PID 1.
func isSystemd(pid int) error {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err == nil && string(comm) != "systemd\n" {
		err = fmt.Errorf("it is %s yet", strings.TrimSpace(string(comm)))
	}
	return err
}

func (n *Node) port() string { return fmt.Sprintf("port%d", n.number) }

// cgroup is a name that no other test's nodes have.
func (n *Node) cgroup() string { return fmt.Sprintf("picluster-%d-%s", os.Getpid(), n.Name) }

// Console is the path of what the node has shown on its console.
func (n *Node) Console() string { return filepath.Join(n.dir, "console.log") }

func (n *Node) consoleTail() []byte {
	console, _ := os.ReadFile(n.Console())
	return console[max(0, len(console)-3000):]
}

// AwaitUp waits until systemd has started all that it starts at boot.
func (n *Node) AwaitUp() {
	n.lan.t.Helper()
	netns.Await(n.lan.t, n.Name, func() error {
		out, err := n.Machine.Run(context.Background(), host.Cmd{Args: []string{"systemctl", "is-system-running"}})
		state := strings.TrimSpace(string(out))
		if state == "running" || state == "degraded" {
			return nil
		}
		return fmt.Errorf("it is %s: %w\n%s", state, err, n.consoleTail())
	})
}

// PowerCut ends everything on the node at once. What it wrote is kept, synced or not.
// Nothing happens if it is off.
func (n *Node) PowerCut() {
	n.lan.t.Helper()
	if n.nspawn == nil {
		return
	}
	n.Off()
	if pid, err := n.first(); err == nil { // also of one that never got up
		syscall.Kill(pid, syscall.SIGKILL)
	}
	n.ended(30 * time.Second)
}

// PowerOff shuts the node down.
func (n *Node) PowerOff() {
	n.lan.t.Helper()
	if n.nspawn == nil {
		return
	}
	const powerOff = 34 + 4 // SIGRTMIN+4, see systemd(1)
	syscall.Kill(n.Off(), powerOff)
	n.ended(netns.AwaitTime)
}

// ended waits for the end of nspawn and removes what the kernel has left of the node.
func (n *Node) ended(limit time.Duration) {
	kill := time.AfterFunc(limit, func() { n.nspawn.Process.Kill() })
	n.nspawn.Wait()
	kill.Stop()
	n.nspawn = nil
	n.lan.Take(n.port())
	netns.Await(n.lan.t, "the end of "+n.Name, n.removeCgroups)
	n.detachLoops()
}

// detachLoops takes away the loop devices of files on the node's disk, for they are the
// whole machine's and outlive it. Their paths are the node's own, so the file system
// tells which they are.
func (n *Node) detachLoops() {
	local := host.Local{}
	out, err := local.Run(context.Background(), host.Cmd{Args: []string{"losetup", "--list", "--noheadings", "--output", "NAME,BACK-MAJ:MIN"}})
	if err != nil {
		n.lan.t.Error(err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == n.disk {
			if _, err := local.Run(context.Background(), host.Cmd{Args: []string{"losetup", "--detach", f[0]}}); err != nil {
				n.lan.t.Error(err)
			}
		}
	}
}

func (n *Node) removeCgroups() error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + n.cgroup())
	if err != nil {
		return err
	}
	if err := thaw("/sys/fs/cgroup/freezer/" + n.cgroup()); err != nil {
		return err
	}
	for _, root := range roots {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, dir := range slices.Backward(dirs) {
			if err := os.Remove(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// thaw lets processes die that runc had frozen, as it does for a moment whenever it
// changes a container's limits: in cgroup v1 not even SIGKILL ends them before.
func thaw(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "freezer.state" {
			err = os.WriteFile(path, []byte("THAWED"), 0)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// Unplug takes the cable out: packets are lost, connections stay open.
func (n *Node) Unplug() { n.lan.Port(n.port(), false) }

// Plug puts it back in.
func (n *Node) Plug() { n.lan.Port(n.port(), true) }
