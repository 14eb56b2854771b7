package card

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"picluster/imagebuilder/image"
)

// Where the partitions of a drawn image are, in bytes.
const (
	drawnBoot     = 1 << 20
	drawnBootSize = 40 << 20
	drawnRoot     = drawnBoot + drawnBootSize
	drawnRootSize = 40 << 20
	drawnSize     = drawnRoot + drawnRootSize
)

// draw makes an image with file systems of drawn options, filled and thinned out. It
// returns the options, and whether the ext4 is one that only its owner understands.
func draw(t *testing.T, random *rand.Rand, path string) (options string, odd bool) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, drawnSize); err != nil {
		t.Fatal(err)
	}
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	table := fmt.Sprintf("unit: sectors\nlabel: dos\nstart=%d, size=%d, type=c\nstart=%d, size=%d, type=83\n",
		drawnBoot/512, drawnBootSize/512, drawnRoot/512, drawnRootSize/512)
	command(t, table, "sfdisk", "--quiet", path)

	fat := []string{"-F", "32", "-s", "1", "-f", pick("1", "2"), "-R", pick("8", "32", "100"), "-n", "bootfs",
		"--offset", fmt.Sprint(drawnBoot / 512), path, fmt.Sprint(drawnBootSize / 1024)}
	command(t, "", "mkfs.vfat", fat...)

	on := func(name string) string { return pick("", "^") + name }
	o := []string{on("64bit"), on("flex_bg"), on("dir_index"), on("huge_file"), on("has_journal"),
		pick("resize_inode,sparse_super", "^resize_inode,sparse_super", "^resize_inode,^sparse_super"),
		pick("^metadata_csum,^uninit_bg", "^metadata_csum,uninit_bg", "metadata_csum", "metadata_csum,metadata_csum_seed,orphan_file,has_journal")}
	switch pick("extent", "inline", "blocks", "super2", "extent", "bigalloc") {
	case "inline":
		o = append(o, "inline_data")
	case "blocks":
		o = append(o, "^extent", "^64bit")
	case "super2":
		o = append(o, "sparse_super2", "^resize_inode")
	case "bigalloc":
		o, odd = []string{"bigalloc", "^resize_inode"}, true
	}
	args := []string{"-q", "-F", "-t", "ext4", "-b", pick("1024", "2048", "4096"), "-O", strings.Join(o, ","),
		"-I", pick("256", "512"), "-m", pick("0", "5"), "-E", fmt.Sprintf("offset=%d,lazy_itable_init=%s", drawnRoot, pick("0", "1"))}
	if !odd {
		args = append(args, "-g", pick("2048", "4096", "8192"))
	}
	command(t, "", "mkfs.ext4", append(args, path, fmt.Sprintf("%dk", drawnRootSize>>10))...)
	fillDrawn(t, random, path)
	return strings.Join(append(fat, args...), " "), odd
}

