package ext4

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// run runs a program that makes or judges file systems and returns what it
// prints. A missing program fails the test with the name of its package.
func run(t testing.TB, debianPackage, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Fatalf("%v: install the Debian package %s", err, debianPackage)
		}
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

const (
	testUUID  = "5f0a6d6e-8a3c-4b5e-9d0a-2f6f5f1f0b11"
	testLabel = "rootfs"
)

// mkfs makes an ext4 file system in a file of size MiB.
func mkfs(t testing.TB, sizeMiB int, args ...string) (image string) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "root.ext4")
	all := append([]string{"-q", "-t", "ext4", "-T", "default", "-L", testLabel, "-U", testUUID, "-E", "hash_seed=" + testUUID}, args...)
	run(t, "e2fsprogs", "mkfs.ext4", append(all, image, fmt.Sprintf("%dM", sizeMiB))...)
	return image
}

// mount lets the kernel mount the image, which takes root and a loop device.
func mount(t testing.TB, image, options string) (dir string, unmount func()) {
	t.Helper()
	dir = t.TempDir()
	run(t, "mount", "mount", "-t", "ext4", "-o", "loop,"+options, image, dir)
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			run(t, "mount", "umount", dir)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// osRelease is a file that recognising an image needs.
const osRelease = "ID=debian\nVERSION_CODENAME=trixie\n"

// fill puts files of every kind into a mounted file system, and deletes some,
// so that free blocks hold old data and files are in pieces.
func fill(t testing.TB, root string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	random := rand.NewChaCha8([32]byte{1})
	noise := func(n int) []byte { b := make([]byte, n); random.Read(b); return b }
	write := func(name string, data []byte) {
		t.Helper()
		must(os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(os.WriteFile(filepath.Join(root, name), data, 0o644))
	}
	link := func(target, name string) { t.Helper(); must(os.Symlink(target, filepath.Join(root, name))) }

	write("old", noise(6<<20))
	write("usr/lib/os-release", []byte(osRelease))
	write("etc/fstab", []byte("proc /proc proc defaults 0 0\n"))
	write("etc/empty", nil)
	write("etc/one", []byte("1"))
	for _, n := range []int{59, 60, 61, 100, 160} { // around what fits into an inode
		write(fmt.Sprintf("small/%d", n), noise(n))
	}
	link("../usr/lib/os-release", "etc/os-release")
	link("/usr/lib/os-release", "etc/absolute")
	link("usr/lib", "lib")
	link(strings.Repeat("./", 100)+"usr/lib/os-release", "long")
	link("../../../../lib/os-release", "etc/above-the-root")
	link("circle", "circle")
	link("nowhere", "dangling")

	must(unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	write("allocated", []byte("start"))
	// Without extents there is no space that was never written, and posix_fallocate
	// (-x) writes zeros.
	run(t, "util-linux", "fallocate", "-x", "-l", "300K", filepath.Join(root, "allocated"))

	f, err := os.Create(filepath.Join(root, "pieces")) // one extent for each
	must(err)
	for i := range int64(250) {
		_, err := f.WriteAt(noise(700), i*4096+100)
		must(err)
	}
	must(f.Close())

	unix.Sync()
	must(os.Remove(filepath.Join(root, "old")))
	write("large", noise(MaxFile))
	write("larger", noise(MaxFile+1))
	fillDirectory(t, filepath.Join(root, "many"))
}

// fillDirectory makes a directory so large that it gets an index, and thins it
// out.
func fillDirectory(t testing.TB, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return fmt.Sprintf("%s/%s-%d", dir, strings.Repeat("n", 60), i) }
	for i := range 900 {
		if err := os.WriteFile(name(i), []byte(fmt.Sprint(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < 900; i += 3 {
		if err := os.Remove(name(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// tree describes every file below root by mode, size and content.
func tree(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := ""
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%x", sha256.Sum256(data))
		case fs.ModeSymlink:
			if what, err = os.Readlink(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&b, "%s %s %d %s\n", strings.TrimPrefix(path, root), info.Mode(), info.Size(), what)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// open opens an image with our own code.
func open(t testing.TB, image string) *FS {
	t.Helper()
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// stale returns a copy of the image in which everything that Used leaves out is
// something else: what a card holds that was in use before.
func stale(t testing.TB, image string, used []Extent) string {
	t.Helper()
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	old := bytes.Repeat([]byte("stale \xff\x01"), 1<<17)
	end := int64(0)
	for _, e := range append(used, Extent{int64(len(data)), 0}) {
		for gap := data[end:e.Start]; len(gap) > 0; {
			gap = gap[copy(gap, old):]
		}
		end = e.Start + e.Length
	}
	target := filepath.Join(t.TempDir(), "card.ext4")
	if err := os.WriteFile(target, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return target
}
