package steps_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"picluster/internal/host"
	"picluster/internal/node"
)

const gluster = "/var/gluster.img"

func TestStorageFile_becomesADevice(t *testing.T) {
	n := newNode(t, 256)
	t.Cleanup(n.powerOff)
	stages := storage(t, node.Storage{LoopPath: gluster, LoopSize: 64 << 20})
	wantRun(t, n, stages,
		"applying storage file: /var/gluster.img is missing", "done storage file",
		"applying storage script: /usr/local/sbin/picluster-storage is missing", "done storage script",
		"applying storage service: /etc/systemd/system/picluster-storage.service is missing", "done storage service",
	)
	n.judge(64 << 20)
	if got, want := n.calls(), []string{"daemon-reload", "start picluster-storage.service",
		"show --property=ActiveState,NeedDaemonReload picluster-storage.service",
		"show --property=ActiveState,NeedDaemonReload picluster-storage.service"}; !slices.Equal(got, want) {
		t.Errorf("systemctl was called with %q, want %q", got, want)
	}
	// The next boot, of which only systemd is missing.
	n.powerOff()
	if _, err := n.Run(t.Context(), host.Cmd{Args: []string{"systemctl", "start", "picluster-storage.service"}}); err != nil {
		t.Fatal(err)
	}
	n.judge(64 << 20)
	if got, err := events(t, n, stages); err != nil || len(got) > 0 {
		t.Errorf("after a boot: %v %q", err, got)
	}
	// Its end.
	if _, err := n.Run(t.Context(), host.Cmd{Args: []string{"systemctl", "stop", "picluster-storage.service"}}); err != nil {
		t.Fatal(err)
	}
	if names := n.loops(gluster); len(names) > 0 {
		t.Errorf("the stopped service leaves %q", names)
	}
}

