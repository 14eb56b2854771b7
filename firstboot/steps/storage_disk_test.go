package steps_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// sda is a disk of a node: a loop device, under the name that a spec would have.
type sda struct {
	n            pinode
	file, device string
}

const diskPath = "/dev/disk/by-id/usb-disk"

// plug gives the node a disk of 64 MiB.
func (n pinode) plug() sda {
	n.t.Helper()
	d := sda{n: n, file: filepath.Join(scratch(n.t), "disk")}
	output(n.t, "truncate", "--size=64M", d.file)
	d.device = strings.TrimSpace(output(n.t, "losetup", "--find", "--show", d.file))
	n.t.Cleanup(func() { output(n.t, "losetup", "--detach", d.device) })
	n.link(diskPath, "../../"+filepath.Base(d.device))
	return d
}

// tabled gives the disk a table with one partition, which the kernel sees.
func (d sda) tabled(label string) (partition string) {
	t := d.n.t
	t.Helper()
	pipe(t, "label: "+label+"\nstart=2048\n", "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", d.device)
	output(t, "partx", "--update", d.device)
	partition = d.device + "p1"
	t.Cleanup(func() {
		if _, err := os.Stat(partition); err == nil {
			output(t, "partx", "--delete", d.device)
		}
	})
	var st unix.Stat_t
	if err := unix.Stat(partition, &st); err != nil {
		t.Fatal(err)
	}
	d.n.device(filepath.Base(partition), unix.S_IFBLK, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	return partition
}

// contents are what a disk may come with, and how it is called.
var contents = map[string]struct {
	make func(d sda)
	name string // with DISK in it
}{
	"ext4": {func(d sda) { output(d.n.t, "mkfs.ext4", "-q", d.device) }, "ext4 on DISK"},
	"XFS": {func(d sda) {
		output(d.n.t, "truncate", "--size=320M", d.file) // the least that mkfs.xfs makes
		output(d.n.t, "losetup", "--set-capacity", d.device)
		output(d.n.t, "mkfs.xfs", "-q", d.device)
	}, "xfs on DISK"},
	"swap": {func(d sda) { output(d.n.t, "mkswap", d.device) }, "swap on DISK"},
	// lvm2 needs no device-mapper to write its label.
	"LVM": {func(d sda) {
		output(d.n.t, "pvcreate", "--yes", "--quiet", "--config", `global{locking_type=0} devices{use_devicesfile=0 scan_lvs=0}`, d.device)
	}, "LVM2_member on DISK"},
	"MBR, empty": {func(d sda) { d.tabled("dos") }, "dos on DISK"},
	"MBR, ext4":  {func(d sda) { output(d.n.t, "mkfs.ext4", "-q", d.tabled("dos")) }, "dos on DISK, ext4 on DISKp1"},
	"GPT, FAT":   {func(d sda) { output(d.n.t, "mkfs.vfat", d.tabled("gpt")) }, "gpt on DISK, PMBR on DISK, vfat on DISKp1"},
}

func TestStorageDisk_erasesOnlyWithPermission(t *testing.T) {
	for name, tc := range contents {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 64)
			d := n.plug()
			tc.make(d)
			what := strings.ReplaceAll(tc.name, "DISK", d.device)
			before := sum(t, d.file)

			_, err := events(t, n, storage(t, node.Storage{Disk: diskPath}))
			want := "storage/storage disk: check: use disk " + diskPath + " for storage: it is not empty: " + what + ". wipe: true permits to erase it"
			if err == nil || err.Error() != want {
				t.Errorf("got error %v\nwant %s", err, want)
			}
			if sum(t, d.file) != before {
				t.Error("the disk has changed all the same")
			}

			wiped := storage(t, node.Storage{Disk: diskPath, Wipe: true})
			wantRun(t, n, wiped, fmt.Sprintf("applying storage disk: disk %s (%s, %d bytes) is to be erased: %s", diskPath, d.file, size(t, d.file), what),
				"done storage disk")
			d.empty(t)

			// From here on it is the storage's.
			output(t, "mkfs.ext4", "-q", d.device)
			if got, err := events(t, n, wiped); err != nil || len(got) > 0 {
				t.Errorf("with the storage's own data: %v %q", err, got)
			}
			output(t, "e2fsck", "-fn", d.device)
		})
	}
}

