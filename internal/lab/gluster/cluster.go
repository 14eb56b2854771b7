// Package gluster runs a real GlusterFS cluster for tests, without virtual machines:
// each node has its own network, mounts, processes and name, and the programs of the
// test's own machine. A node can lose its power and its cable.
//
// It needs root, and the Debian packages glusterfs-server, glusterfs-client and
// iproute2. Loop devices belong to the whole machine: those that are left on files
// of the cluster are detached when it ends.
package gluster

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"picluster/internal/lab/tool"
)

// Cluster is a number of nodes and a client on one switch. It ends with the test.
type Cluster struct {
	Nodes  []*Node
	Client *Node // has no glusterd

	t   testing.TB
	dir string
	// The switch is a network namespace with a bridge. Nothing of it is to be seen in
	// the test's own network.
	bridge *exec.Cmd
}

// bootTime is generous: the machine may be busy. Idle, a node is up in two seconds.
const bootTime = 2 * time.Minute

// Start starts a cluster of n nodes that do not know each other yet.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	for _, name := range []string{"glusterd", "mount.glusterfs", "ip", "nsenter", "unshare", "losetup"} {
		if _, err := tool.Path(name); err != nil {
			t.Fatal(err)
		}
	}
	c := &Cluster{t: t, dir: t.TempDir()}
	t.Cleanup(c.stop)
	c.bridge = exec.Command("unshare", "--net", "--kill-child", "--fork", "sleep", "infinity")
	if err := c.bridge.Start(); err != nil {
		t.Fatal(err)
	}
	// unshare itself is in the new network before its child is there.
	c.await("the switch", func() error { return c.onSwitch("ip", "link", "add", "br0", "type", "bridge") })
	if err := c.onSwitch("ip", "link", "set", "br0", "up"); err != nil {
		t.Fatal(err)
	}
	c.Client = c.newNode("client", 9)
	for i := range n {
		c.Nodes = append(c.Nodes, c.newNode(fmt.Sprintf("node%d", i), 10+i))
	}
	for _, node := range c.all() {
		if err := os.WriteFile(filepath.Join(node.disk, "hosts"), c.hosts(), 0o644); err != nil {
			t.Fatal(err)
		}
		node.start()
	}
	for _, node := range c.all() {
		node.awaitReady()
	}
	return c
}

func (c *Cluster) newNode(name string, number int) *Node {
	n := &Node{
		Name: name, Address: fmt.Sprintf("10.77.0.%d", number),
		cluster: c, disk: filepath.Join(c.dir, name), port: fmt.Sprintf("port%d", number),
	}
	if err := os.Mkdir(n.disk, 0o755); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *Cluster) all() []*Node { return append(slices.Clone(c.Nodes), c.Client) }

func (c *Cluster) hosts() []byte {
	text := "127.0.0.1 localhost\n"
	for _, n := range c.all() {
		text += n.Address + " " + n.Name + "\n"
	}
	return []byte(text)
}

// ownNetwork reports whether a process is in another network than the test.
func ownNetwork(pid int) bool {
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	ours, ourErr := os.Readlink("/proc/self/ns/net")
	return err == nil && ourErr == nil && its != ours
}

// onSwitch runs a program in the switch's network.
func (c *Cluster) onSwitch(args ...string) error {
	pid := c.bridge.Process.Pid
	if !ownNetwork(pid) {
		return fmt.Errorf("enter the switch: it is not there")
	}
	return tool.Run(context.Background(), append([]string{"nsenter", "--target", fmt.Sprint(pid), "--net"}, args...)...)
}

// await waits for what comes in a moment.
func (c *Cluster) await(what string, ready func() error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bootTime)
	defer cancel()
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("wait for %s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Cluster) stop() {
	for _, n := range c.all() {
		if n != nil {
			n.PowerOff()
		}
	}
	c.bridge.Process.Kill()
	c.bridge.Wait()
	if err := detach(c.dir); err != nil {
		c.t.Error(err)
	}
}

// detach frees the loop devices on files below dir. They are told by inode: the path
// of a file on another mount is not one of ours.
func detach(dir string) error {
	ours := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		ours[fmt.Sprintf("%d:%d %d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)] = true
		return nil
	})
	if err != nil {
		return err
	}
	out, err := tool.Output(context.Background(), "losetup", "--list", "--noheadings", "--output", "NAME,BACK-MAJ:MIN,BACK-INO")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || !ours[fields[1]+" "+fields[2]] {
			continue
		}
		if err := tool.Run(context.Background(), "losetup", "--detach", fields[0]); err != nil {
			return err
		}
	}
	return nil
}