// judge wants one device with all of the file's size and all of the file on the
// disk, with direct I/O, for root alone.
func (n pinode) judge(size int64) {
	n.t.Helper()
	names := n.loops(gluster)
	if len(names) != 1 {
		n.t.Fatalf("%s has the loop devices %q, want one", gluster, names)
	}
	if link, err := os.Readlink(n.path("/dev/picluster/storage")); err != nil || "/dev/"+filepath.Base(link) != names[0] {
		n.t.Errorf("the link leads to %s (%v), want %s", link, err, names[0])
	}
	if got := strings.TrimSpace(output(n.t, "losetup", "--noheadings", "--output", "DIO", names[0])); got != "1" {
		n.t.Errorf("direct I/O is %s", got)
	}
	if got := strings.TrimSpace(output(n.t, "blockdev", "--getsize64", names[0])); got != fmt.Sprint(size) {
		n.t.Errorf("the device has %s bytes, want %d", got, size)
	}
	if got := strings.TrimSpace(output(n.t, "stat", "--format=%a %u %g", n.path(gluster))); got != "600 0 0" {
		n.t.Errorf("mode and owner are %s", got)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(n.path(gluster), &st); err != nil || st.Blocks*512 < size {
		n.t.Errorf("%d bytes of the file are on the disk (%v)", st.Blocks*512, err)
	}
}

// A size that has grown is met while the device is in use.
func TestStorageFile_growsAndNeverShrinks(t *testing.T) {
	n := newNode(t, 256)
	t.Cleanup(n.powerOff)
	if _, err := events(t, n, storage(t, node.Storage{LoopPath: gluster, LoopSize: 32 << 20})); err != nil {
		t.Fatal(err)
	}
	output(t, "mkfs.ext4", "-q", n.loops(gluster)[0])
	before := firstMiB(t, n.path(gluster))
	wantRun(t, n, storage(t, node.Storage{LoopPath: gluster, LoopSize: 64 << 20}),
		"applying storage file: /var/gluster.img has 32.0 MiB of 64.0 MiB", "done storage file",
		"applying loop device: "+n.loops(gluster)[0]+" has 32.0 MiB of 64.0 MiB", "done loop device")
	n.judge(64 << 20)
	wantRun(t, n, storage(t, node.Storage{LoopPath: gluster, LoopSize: 48 << 20}))
	n.judge(64 << 20)
	if !bytes.Equal(firstMiB(t, n.path(gluster)), before) {
		t.Error("what was on it is not any more")
	}
}

func TestStorageFile_survivesAPowerCutAnywhere(t *testing.T) {
	stages := storage(t, node.Storage{LoopPath: gluster, LoopSize: 64 << 20})
	// Two files do not fit: what a cut leaves must not be in the way.
	cuts := eachCut(t, 128, stages, func(t *testing.T, n pinode) {
		n.powerOff()
		if _, err := events(t, n, stages); err != nil {
			t.Fatal(err)
		}
		n.judge(64 << 20)
		for _, name := range []string{"/var", "/var/lib/picluster"} {
			names, err := n.ReadDir(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range names {
				if strings.HasPrefix(found, ".") {
					t.Errorf("%s/%s is left", name, found)
				}
			}
		}
	})
	if cuts < 30 {
		t.Errorf("only %d cuts", cuts)
	}
}

func firstMiB(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 1<<20)
	if _, err := io.ReadFull(f, data); err != nil {
		t.Fatal(err)
	}
	return data
}

// A file that is too large is refused with the size that is not.
func TestStorageFile_leavesRoomForTheSystem(t *testing.T) {
	n := newNode(t, 256)
	t.Cleanup(n.powerOff)
	for _, have := range []int64{0, 64 << 20} {
		if have > 0 {
			if _, err := events(t, n, storage(t, node.Storage{LoopPath: gluster, LoopSize: have})); err != nil {
				t.Fatal(err)
			}
		}
		_, err := events(t, n, storage(t, node.Storage{LoopPath: gluster, LoopSize: 200 << 20}))
		form := regexp.MustCompile(`^storage/storage file: check: use /var/gluster.img for storage: 200.0 MiB do not fit: ` +
			`20\d\.\d MiB of the file system's 2\d\d\.\d MiB are free, and 15 % stay free: at most (\d+)Mi fit$`)
		m := form.FindStringSubmatch(fmt.Sprint(err))
		if m == nil {
			t.Fatalf("got error %v", err)
		}
		if got := len(n.loops(gluster)); got != int(min(have, 1)) {
			t.Errorf("there are %d loop devices", got)
		}
		most, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := events(t, n, storage(t, node.Storage{LoopPath: gluster, LoopSize: (most + 1) << 20})); err == nil {
			t.Errorf("%d MiB fit too", most+1)
		}
		if have > 0 {
			if _, err := events(t, n, storage(t, node.Storage{LoopPath: gluster, LoopSize: most << 20})); err != nil {
				t.Error(err)
			}
		}
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(n.path("/var"), &st); err != nil || st.Bavail*100/st.Blocks < 14 {
		t.Errorf("%d of %d blocks are left (%v)", st.Bavail, st.Blocks, err)
	}
}

func TestStorageFile_refuses(t *testing.T) {
	const ours = `{"path":"/var/gluster.img","ready":true}`
	for name, tc := range map[string]struct {
		path    string // gluster if empty
		prepare func(n pinode)
		want    string // of the error, behind "storage/storage file: check: "
	}{
		"another's file": {prepare: func(n pinode) { n.put(gluster, 0o600, "a VM's disk") },
			want: "use /var/gluster.img for storage: it is there and was not made by picluster"},
		"a link": {prepare: func(n pinode) { n.link(gluster, "/etc/shadow") },
			want: "use /var/gluster.img for storage: it is there and is no regular file"},
		"a link, with a mark": {prepare: func(n pinode) {
			n.put("/var/lib/picluster/storage.json", 0o600, ours)
			n.link(gluster, "/etc/shadow")
		}, want: "use /var/gluster.img for storage: it is there and is no regular file"},
		"a directory": {prepare: func(n pinode) { n.put(gluster+"/file", 0o600, "") },
			want: "use /var/gluster.img for storage: it is there and is no regular file"},
		"memory": {path: "/dev/gluster.img", prepare: func(n pinode) {},
			want: "use /dev/gluster.img for storage: it would be on a file system of type tmpfs"},
		"a second storage": {prepare: func(n pinode) { n.put("/var/lib/picluster/storage.json", 0o600, `{"path":"/srv/old","ready":true}`) },
			want: "use /var/gluster.img for storage: this node's storage is /srv/old (/var/lib/picluster/storage.json)"},
		"a lost file": {prepare: func(n pinode) { n.put("/var/lib/picluster/storage.json", 0o600, ours) },
			want: "use /var/gluster.img for storage: it was there once and is gone. Bring it back, or remove /var/lib/picluster/storage.json to begin with an empty one"},
		"a torn mark": {prepare: func(n pinode) { n.put("/var/lib/picluster/storage.json", 0o600, `{"path":"/var/glu`) },
			want: "read /var/lib/picluster/storage.json, which says what this node's storage is: unexpected end of JSON input"},
		"an empty mark": {prepare: func(n pinode) { n.put("/var/lib/picluster/storage.json", 0o600, `{}`) },
			want: "read /var/lib/picluster/storage.json, which says what this node's storage is: no path in it"},
		"a name for a shell": {path: "/var/$(reboot)", prepare: func(n pinode) {},
			want: "use /var/$(reboot) for storage: its name has other characters than letters, digits and ./:@+_-"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 256)
			tc.prepare(n)
			before := listing(t, n.path("/var"))
			s := node.Storage{LoopPath: gluster, LoopSize: 64 << 20}
			if tc.path != "" {
				s.LoopPath = tc.path
			}
			_, err := events(t, n, storage(t, s))
			if want := "storage/storage file: check: " + tc.want; err == nil || err.Error() != want {
				t.Errorf("got error %v\nwant %s", err, want)
			}
			if diff := differences(listing(t, n.path("/var")), before); len(diff) > 0 {
				t.Errorf("changed all the same: %q", diff)
			}
		})
	}
}

func (n pinode) link(name, target string) {
	n.t.Helper()
	if err := n.Write(context.Background(), name, host.File{Target: target}); err != nil {
		n.t.Fatal(err)
	}
}
