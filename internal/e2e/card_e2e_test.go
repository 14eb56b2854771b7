//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab"
)

// desk is a person's directory with a cluster of three and the built programs.
type desk struct {
	program, dir string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{program: filepath.Join(bin, "imagebuilder"), dir: t.TempDir()}
	if _, err := os.Stat(d.program); err != nil {
		t.Fatalf("%v (make build makes it)", err)
	}
	if _, stderr, code := d.run(t, "", "init"); code != 0 {
		t.Fatalf("init: %s", stderr)
	}
	return d
}

func (d *desk) command(args ...string) *exec.Cmd {
	cmd := exec.Command(d.program, args...)
	cmd.Dir = d.dir
	return cmd
}

func (d *desk) run(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := d.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// write writes the next card, which must succeed.
func (d *desk) write(t *testing.T, device, confirm, image string, flags ...string) {
	t.Helper()
	args := append([]string{"write", device, "--yes", "--confirm", confirm, "--image", image}, flags...)
	stdout, stderr, code := d.run(t, "", args...)
	t.Logf("%s%s", stderr, stdout)
	if code != 0 {
		t.Fatalf("write: exit code %d", code)
	}
}

// planned are the files that a card of trixie differs by.
var planned = []string{"NODE.txt", "STATUS.txt", "cmdline.txt", "picluster/firstboot", "picluster/node.json", "picluster/start.sh", "ssh"}

// A card from the vendor's compressed form, onto a card that was used before:
// each file of both partitions is the source's but for the planned ones.
func TestCard_isTheImageAndThePlan(t *testing.T) {
	source := lab.Bootable(t, "trixie")
	info, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	file := usedCard(t, info.Size()+64<<20)
	device := attach(t, file)
	d := newDesk(t)

	// What an earlier owner left is no Pi's: it takes the disk's name.
	if _, stderr, code := d.run(t, "", "write", device, "--yes", "--image", lab.BootableXZ(t, "trixie")); code != 4 || !strings.Contains(stderr, "--confirm "+file) {
		t.Fatalf("written without its name: exit code %d\n%s", code, stderr)
	}
	d.write(t, device, file, lab.BootableXZ(t, "trixie"))

	if out, err := exec.Command("sfdisk", "--verify", device).CombinedOutput(); err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("sfdisk --verify: %v\n%s", err, out)
	}
	boots, roots := extract(t, source), extract(t, file)
	if out, err := exec.Command("fsck.vfat", "-n", roots.boot).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
	if out, err := exec.Command("e2fsck", "-fn", roots.root).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	if got := differences(t, copyFAT(t, boots.boot), copyFAT(t, roots.boot)); !slices.Equal(got, planned) {
		t.Errorf("on the boot partition %q differ, planned are %q", got, planned)
	}
	a, b := mount(t, boots.root, "ro,loop,noload"), mount(t, roots.root, "ro,loop,noload")
	if got := differences(t, a, b); len(got) > 0 {
		t.Errorf("on the root partition differ: %q", got)
	}
	// Nothing of an older table is left at the end.
	end := make([]byte, 1<<20)
	readAt(t, file, end, info.Size()+63<<20)
	if len(bytes.Trim(end, "\x00")) > 0 {
		t.Error("the last mebibyte is not cleared")
	}
}

