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
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"picluster/internal/lab/netns"
	"picluster/internal/lab/tool"
)

// Cluster is a number of nodes and a client on one switch. It ends with the test.
type Cluster struct {
	Nodes  []*Node
	Client *Node // has no glusterd

	t   testing.TB
	dir string
	lan *netns.Switch
}

// Start starts a cluster of n nodes that do not know each other yet.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	for _, name := range []string{"glusterd", "mount.glusterfs", "losetup"} {
		if _, err := tool.Path(name); err != nil {
			t.Fatal(err)
		}
	}
	c := &Cluster{t: t, dir: t.TempDir(), lan: netns.NewSwitch(t)}
	t.Cleanup(c.stop)
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
		Machine: netns.Machine{Name: name}, Address: fmt.Sprintf("10.77.0.%d", number),
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

func (c *Cluster) stop() {
	for _, n := range c.all() {
		if n != nil {
			n.PowerOff()
		}
	}
	if c.t.Failed() {
		c.explain()
	}
	if err := detach(c.dir); err != nil {
		c.t.Error(err)
	}
}

// explain prints what the nodes' logs have of errors last.
func (c *Cluster) explain() {
	for _, n := range c.all() {
		logs, _ := filepath.Glob(filepath.Join(n.disk, "var/log/glusterfs", "*.log"))
		more, _ := filepath.Glob(filepath.Join(n.disk, "var/log/glusterfs/bricks", "*.log"))
		for _, log := range append(logs, more...) {
			data, err := os.ReadFile(log)
			if err != nil {
				continue
			}
			var errs []string
			for line := range strings.Lines(string(data)) {
				if strings.Contains(line, "] E [") || strings.Contains(line, "] C [") {
					errs = append(errs, line)
				}
			}
			if len(errs) > 0 {
				c.t.Logf("%s %s:\n%s", n, filepath.Base(log), strings.Join(errs[max(0, len(errs)-20):], ""))
			}
		}
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
