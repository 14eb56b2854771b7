package steps_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/step"
)

// disk is a card in use: a file behind a loop device, two partitions, the second
// one mounted.
type disk struct {
	file, device, mount string
}

func (d disk) root() string { return d.device + "p2" }

// tables are what sfdisk makes of a new card. The root partition has 48 MiB.
var tables = map[string]string{
	"MBR": "label: dos\nlabel-id: 0x1234abcd\nstart=2048, size=16384, type=c\nstart=18432, size=98304, type=83\n",
	"GPT": "label: gpt\nlabel-id: 2B1B6B9C-6A7D-4E38-9F5B-5F8D3C9F2A11\n" +
		"start=2048, size=16384, type=U, name=\"boot\"\nstart=18432, size=98304, type=L, name=\"root\", uuid=0E4A2F0B-77C1-4A65-8C0F-2E4B4D6B8A01\n",
}

// newDisk makes the card with table and then grows it to size MiB, as if the image
// had been written to it. It needs root, as loop devices and mounts do.
func newDisk(t testing.TB, table string, size int, options ...string) disk {
	t.Helper()
	d := disk{file: filepath.Join(scratch(t), "card"), mount: t.TempDir()}
	output(t, "truncate", "--size=64M", d.file)
	d.device = strings.TrimSpace(output(t, append(append([]string{"losetup", "--find", "--show"}, options...), d.file)...))
	t.Cleanup(func() { output(t, "losetup", "--detach", d.device) })
	pipe(t, table, "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", d.device)
	d.partition(t)
	t.Cleanup(func() { output(t, "partx", "--delete", d.device) })
	output(t, "mkfs.ext4", "-q", "-b", "4096", d.root())
	output(t, "mount", d.root(), d.mount)
	t.Cleanup(func() { output(t, "umount", d.mount) })
	if err := os.WriteFile(filepath.Join(d.mount, "data"), []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	output(t, "truncate", fmt.Sprintf("--size=%dM", size), d.file)
	output(t, "losetup", "--set-capacity", d.device)
	return d
}

var data = strings.Repeat("what the image had\n", 10_000)

// partition is what a kernel that reads tables does at boot.
func (d disk) partition(t testing.TB) { output(t, "partx", "--update", d.device) }

func pipe(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("run %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (d disk) stages() []steps.Stage {
	return []steps.Stage{{Name: "disk", Steps: []steps.Step{steps.RootPartition{Mount: d.mount}, steps.RootFileSystem{Mount: d.mount}}}}
}

// card is this machine with a disk. Growing a mounted file system takes
// CAP_SYS_RESOURCE (fs/ext4/ioctl.c), which root has not in every container; then
// resize2fs grows it while it is not mounted.
type card struct {
	host.Local
	t    testing.TB
	disk disk
}

func (c card) Run(ctx context.Context, cmd host.Cmd) ([]byte, error) {
	if cmd.Args[0] != "resize2fs" || maySetResources(c.t) {
		return c.Local.Run(ctx, cmd)
	}
	output(c.t, "umount", c.disk.mount)
	defer output(c.t, "mount", c.disk.root(), c.disk.mount)
	output(c.t, "e2fsck", "-fp", c.disk.root())
	return c.Local.Run(ctx, cmd)
}

func maySetResources(t testing.TB) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, caps, _ := strings.Cut(string(status), "CapEff:")
	var bits uint64
	if _, err := fmt.Sscanf(caps, "%x", &bits); err != nil {
		t.Fatal(err)
	}
	return bits&(1<<24) != 0 // capabilities(7)
}

// events runs stages and returns what was done and said.
func events(t testing.TB, h host.Host, stages []steps.Stage) (lines []string, err error) {
	t.Helper()
	r := &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		if e.Kind != step.Unchanged {
			lines = append(lines, strings.TrimSuffix(fmt.Sprintf("%s %s: %s", e.Kind, e.Step, e.Text), ": "))
		}
	}}}
	return lines, step.Run(t.Context(), h, stages, r)
}