func TestVerify_findsOneFlippedByte(t *testing.T) {
	source := lab.Bootable(t, "trixie")
	info, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	file := usedCard(t, info.Size())
	device := attach(t, file)
	d := newDesk(t)
	d.write(t, device, file, source, "--verify=off")
	if stdout, stderr, code := d.run(t, "", "verify", device); code != 0 {
		t.Fatalf("verify right after: exit code %d\n%s%s", code, stdout, stderr)
	}
	// A byte of the root file system's first superblock: surely in use.
	table := strings.Split(run(t, "sfdisk", "--dump", device), "\n")
	at := startOf(t, table[len(table)-2]) + 1024 + 80
	b := make([]byte, 1)
	readAt(t, device, b, at)
	b[0] ^= 1
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := d.run(t, "", "verify", device); code != 3 || !strings.Contains(stderr, "differs from what was written in 1 piece") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

func TestWrite_refusesACardThatWrapsAround(t *testing.T) {
	file := wrapping(t, "64000000000", "8589934592")
	device := attach(t, file)
	before := make([]byte, 1<<20)
	readAt(t, device, before, 0)
	d := newDesk(t)
	_, stderr, code := d.run(t, "", "write", device, "--yes", "--image", lab.Image(t, lab.Layout{Release: "trixie"}))
	if code != 5 || !strings.Contains(stderr, "a counterfeit or broken card") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	after := make([]byte, 1<<20)
	readAt(t, device, after, 0)
	if !bytes.Equal(before, after) {
		t.Error("the refused card was changed")
	}
}

func TestWrite_refusesAMountedDisk(t *testing.T) {
	file := lab.Card(t, lab.Image(t, lab.Layout{Release: "trixie"}), 0)
	device := attach(t, file)
	partition(t, device)
	mount(t, device+"p2", "ro,noload")
	d := newDesk(t)
	_, stderr, code := d.run(t, "", "write", device, "--yes", "--image", lab.Image(t, lab.Layout{Release: "trixie"}))
	if code != 4 || !strings.Contains(stderr, device+"p2 is mounted at") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if _, stderr, code := d.run(t, "", "write", device+"p1", "--yes", "--image", lab.Image(t, lab.Layout{Release: "trixie"})); code != 4 || !strings.Contains(stderr, "is a partition") {
		t.Errorf("partition: exit code %d\n%s", code, stderr)
	}
}

// Power fails while a card is written: there is no partition table, so the Pi
// does not even begin.
func TestWrite_killedLeavesNoPartitionTable(t *testing.T) {
	source := lab.Bootable(t, "trixie")
	file := lab.Card(t, source, 0) // the card of another cluster, which boots
	device := attach(t, file)
	d := newDesk(t)
	cmd := d.command("write", device, "--yes", "--image", source)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	waitForCleared(t, file)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatalf("it ended before it could be killed: %v", err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("writing ended before the kill: nothing was shown")
	}
	if out, err := exec.Command("sfdisk", "--dump", device).CombinedOutput(); err == nil {
		t.Errorf("there is a partition table:\n%s", out)
	}
	sector := make([]byte, 512)
	readAt(t, device, sector, 0)
	if len(bytes.Trim(sector, "\x00")) > 0 {
		t.Error("the first sector is not empty")
	}
	// Writing it again makes it whole; the person need not say anything special.
	d.write(t, device, "", source)
	if !strings.Contains(run(t, "sfdisk", "--dump", device), "start=") {
		t.Error("after writing again there is no partition table")
	}
}

// waitForCleared waits until the first sector is gone: writing has begun.
func waitForCleared(t *testing.T, file string) {
	t.Helper()
	sector := make([]byte, 512)
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		readAt(t, file, sector, 0)
		if len(bytes.Trim(sector, "\x00")) == 0 {
			return
		}
	}
	t.Fatal("the first sector is never cleared")
}

func readAt(t *testing.T, path string, p []byte, off int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(io.NewSectionReader(f, off, int64(len(p))), p); err != nil {
		t.Fatal(err)
	}
}

// differences lists the files that are not the same below two directories, or
// are only in one of them, by their paths.
func differences(t *testing.T, a, b string) []string {
	t.Helper()
	files := map[string]bool{}
	for _, root := range []string{a, b} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				files[strings.TrimPrefix(path, root+"/")] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 10 {
		t.Fatalf("there are only %d files", len(files))
	}
	var all []string
	for name := range files {
		if !same(filepath.Join(a, name), filepath.Join(b, name)) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func same(a, b string) bool {
	x, errX := os.Lstat(a)
	y, errY := os.Lstat(b)
	if errX != nil || errY != nil || x.Mode() != y.Mode() || x.Size() != y.Size() || !x.ModTime().Equal(y.ModTime()) {
		return false
	}
	switch {
	case x.Mode()&fs.ModeSymlink != 0:
		p, _ := os.Readlink(a)
		q, _ := os.Readlink(b)
		return p == q
	case x.Mode().IsRegular():
		p, errP := os.ReadFile(a)
		q, errQ := os.ReadFile(b)
		return errP == nil && errQ == nil && bytes.Equal(p, q)
	}
	return true
}