// empty asks other programs than the step.
func (d sda) empty(t testing.TB) {
	t.Helper()
	out, err := exec.Command("blkid", "-p", d.device).CombinedOutput()
	if code := err.(*exec.ExitError).ExitCode(); code != 2 || len(out) > 0 {
		t.Errorf("blkid: %v %s", err, out)
	}
	if found, err := filepath.Glob("/sys/class/block/" + filepath.Base(d.device) + "/*/partition"); err != nil || len(found) > 0 {
		t.Errorf("partitions are left: %q (%v)", found, err)
	}
	if out, err := exec.Command("sfdisk", "--dump", d.device).CombinedOutput(); err == nil {
		t.Errorf("there is a partition table:\n%s", out)
	}
}

func sum(t testing.TB, file string) string {
	t.Helper()
	return output(t, "sha256sum", file)
}

func size(t testing.TB, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestStorageDisk_takesAnEmptyOne(t *testing.T) {
	n := newNode(t, 64)
	d := n.plug()
	wantRun(t, n, storage(t, node.Storage{Disk: diskPath}),
		fmt.Sprintf("applying storage disk: disk %s (%s, 67108864 bytes) is not the storage's yet", diskPath, d.file), "done storage disk")
	if got := strings.TrimSpace(output(t, "stat", "--format=%a %u %g", n.path("/var/lib/picluster/storage.json"))); got != "600 0 0" {
		t.Errorf("mode and owner of the mark are %s", got)
	}
}

// The power went when an empty disk was about to be taken, and then somebody used it.
func TestStorageDisk_permissionIsNotInTheMark(t *testing.T) {
	n := newNode(t, 64)
	d := n.plug()
	stages := storage(t, node.Storage{Disk: diskPath})
	for i := 1; ; i++ {
		if !cutRun(t, n.with, stages, i) {
			t.Fatal("there is never a mark that is not ready")
		}
		if data, err := os.ReadFile(n.path("/var/lib/picluster/storage.json")); err == nil && strings.Contains(string(data), `"ready":false`) {
			break
		}
	}
	output(t, "mkfs.ext4", "-q", d.device)
	_, err := events(t, n, stages)
	if err == nil || !strings.Contains(err.Error(), "it is not empty: ext4 on "+d.device) {
		t.Errorf("got error %v", err)
	}
	output(t, "e2fsck", "-fn", d.device)
}

func TestStorageDisk_survivesAPowerCutAnywhere(t *testing.T) {
	stages := storage(t, node.Storage{Disk: diskPath, Wipe: true})
	disks := map[string]sda{}
	prepare := func(n pinode) {
		d := n.plug()
		output(n.t, "mkfs.ext4", "-q", d.tabled("gpt"))
		disks[n.Root] = d
	}
	cuts := eachCut(t, 64, stages, func(t *testing.T, n pinode) {
		if _, err := events(t, n, stages); err != nil {
			t.Fatal(err)
		}
		disks[n.Root].empty(t)
		if got, err := events(t, n, stages); err != nil || len(got) > 0 {
			t.Errorf("the second run: %v %q", err, got)
		}
	}, prepare)
	if cuts < 15 {
		t.Errorf("only %d cuts", cuts)
	}
}

// A disk that is in use, or no disk, is refused, whatever is permitted.
func TestStorageDisk_refuses(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(d sda) (path string)
		want    string // with DISK in it
	}{
		"a mounted one": {func(d sda) string {
			output(d.n.t, "mkfs.ext4", "-q", d.device)
			d.n.mount("/mnt", d.device)
			return diskPath
		}, "DISK is mounted at MOUNT"},
		"one with a mounted partition": {func(d sda) string {
			part := d.tabled("dos")
			output(d.n.t, "mkfs.ext4", "-q", part)
			d.n.mount("/mnt", part)
			return diskPath
		}, "DISKp1 is mounted at MOUNT"},
		"swap": {func(d sda) string {
			output(d.n.t, "mkswap", d.device)
			output(d.n.t, "swapon", d.device)
			d.n.t.Cleanup(func() { output(d.n.t, "swapoff", d.device) })
			return diskPath
		}, "DISK is in use as swap"},
		"a partition": {func(d sda) string { return d.tabled("dos") }, "it is a partition, not a whole disk"},
		"a file": {func(d sda) string {
			d.n.put("/dev/sda", 0o600, "")
			return "/dev/sda"
		}, "it is no block device"},
		"a terminal": {func(d sda) string { return "/dev/null" }, "it is no block device"},
		"another disk than before": {func(d sda) string {
			if _, err := events(d.n.t, d.n, storage(d.n.t, node.Storage{Disk: diskPath})); err != nil {
				d.n.t.Fatal(err)
			}
			other := d.n.plug()
			output(d.n.t, "mkfs.ext4", "-q", other.device)
			return diskPath
		}, "it is another disk than before: OTHER"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, 64)
			d := n.plug()
			path := tc.prepare(d)
			before := sum(t, d.file)
			_, err := events(t, n, storage(t, node.Storage{Disk: path, Wipe: true}))
			want := strings.NewReplacer("DISK", d.device, "MOUNT", n.path("/mnt")).Replace(tc.want)
			want, _, _ = strings.Cut("storage/storage disk: check: use disk "+path+" for storage: "+want, "OTHER")
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got error %v\nwant %s", err, want)
			}
			if sum(t, d.file) != before {
				t.Error("the disk has changed all the same")
			}
		})
	}
}