// judge wants the disk as large as it can be, with all that the image had.
func (d disk) judge(t testing.TB, table string, sectors int64) {
	t.Helper()
	var dump struct {
		PartitionTable struct {
			ID         string
			Partitions []struct {
				Node        string
				Start, Size int64
				UUID, Name  string
			}
		}
	}
	if err := json.Unmarshal([]byte(output(t, "sfdisk", "--json", d.device)), &dump); err != nil {
		t.Fatal(err)
	}
	root := dump.PartitionTable.Partitions[1]
	if root.Start != 18432 || root.Size != sectors {
		t.Errorf("the root partition has %d sectors from %d, want %d from 18432", root.Size, root.Start, sectors)
	}
	for _, id := range []string{dump.PartitionTable.ID, root.UUID, root.Name} {
		if !strings.Contains(table, id) {
			t.Errorf("the table has a new identifier %s", id)
		}
	}
	if out := pipe(t, "", "sfdisk", "--verify", d.device); strings.Contains(out, "mismatch") || strings.Contains(out, "not on the end") {
		t.Errorf("sfdisk --verify:\n%s", out)
	}
	if got := readFile(t, d.mount, "data"); got != data {
		t.Error("the data are others than before")
	}
	size := strings.TrimSpace(output(t, "findmnt", "--noheadings", "--bytes", "--output", "SIZE", d.mount))
	var bytes int64
	if _, err := fmt.Sscan(size, &bytes); err != nil || bytes < sectors*512*3/4 {
		t.Errorf("the file system has %s bytes (%v), the partition %d", size, err, sectors*512)
	}
	output(t, "umount", d.mount)
	output(t, "e2fsck", "-fn", d.root())
	output(t, "mount", d.root(), d.mount)
}

// size is the root partition on a card of 256 MiB.
var rootSectors = map[string]int64{"MBR": 256<<11 - 18432, "GPT": 256<<11 - 18432 - 33}

func TestDisk_growsWhileItIsMounted(t *testing.T) {
	for name, table := range tables {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t, table, 256)
			h := card{t: t, disk: d}
			got, err := events(t, h, d.stages())
			if err != nil {
				t.Fatal(err)
			}
			want := []string{
				fmt.Sprintf("applying partition: %s has 48.0 MiB, its disk room for 247.0 MiB", d.root()),
				"done partition",
				fmt.Sprintf("applying root file system: the file system on %s has 48.0 MiB of 247.0 MiB", d.root()),
				"waiting root file system: growing the file system to 247.0 MiB",
				"done root file system",
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			d.judge(t, table, rootSectors[name])
			if again, err := events(t, h, d.stages()); err != nil || len(again) > 0 {
				t.Errorf("the second run: %v\n%s", err, strings.Join(again, "\n"))
			}
		})
	}
}

// An MBR counts sectors with 32 bits.
func TestDisk_endsWhereAnMBRCanPoint(t *testing.T) {
	d := newDisk(t, tables["MBR"], 3<<20)
	stages := d.stages()
	stages[0].Steps = stages[0].Steps[:1]
	if _, err := events(t, host.Local{}, stages); err != nil {
		t.Fatal(err)
	}
	if got := output(t, "sfdisk", "--dump", d.device); !strings.Contains(got, fmt.Sprintf("size=%12d", int64(1<<32-18432))) {
		t.Errorf("the table is\n%s", got)
	}
}

// Sizes in /sys are in 512 bytes, those in the table in the disk's own sectors.
func TestDisk_knowsLargerSectors(t *testing.T) {
	for _, label := range []string{"dos", "gpt"} {
		d := newDisk(t, "label: "+label+"\nstart=256, size=2048\nstart=2304, size=12288\n", 256, "--sector-size=4096")
		if _, err := events(t, card{t: t, disk: d}, d.stages()); err != nil {
			t.Fatal(err)
		}
		want := 256<<8 - 2304
		if label == "gpt" {
			want -= 5
		}
		if got := output(t, "sfdisk", "--dump", d.device); !strings.Contains(got, fmt.Sprintf("size=%12d", want)) {
			t.Errorf("%s: the table is\n%s", label, got)
		}
	}
}

