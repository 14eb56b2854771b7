package gluster

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"picluster/internal/host"
	"picluster/internal/lab/tool"
)

// Node is a machine of the cluster. What it has to itself, and keeps when it loses its
// power, are /var/lib, /srv, /tmp, glusterd's configuration and its logs; all else of
// its file system is the test's own machine's, and to be left alone. A program that is interrupted gets no time to tidy up.
type Node struct {
	Name    string
	Address string // also known to all nodes by Name

	cluster *Cluster
	disk    string // the directory that outlives the node
	port    string // its side of the cable, on the switch

	mu      sync.Mutex
	unshare *exec.Cmd
	pid     int // of its PID 1; 0: off
}

var _ host.Host = (*Node)(nil)

//go:embed init.sh
var initScript string

// PowerOn boots the node, and returns when glusterd answers. Nothing happens if it
// is on.
func (n *Node) PowerOn() {
	n.cluster.t.Helper()
	n.start()
	n.awaitReady()
}

func (n *Node) isClient() bool { return n == n.cluster.Client }

func (n *Node) start() {
	n.cluster.t.Helper()
	if n.PID() != 0 {
		return
	}
	role := "node"
	if n.isClient() {
		role = "client"
	}
	console, err := os.OpenFile(n.console(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.cluster.t.Fatal(err)
	}
	defer console.Close()
	cmd := exec.Command("unshare", "--mount", "--uts", "--net", "--ipc", "--pid", "--fork", "--kill-child", "--propagation", "private",
		"sh", "-c", "hostname "+n.Name+"; "+awaitCable+initScript, "init", n.disk, role)
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Start(); err != nil {
		n.cluster.t.Fatal(err)
	}
	n.cluster.await(n.Name, func() error {
		pid, err := child(cmd.Process.Pid)
		if err == nil {
			n.mu.Lock()
			n.unshare, n.pid = cmd, pid
			n.mu.Unlock()
		}
		return err
	})
	n.plugIn()
}

func (n *Node) console() string { return filepath.Join(n.disk, "console.log") }

func (n *Node) awaitReady() {
	n.cluster.t.Helper()
	n.cluster.await(n.Name, func() error {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/root/run/ready", n.PID()))
		if _, gone := os.Stat(fmt.Sprintf("/proc/%d/root/.", n.PID())); gone != nil {
			console, _ := os.ReadFile(n.console())
			n.cluster.t.Fatalf("boot %s: it has gone: %s", n.Name, console)
		}
		return err
	})
	if n.isClient() {
		return
	}
	n.cluster.await("glusterd on "+n.Name, func() error {
		_, err := n.Run(context.Background(), host.Cmd{Args: []string{"gluster", "--mode=script", "pool", "list"}})
		return err
	})
}

// awaitCable keeps the rest of init.sh until the network is there, as on a machine
// that is switched on with its cable in.
const awaitCable = `until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
`

// child is the first child of a process.
func child(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	words := strings.Fields(string(data))
	if len(words) == 0 {
		return 0, errors.New("it has not started yet")
	}
	return strconv.Atoi(words[0])
}

// plugIn makes the cable. It goes with the node's network.
func (n *Node) plugIn() {
	n.cluster.t.Helper()
	pid := fmt.Sprint(n.PID())
	n.cluster.await("cable of "+n.Name, func() error {
		return n.cluster.onSwitch("ip", "link", "add", n.port, "type", "veth", "peer", "name", "cable", "netns", pid)
	})
	for _, args := range [][]string{
		{"ip", "address", "add", n.Address + "/24", "dev", "cable"},
		{"ip", "link", "set", "cable", "name", "eth0", "up"},
	} {
		if err := tool.Run(context.Background(), append([]string{"nsenter", "--target", pid, "--net"}, args...)...); err != nil {
			n.cluster.t.Fatal(err)
		}
	}
	if err := n.cluster.onSwitch("ip", "link", "set", n.port, "master", "br0", "up"); err != nil {
		n.cluster.t.Fatal(err)
	}
}

// PowerOff ends everything on the node at once. Nothing happens if it is off.
func (n *Node) PowerOff() {
	n.mu.Lock()
	cmd, pid := n.unshare, n.pid
	n.unshare, n.pid = nil, 0
	n.mu.Unlock()
	if cmd == nil {
		return
	}
	syscall.Kill(pid, syscall.SIGKILL)
	cmd.Wait()
	// The cable goes when the kernel gets round to the network; a node that boots
	// before would find the port taken.
	n.cluster.onSwitch("ip", "link", "delete", n.port)
}

// Unplug takes the cable out: packets are lost, connections stay open.
func (n *Node) Unplug() { n.cable("down") }

// Plug puts it back in.
func (n *Node) Plug() { n.cable("up") }

func (n *Node) cable(state string) {
	n.cluster.t.Helper()
	if err := n.cluster.onSwitch("ip", "link", "set", n.port, state); err != nil {
		n.cluster.t.Fatal(err)
	}
}

// PID is the process id of the node's PID 1 among ours; 0 while it is off.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pid
}

// String implements host.Host.
func (n *Node) String() string { return n.Name }

// Run implements host.Host.
func (n *Node) Run(ctx context.Context, c host.Cmd) ([]byte, error) {
	pid := n.PID()
	if pid == 0 {
		return nil, fmt.Errorf("run %s on %s: it is off", c, n)
	}
	if len(c.Args) == 0 || strings.HasPrefix(c.Args[0], "-") {
		return host.Local{}.Run(ctx, c) // which says what is wrong with it
	}
	inside := []string{"nsenter", "--target", fmt.Sprint(pid), "--mount", "--uts", "--net", "--ipc", "--pid", "--"}
	out, err := host.Local{}.Run(ctx, host.Cmd{Args: append(inside, c.Args...), Stdin: c.Stdin, Env: c.Env})
	var exit *host.ExitError
	if errors.As(err, &exit) {
		exit.Args = c.Args
	}
	return out, err
}

// files is the node's file system; of one that is off, the disk is all there is, and
// nothing of it is at its place.
func (n *Node) files() (host.Host, error) {
	pid := n.PID()
	if pid == 0 {
		return nil, fmt.Errorf("look at files of %s: it is off", n)
	}
	return host.Local{Root: fmt.Sprintf("/proc/%d/root", pid)}, nil
}

// Stat implements host.Host.
func (n *Node) Stat(ctx context.Context, path string) (host.Info, error) {
	h, err := n.files()
	if err != nil {
		return host.Info{}, err
	}
	return h.Stat(ctx, path)
}

// ReadFile implements host.Host.
func (n *Node) ReadFile(ctx context.Context, path string) ([]byte, error) {
	h, err := n.files()
	if err != nil {
		return nil, err
	}
	return h.ReadFile(ctx, path)
}

// ReadDir implements host.Host.
func (n *Node) ReadDir(ctx context.Context, path string) ([]string, error) {
	h, err := n.files()
	if err != nil {
		return nil, err
	}
	return h.ReadDir(ctx, path)
}

// Write implements host.Host.
func (n *Node) Write(ctx context.Context, path string, f host.File) error {
	h, err := n.files()
	if err != nil {
		return err
	}
	return h.Write(ctx, path, f)
}

// Remove implements host.Host.
func (n *Node) Remove(ctx context.Context, path string) error {
	h, err := n.files()
	if err != nil {
		return err
	}
	return h.Remove(ctx, path)
}