// fillDrawn puts files of all sizes on both partitions, and takes some away.
func fillDrawn(t *testing.T, random *rand.Rand, path string) {
	t.Helper()
	files := t.TempDir()
	for i := range 40 {
		data := make([]byte, random.IntN(1<<(4+random.IntN(16))))
		if i%3 > 0 { // others are zeros, which are data too
			for j := range data {
				data[j] = byte(random.Uint32())
			}
		}
		if err := os.WriteFile(filepath.Join(files, fmt.Sprintf("a file with number %d", i)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	volume := fmt.Sprintf("%s@@%d", path, drawnBoot)
	command(t, "", "mcopy", "-s", "-i", volume, files, "::all")
	command(t, "", "mdel", "-i", volume, "::all/a file with number 1*")

	root := mountAt(t, path, "rw")
	command(t, "", "cp", "-r", files, filepath.Join(root.dir, "all"))
	for i := range 200 {
		if err := os.WriteFile(filepath.Join(root.dir, fmt.Sprintf("small-%d", i)), []byte(strings.Repeat("x", i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "", "sync", "-f", root.dir)
	for i := 0; i < 40; i += 2 {
		if err := os.Remove(filepath.Join(root.dir, "all", fmt.Sprintf("a file with number %d", i))); err != nil {
			t.Fatal(err)
		}
	}
	root.unmount()
}

// mounted is a root partition that the kernel has mounted.
type mounted struct {
	dir     string
	unmount func()
}

func mountAt(t *testing.T, path, options string) mounted {
	t.Helper()
	m := mounted{dir: t.TempDir()}
	command(t, "", "mount", "-o", fmt.Sprintf("%s,loop,offset=%d,sizelimit=%d", options, drawnRoot, drawnRootSize), path, m.dir)
	over := false
	m.unmount = func() {
		if !over {
			over = true
			command(t, "", "umount", m.dir)
		}
	}
	t.Cleanup(m.unmount)
	return m
}

// command runs a program that must succeed and returns what it prints.
func command(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v (make setup installs what tests need)\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// contents describes every file of both partitions: mtools reads one, the kernel the
// other.
func contents(t *testing.T, path string) string {
	t.Helper()
	boot := t.TempDir()
	command(t, "", "mcopy", "-s", "-n", "-i", fmt.Sprintf("%s@@%d", path, drawnBoot), "::*", boot)
	root := mountAt(t, path, "ro,noload")
	defer root.unmount()
	var b strings.Builder
	for _, dir := range []string{boot, root.dir} {
		err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(file)
			fmt.Fprintf(&b, "%s %d %x\n", strings.TrimPrefix(file, dir), len(data), sha256.Sum256(data))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// Whatever mkfs makes of an image, on a card full of noise its files are the same,
// by the word of the kernel, mtools and both checkers.
func TestWrite_drawnFileSystemsComeOutTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(50, 50))
	left := 0
	for i := range 50 {
		dir := t.TempDir()
		source := filepath.Join(dir, "source.img")
		options, odd := draw(t, random, source)
		card := filepath.Join(dir, "card.img")
		noise := make([]byte, drawnSize+2<<20)
		rand.NewChaCha8([32]byte{byte(i)}).Read(noise)
		if err := os.WriteFile(card, noise, 0o600); err != nil {
			t.Fatal(err)
		}
		report := writeDrawn(t, source, card)
		if odd {
			left++
		}
		if whole := report.Used >= drawnRootSize+drawnBoot; whole != odd {
			t.Errorf("%s: %d bytes were written", options, report.Used)
		}
		if got, want := contents(t, card), contents(t, source); got != want || strings.Count(want, "\n") < 200 {
			t.Errorf("%s: on the card:\n%s\nwant\n%s", options, got, want)
		}
		checkDrawn(t, card)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if left == 0 || left > 25 {
		t.Errorf("%d of 50 are of a kind that is written whole", left)
	}
}

func writeDrawn(t *testing.T, source, card string) *Report {
	t.Helper()
	data, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Find(card)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Write(context.Background(), d, image.NewOverlay(bytes.NewReader(data), drawnSize), Options{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// checkDrawn has both checkers look at the card's partitions.
func checkDrawn(t *testing.T, card string) {
	t.Helper()
	data, err := os.ReadFile(card)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		start, size int
		check       []string
	}{{drawnBoot, drawnBootSize, []string{"fsck.vfat", "-n"}}, {drawnRoot, drawnRootSize, []string{"e2fsck", "-fn"}}} {
		volume := card + ".volume"
		if err := os.WriteFile(volume, data[c.start:c.start+c.size], 0o600); err != nil {
			t.Fatal(err)
		}
		command(t, "", c.check[0], append(c.check[1:], volume)...)
	}
}

// A file system that is not understood is written by the block map, if there is one.
func TestWrite_byABlockMapWhereNothingElseTells(t *testing.T) {
	img := drawnUnknown(t)
	if Understands(img) {
		t.Fatal("it is understood")
	}
	mapped := []image.Extent{{Start: 0, Length: drawnRoot + 1<<20}, {Start: drawnRoot + 20<<20, Length: 3 << 20}}
	d := staleFile(t, drawnSize)
	report, err := Write(context.Background(), d, img, Options{Verify: true, Mapped: mapped})
	if err != nil {
		t.Fatal(err)
	}
	// The FAT tells itself, so that less than its part of the map is written.
	if report.Used > drawnBoot+8<<20 || report.Used < 4<<20 {
		t.Errorf("%d bytes were written", report.Used)
	}
	sameAsImage(t, d.Path, img, []image.Extent{{Start: 0, Length: drawnBoot}, {Start: drawnRoot, Length: 1 << 20}, mapped[1]})
}

// drawnUnknown is an image whose root partition is noise.
func drawnUnknown(t *testing.T) *image.Overlay {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source.img")
	draw(t, rand.New(rand.NewPCG(1, 2)), path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rand.NewChaCha8([32]byte{9}).Read(data[drawnRoot:])
	return image.NewOverlay(bytes.NewReader(data), drawnSize)
}
