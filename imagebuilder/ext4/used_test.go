package ext4

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// variant is a way to make a file system.
type variant struct {
	name    string
	sizeMiB int
	args    []string
}

// released are the forms that pi-gen gave the root file systems of its images,
// by the options in its history and the defaults of each release's mke2fs.
var released = []variant{
	{"stretch to bullseye 2022", 300, []string{"-b", "4096", "-O", "^64bit,^metadata_csum,^huge_file,uninit_bg"}},
	{"the same without uninit_bg", 40, []string{"-b", "4096", "-g", "2048", "-O", "^64bit,^metadata_csum,^huge_file,^uninit_bg"}},
	{"bullseye 2023 and bookworm", 300, []string{"-b", "4096", "-O", "^64bit,^huge_file,metadata_csum"}},
	{"trixie", 64, []string{"-b", "4096", "-g", "4096", "-O", "^64bit,^huge_file,metadata_csum,metadata_csum_seed,orphan_file"}},
	{"64bit", 64, []string{"-b", "4096", "-g", "4096", "-O", "64bit,metadata_csum"}},
	{"1 KiB blocks", 48, []string{"-b", "1024", "-O", "^64bit,metadata_csum"}},
	{"2 KiB blocks without extents", 48, []string{"-b", "2048", "-g", "2048", "-O", "^64bit,^metadata_csum,^extent,^flex_bg"}},
}

// mixed draws combinations of features, the same ones in every run.
func mixed(n int) []variant {
	random := rand.New(rand.NewPCG(7, 7))
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	var all []variant
	for range n {
		block := pick("1024", "2048", "4096")
		on := func(name string) string { return pick("", "^") + name }
		o := []string{on("64bit"), on("flex_bg"), on("dir_index"), on("huge_file"), on("large_dir"), on("ea_inode")}
		o = append(o, pick("resize_inode,sparse_super", "^resize_inode,sparse_super", "^resize_inode,^sparse_super"))
		switch pick("none", "uninit", "csum", "csum", "seed") {
		case "none":
			o = append(o, "^metadata_csum", "^uninit_bg")
		case "uninit":
			o = append(o, "^metadata_csum", "uninit_bg")
		case "csum":
			o = append(o, "metadata_csum")
		case "seed":
			o = append(o, "metadata_csum", "metadata_csum_seed", "orphan_file")
		}
		switch pick("extent", "inline", "blocks", "super2") {
		case "inline":
			o = append(o, "inline_data")
		case "blocks":
			o = append(o, "^extent", "^64bit")
		case "super2":
			o = append(o, "sparse_super2", "^resize_inode")
		}
		features := strings.Join(o, ",")
		args := []string{"-b", block, "-g", pick("2048", "4096", "8192"), "-I", pick("256", "512"), "-O", features}
		all = append(all, variant{strings.Join(args, " "), 40, args})
	}
	return all
}

func TestFS_agreesWithKernelAndE2fsprogs(t *testing.T) {
	for _, v := range slices.Concat(released, mixed(14)) {
		t.Run(v.name, func(t *testing.T) {
			image := mkfs(t, v.sizeMiB, v.args...)
			dir, unmount := mount(t, image, "rw")
			fill(t, dir)
			want := tree(t, dir)
			f := open(t, image)
			if err := f.CheckClean(); !errors.Is(err, ErrUnclean) {
				t.Errorf("mounted: CheckClean says %v", err)
			}
			if _, err := f.Used(); !errors.Is(err, ErrUnclean) {
				t.Errorf("mounted: Used says %v", err)
			}
			unmount()

			f = open(t, image)
			if err := f.CheckClean(); err != nil {
				t.Errorf("unmounted: %v", err)
			}
			checkNames(t, f, image)
			used, err := f.Used()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := freeBlocks(f, used), dumpe2fsFree(t, image); !slices.Equal(got, want) {
				t.Errorf("%d free ranges, dumpe2fs has %d\n got %v\nwant %v", len(got), len(want), got, want)
			}
			card := stale(t, image, used)
			run(t, "e2fsprogs", "e2fsck", "-fn", card)
			dir, unmount = mount(t, card, "ro")
			if got := tree(t, dir); got != want {
				t.Errorf("on the card:\n%s\nwant\n%s", got, want)
			}
			checkFiles(t, f, dir)
			unmount()
		})
	}
}

// A file system that mke2fs has filled, and no kernel has touched, has bitmaps
// that were never written.
func TestUsed_agreesWithDumpe2fsBeforeTheFirstMount(t *testing.T) {
	for _, v := range released {
		t.Run(v.name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir)
			image := mkfs(t, v.sizeMiB, append(v.args, "-d", dir)...)
			f := open(t, image)
			used, err := f.Used()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := freeBlocks(f, used), dumpe2fsFree(t, image); !slices.Equal(got, want) {
				t.Errorf("free blocks %v, dumpe2fs has %v", got, want)
			}
			checkFiles(t, f, dir)
		})
	}
}

