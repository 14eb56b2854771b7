package steps_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/node"
)

// pinode is a small root file system with real programs, the kernel's own /proc and
// /sys, and /var on an ext4 file system of its own. Only systemctl is not real: it
// runs the commands of our units.
type pinode struct {
	host.Local
	t testing.TB
}

const systemctl = `#!/bin/sh
set -eu
echo "$*" >>/run/calls
active=/run/active
mkdir -p $active
for unit; do :; done
command() { sh -c "$(sed -n "s/^Exec$1=//p" "/etc/systemd/system/$unit")"; }
stop() { [ ! -e "$active/$unit" ] || command Stop; rm -f "$active/$unit"; }
start() { [ -e "$active/$unit" ] || command Start; touch "$active/$unit"; }
case $1 in
show)
	if [ -e "$active/$unit" ]; then echo ActiveState=active; else echo ActiveState=inactive; fi
	echo NeedDaemonReload=no
	;;
start) start ;;
stop) stop ;;
restart) stop; start ;;
daemon-reload) ;;
*) exit 99 ;;
esac
`

// scratch is a directory for large files that nobody needs for long.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(memory(), "picluster-scratch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// tools is a tree with the nodes' programs, made once for all tests.
func tools(t testing.TB) string {
	t.Helper()
	roots.Lock()
	defer roots.Unlock()
	if dir := roots.dir["tools"]; dir != "" {
		return dir
	}
	made := hosttest.NewTree(t, "sh", "basename", "blkid", "cat", "chmod", "chown", "cut", "fallocate", "findmnt", "grep", "head", "ln",
		"losetup", "mkdir", "mkswap", "mv", "partx", "rm", "sed", "stat", "swapoff", "swapon", "sync", "touch", "wipefs")
	for link, target := range map[string]string{"bin": "usr/bin", "sbin": "usr/bin"} {
		if err := os.Symlink(target, filepath.Join(made, link)); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp(memory(), "picluster-tools-")
	if err != nil {
		t.Fatal(err)
	}
	if roots.dir == nil {
		roots.dir = map[string]string{}
	}
	roots.dir["tools"] = dir
	output(t, "cp", "--archive", made+"/.", dir)
	return dir
}

// newNode makes a node with size MiB of /var. It needs root.
func newNode(t testing.TB, size int) pinode {
	t.Helper()
	root := filepath.Join(scratch(t), "root")
	output(t, "cp", "--archive", "--link", tools(t), root)
	n := pinode{host.Local{Root: root, Chroot: true}, t}
	image := filepath.Join(scratch(t), "var")
	output(t, "truncate", fmt.Sprintf("--size=%dM", size), image)
	output(t, "mkfs.ext4", "-q", "-b", "4096", image)
	n.mount("/var", "-o", "loop", image)
	n.mount("/proc", "-t", "proc", "proc")
	n.mount("/sys", "--bind", "/sys")
	// A directory of its own: the machine's /dev is not for tests to write to.
	n.mount("/dev", "-t", "tmpfs", "none")
	n.device("null", unix.S_IFCHR, 1, 3)
	n.device("loop-control", unix.S_IFCHR, 10, 237) // the kernel's admin-guide/devices.txt
	for i := range uint32(256) {
		n.device(fmt.Sprintf("loop%d", i), unix.S_IFBLK, 7, i)
	}
	n.put("/usr/local/bin/systemctl", 0o755, systemctl)
	n.put("/run/calls", 0o644, "")
	return n
}

// with is the node whose power can fail.
func (n pinode) with(fault func(op, path string)) host.Host {
	n.Fault = fault
	return n
}

func (n pinode) path(name string) string { return filepath.Join(n.Root, name) }

func (n pinode) mount(at string, args ...string) {
	n.t.Helper()
	if err := os.MkdirAll(n.path(at), 0o755); err != nil {
		n.t.Fatal(err)
	}
	output(n.t, append(append([]string{"mount"}, args...), n.path(at))...)
	n.t.Cleanup(func() { output(n.t, "umount", n.path(at)) })
}

// device makes a node in /dev.
func (n pinode) device(name string, kind uint32, major, minor uint32) {
	n.t.Helper()
	if err := unix.Mknod(n.path("/dev/"+name), kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		n.t.Fatal(err)
	}
}

func (n pinode) put(name string, mode os.FileMode, content string) {
	n.t.Helper()
	if err := n.Write(n.t.Context(), name, host.File{Mode: mode, Data: []byte(content)}); err != nil {
		n.t.Fatal(err)
	}
}

// calls are those of systemctl so far, and are forgotten.
func (n pinode) calls() []string {
	n.t.Helper()
	text := strings.TrimSpace(readFile(n.t, n.Root, "run/calls"))
	n.put("/run/calls", 0o644, "")
	return strings.Split(text, "\n")
}

// powerOff is what a loss of power does to devices of the node.
func (n pinode) powerOff() {
	n.t.Helper()
	for _, device := range n.loops("/var/gluster.img") {
		output(n.t, "losetup", "--detach", device)
	}
	for _, name := range []string{"/run/active", "/dev/picluster"} {
		if err := os.RemoveAll(n.path(name)); err != nil {
			n.t.Fatal(err)
		}
	}
}

// loops are a file's loop devices.
func (n pinode) loops(file string) (names []string) {
	n.t.Helper()
	if _, err := os.Stat(n.path(file)); err != nil {
		return nil
	}
	for line := range strings.Lines(output(n.t, "losetup", "--associated", n.path(file))) {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
	}
	return names
}

// stage is one stage of Run for a document.
func stage(t testing.TB, c *node.Config, name string) []steps.Stage {
	t.Helper()
	all := steps.Run(c, steps.Env{Boot: bootDir(c.Build.Release)})
	i := slices.IndexFunc(all, func(s steps.Stage) bool { return s.Name == name })
	if i < 0 {
		t.Fatalf("there is no stage %s", name)
	}
	return all[i : i+1]
}

// storage is the stage with a file or a disk.
func storage(t testing.TB, s node.Storage) []steps.Stage {
	t.Helper()
	c := worker(t, "trixie")
	c.Storage = &s
	return stage(t, c, "storage")
}

func swap(t testing.TB, kind string) []steps.Stage {
	t.Helper()
	c := worker(t, "trixie")
	c.System.Swap = kind
	return stage(t, c, "swap")
}

// wantRun fails the test unless a run did and said that, and then has nothing
// to do.
func wantRun(t testing.TB, h host.Host, stages []steps.Stage, want ...string) {
	t.Helper()
	got, err := events(t, h, stages)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	if again, err := events(t, h, stages); err != nil || len(again) > 0 {
		t.Errorf("the second run: %v\n\t%s", err, strings.Join(again, "\n\t"))
	}
}

// eachCut runs stages once for each thing that leaves a trace, each time on a new
// node whose power goes right before it, and then what comes after.
func eachCut(t *testing.T, size int, stages []steps.Stage, after func(*testing.T, pinode), before ...func(pinode)) (cuts int) {
	t.Helper()
	for reached := true; reached; {
		t.Run(fmt.Sprintf("cut %d", cuts+1), func(t *testing.T) {
			reached = false // also if the node cannot be made
			n := newNode(t, size)
			t.Cleanup(n.powerOff)
			for _, prepare := range before {
				prepare(n)
			}
			if reached = cutRun(t, n.with, stages, cuts+1); reached {
				cuts++
				after(t, n)
			}
		})
	}
	return cuts
}
