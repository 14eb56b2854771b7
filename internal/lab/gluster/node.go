package gluster

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"picluster/internal/host"
	"picluster/internal/lab/netns"
)

// Node is a machine of the cluster. What it has to itself, and keeps when it loses its
// power, are /var/lib, /srv, /tmp, glusterd's configuration and its logs; all else of
// its file system is the test's own machine's, and to be left alone. A program that is interrupted gets no time to tidy up.
type Node struct {
	netns.Machine
	Address string // also known to all nodes by Name

	cluster *Cluster
	disk    string    // the directory that outlives the node
	port    string    // its side of the cable, on the switch
	unshare *exec.Cmd // nil: off
}

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
	n.unshare = cmd
	netns.Await(n.cluster.t, n.Name, func() error {
		pid, err := netns.Child(cmd.Process.Pid)
		n.On(pid)
		return err
	})
	n.plugIn()
}

func (n *Node) console() string { return filepath.Join(n.disk, "console.log") }

func (n *Node) awaitReady() {
	n.cluster.t.Helper()
	netns.Await(n.cluster.t, n.Name, func() error {
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
	netns.Await(n.cluster.t, "glusterd on "+n.Name, func() error {
		_, err := n.Run(context.Background(), host.Cmd{Args: []string{"gluster", "--mode=script", "pool", "list"}})
		return err
	})
}

// awaitCable keeps the rest of init.sh until the network is there, as on a machine
// that is switched on with its cable in.
const awaitCable = `until ip link show eth0 >/dev/null 2>&1; do sleep 0.05; done
`

// plugIn makes the cable. It goes with the node's network.
func (n *Node) plugIn() {
	n.cluster.t.Helper()
	n.cluster.lan.PlugIn(n.port, n.PID(), "cable")
	for _, args := range [][]string{
		{"ip", "address", "add", n.Address + "/24", "dev", "cable"},
		{"ip", "link", "set", "cable", "name", "eth0", "up"},
	} {
		if _, err := n.Run(context.Background(), host.Cmd{Args: args}); err != nil {
			n.cluster.t.Fatal(err)
		}
	}
}

// PowerOff ends everything on the node at once. Nothing happens if it is off.
func (n *Node) PowerOff() {
	pid := n.Off()
	if pid == 0 {
		return
	}
	syscall.Kill(pid, syscall.SIGKILL)
	n.unshare.Wait()
	n.cluster.lan.Take(n.port)
}

// Unplug takes the cable out: packets are lost, connections stay open.
func (n *Node) Unplug() { n.cluster.lan.Port(n.port, false) }

// Plug puts it back in.
func (n *Node) Plug() { n.cluster.lan.Port(n.port, true) }