// After a cut, the next boot reads the table that is on the disk.
func TestDisk_survivesAPowerCutAnywhere(t *testing.T) {
	for name, table := range tables {
		t.Run(name, func(t *testing.T) {
			cuts := 0
			for n := 1; ; n++ {
				d := newDisk(t, table, 256)
				h := card{t: t, disk: d}
				with := func(fault func(op, path string)) host.Host {
					return card{host.Local{Fault: fault}, t, d}
				}
				if !cutRun(t, with, d.stages(), n) {
					break
				}
				cuts++
				d.partition(t)
				if _, err := events(t, h, d.stages()); err != nil {
					t.Fatalf("after cut %d: %v", n, err)
				}
				d.judge(t, table, rootSectors[name])
			}
			// sfdisk three times to look and once to write, partx, resize2fs.
			if cuts != 6 {
				t.Errorf("%d cuts", cuts)
			}
		})
	}
}

// cutRun runs stages until the power goes before the n-th thing that leaves a
// trace. It reports whether there were so many.
func cutRun(t testing.TB, with func(fault func(op, path string)) host.Host, stages []steps.Stage, n int) (reached bool) {
	t.Helper()
	count := 0
	h := with(func(op, path string) {
		if op == "run" && slices.Contains([]string{"blkid", "dumpe2fs", "findmnt", "stat"}, path) {
			return // they only look
		}
		if count++; count == n {
			panic(cut{op, path})
		}
	})
	defer func() {
		if p := recover(); p != nil {
			if _, reached = p.(cut); !reached {
				panic(p)
			}
		}
	}()
	if _, err := events(t, h, stages); err != nil {
		t.Fatal(err)
	}
	return false
}

// The agent may end between the table and the kernel without a power cut.
func TestDisk_tellsTheKernelWhatTheTableSays(t *testing.T) {
	d := newDisk(t, tables["MBR"], 256)
	pipe(t, "start=18432, size=505856\n", "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "-N", "2", d.device)
	got, err := events(t, card{t: t, disk: d}, d.stages())
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("applying partition: the kernel has not seen that %s has grown", d.root()); got[0] != want {
		t.Errorf("got %q, want %q", got[0], want)
	}
	d.judge(t, tables["MBR"], rootSectors["MBR"])
}

// What cannot grow is left alone, and people see why.
func TestDisk_leavesAloneWhatCannotGrow(t *testing.T) {
	behind := newDisk(t, tables["MBR"]+"start=116736, size=2048, type=83\n", 256)
	full := newDisk(t, "label: dos\nstart=2048, size=16384, type=c\nstart=18432, size=112640, type=83\n", 64)
	none := newDisk(t, tables["MBR"], 64)
	none.mount = t.TempDir()
	output(t, "mount", "-t", "tmpfs", "none", none.mount)
	t.Cleanup(func() { output(t, "umount", none.mount) })
	for name, tc := range map[string]struct {
		disk disk
		want []string
	}{
		"a partition behind": {behind, []string{"waiting partition: " + behind.root() + " stays as large as it is: another partition lies behind it"}},
		"a full disk":        {full, nil},
		"no partition": {none, []string{"waiting partition: " + none.mount + " is on no partition and stays as large as it is",
			"waiting root file system: " + none.mount + " stays as large as it is: it is tmpfs, not ext4"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := output(t, "sfdisk", "--dump", tc.disk.device)
			got, err := events(t, card{t: t, disk: tc.disk}, tc.disk.stages())
			if err != nil || strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("got %q, %v\nwant %q", got, err, tc.want)
			}
			if after := output(t, "sfdisk", "--dump", tc.disk.device); after != before {
				t.Errorf("the table is now\n%s", after)
			}
		})
	}
}