// What the system runs from has many signatures, but that is not why it is safe.
func TestStorageDisk_refusesTheSystemsDisk(t *testing.T) {
	n := newNode(t, 64)
	n.put("/usr/bin/wipefs", 0o755, "#!/bin/sh\nexit 99\n")
	mounts := output(t, "findmnt", "--noheadings", "--output", "MAJ:MIN", "/")
	link, err := os.Readlink("/sys/dev/block/" + strings.TrimSpace(mounts))
	if err != nil {
		t.Fatalf("/ is on no single device: %v", err)
	}
	name := filepath.Base(link)
	if _, err := os.Stat("/sys/class/block/" + name + "/partition"); err == nil {
		name = filepath.Base(filepath.Dir(link))
	}
	var st unix.Stat_t
	if err := unix.Stat("/dev/"+name, &st); err != nil {
		t.Fatal(err)
	}
	n.device(name, unix.S_IFBLK, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	_, err = events(t, n, storage(t, node.Storage{Disk: "/dev/" + name, Wipe: true}))
	if err == nil || !strings.HasSuffix(err.Error(), " is what this system runs from") {
		t.Errorf("got error %v", err)
	}
}

// late runs the stage on a node whose disk comes when it is already waited for.
func (n pinode) late(d sda) (said []string, err error) {
	n.t.Helper()
	if err := os.Remove(n.path(diskPath)); err != nil {
		n.t.Fatal(err)
	}
	r := &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		said = append(said, strings.TrimSuffix(fmt.Sprintf("%s: %s", e.Kind, e.Text), ": "))
		if e.Kind == step.Waiting {
			n.link(diskPath, "../../"+filepath.Base(d.device))
		}
	}}}
	err = step.Run[host.Host](n.t.Context(), n, storage(n.t, node.Storage{Disk: diskPath}), r)
	return said, err
}

func TestStorageDisk_waitsForALateOne(t *testing.T) {
	n := newNode(t, 64)
	said, err := n.late(n.plug())
	want := []string{"applying: disk " + diskPath + " is not there", "waiting: disk " + diskPath + ": it is not there", "done"}
	if err != nil || !slices.Equal(said, want) {
		t.Errorf("got %q, %v\nwant %q", said, err, want)
	}
}

// A late one is looked at like any other.
func TestStorageDisk_refusesALateOneWithData(t *testing.T) {
	n := newNode(t, 64)
	d := n.plug()
	output(t, "mkfs.ext4", "-q", d.device)
	before := sum(t, d.file)
	_, err := n.late(d)
	if err == nil || !strings.Contains(err.Error(), "it is not empty: ext4 on "+d.device) {
		t.Errorf("got error %v", err)
	}
	if sum(t, d.file) != before {
		t.Error("the disk has changed all the same")
	}
}