// checkNames compares label, UUID and features with what dumpe2fs says.
func checkNames(t *testing.T, f *FS, image string) {
	t.Helper()
	if f.Label() != testLabel || f.UUID() != testUUID {
		t.Errorf("label %q, UUID %s", f.Label(), f.UUID())
	}
	line := regexp.MustCompile(`(?m)^Filesystem features: +(.*)$`).FindStringSubmatch(run(t, "e2fsprogs", "dumpe2fs", "-h", image))
	want := strings.Fields(line[1])
	slices.Sort(want)
	got := features(f)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("features %v, dumpe2fs says %v", got, want)
	}
}

// compatNames are the features that need not be known.
var compatNames = map[feature]string{
	0x1: "dir_prealloc", 0x2: "imagic_inodes", 0x4: "has_journal", 0x8: "ext_attr", 0x10: "resize_inode",
	0x20: "dir_index", compatSparseSuper2: "sparse_super2", 0x400: "fast_commit", 0x800: "stable_inodes", 0x1000: "orphan_file",
}

// features are the names of the file system's features as e2fsprogs spells them.
func features(f *FS) []string {
	var names []string
	for _, kind := range []struct {
		have  feature
		known map[feature]string
	}{{f.compat, compatNames}, {f.incompat, incompatNames}, {f.roCompat, roCompatNames}} {
		for bit, name := range kind.known {
			if kind.have.has(bit) {
				names = append(names, name)
			}
		}
	}
	return names
}

// blockRange is a range of free blocks, both ends included.
type blockRange struct{ first, last int64 }

// freeBlocks returns what Used leaves out, in blocks.
func freeBlocks(f *FS, used []Extent) []blockRange {
	var free []blockRange
	end := int64(0)
	for _, e := range append(used, Extent{Start: f.size}) {
		if e.Start > end {
			free = append(free, blockRange{end / f.blockSize, e.Start/f.blockSize - 1})
		}
		end = e.Start + e.Length
	}
	return free
}

// dumpe2fsFree returns the free blocks of all groups as dumpe2fs lists them,
// merged across groups.
func dumpe2fsFree(t *testing.T, image string) []blockRange {
	t.Helper()
	var free []blockRange
	for _, line := range regexp.MustCompile(`(?m)^  Free blocks: (.+)$`).FindAllStringSubmatch(run(t, "e2fsprogs", "dumpe2fs", image), -1) {
		for _, r := range strings.Split(line[1], ", ") {
			from, to, isRange := strings.Cut(r, "-")
			if !isRange {
				to = from
			}
			first, err1 := strconv.ParseInt(from, 10, 64)
			last, err2 := strconv.ParseInt(to, 10, 64)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatalf("dumpe2fs: %q: %v", line[0], err)
			}
			if n := len(free); n > 0 && free[n-1].last+1 == first {
				free[n-1].last = last
			} else {
				free = append(free, blockRange{first, last})
			}
		}
	}
	return free
}

func TestUsed_countsWhatLiesBehindTheFileSystem(t *testing.T) {
	image := mkfs(t, 8)
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const behind = 12345
	f, err := Open(file, 8<<20+behind)
	if err != nil {
		t.Fatal(err)
	}
	used, err := f.Used()
	if err != nil {
		t.Fatal(err)
	}
	if last := used[len(used)-1]; last.Start+last.Length != 8<<20+behind || last.Length < behind {
		t.Errorf("the last extent is %+v", last)
	}
}

func TestOpen_refusesWhatItCannotRead(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want error
	}{
		{"meta_bg", []string{"-O", "meta_bg,^resize_inode"}, ErrUnsupported},
		{"bigalloc", []string{"-O", "bigalloc,64bit"}, ErrUnsupported},
		{"mmp", []string{"-O", "mmp"}, ErrUnsupported},
		{"journal_dev", []string{"-b", "4096", "-O", "journal_dev"}, ErrUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file, err := os.Open(mkfs(t, 32, tc.args...))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if _, err := Open(file, 32<<20); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
	image := mkfs(t, 8)
	for _, tc := range []struct {
		name string
		size int64
		want error
	}{
		{"tiny partition", 2047, ErrUnsupported},
		{"partition one byte short", 8<<20 - 1, ErrDamaged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if _, err := Open(file, tc.size); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
	t.Run("no file system", func(t *testing.T) {
		if _, err := Open(strings.NewReader(strings.Repeat("\x00", 4096)), 4096); !errors.Is(err, ErrUnsupported) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("reader ends early", func(t *testing.T) {
		if _, err := Open(strings.NewReader("short"), 1<<20); !errors.Is(err, io.EOF) {
			t.Errorf("error %v", err)
		}
	})
}

func BenchmarkUsed(b *testing.B) {
	f := open(b, mkfs(b, 3000, released[2].args...))
	b.SetBytes(f.size)
	for b.Loop() {
		if _, err := f.Used(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(f.groups), "groups")
}
