package fat_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"picluster/imagebuilder/fat"
)

// TestVolume_isRightWhereGoDiskfsIsNot has a row for each fault that was found in
// go-diskfs 1.9.4 (docs/decisions/0003-own-fat.md): the operation that brings it
// out, on each form of volume that it needs, and what has to come of it instead.
// After each row other tools must find the volume in order and nothing else on it
// changed.
func TestVolume_isRightWhereGoDiskfsIsNot(t *testing.T) {
	for _, bug := range diskfsBugs {
		for _, form := range []form{small, large} { // clusters of 1 and of 4 sectors
			t.Run(bug.name+"/"+form.name, func(t *testing.T) {
				t.Parallel()
				f := open(t, newVolumeFile(t, form))
				want := f.tree()
				bug.do(f, want)
				f.expect(want)
				if free := f.freeByFsck(); free != f.Geometry().FreeClusters {
					t.Errorf("%d clusters are free, fsck.vfat counts %d", f.Geometry().FreeClusters, free)
				}
			})
		}
	}
}

var diskfsBugs = []struct {
	name string
	do   func(f *fixture, want tree)
}{
	{"F1 reading ends with the file, not with its cluster", func(f *fixture, want tree) {
		for _, size := range []int{1, 511, 512, 513, 1223, 2047, 2048, 2049} {
			put(fmt.Sprintf("read%d.txt", size), size)(f, want) // reads it back, too
		}
	}},
	{"F2 a full volume ends with its last cluster, not with its table", fillUp},
	{"F3 a directory full of deleted entries can be written", func(f *fixture, want tree) {
		// The last of many is created and replaced once most are gone.
		for i := range 60 {
			put(fmt.Sprintf("overlays/a-temporary-file-of-rsync-%d.Xy12ab", i), 100)(f, want)
		}
		for i := range 60 {
			path := fmt.Sprintf("overlays/a-temporary-file-of-rsync-%d.Xy12ab", i)
			f.remove(path)
			delete(want, path)
		}
		put("overlays/new.dtbo", 3_000)(f, want)
		put("overlays/overlay-device-tree-3.dtbo", 3_000)(f, want)
	}},
	{"F4 an empty file can be filled and read", func(f *fixture, want tree) {
		f.wantContent("ssh", nil)
		put("ssh", 5_000)(f, want)
		put("ssh", 0)(f, want)
		f.wantContent("ssh", nil)
	}},
	{"F5 short names are unique, each name leads to its own file", func(f *fixture, want tree) {
		for i, name := range []string{
			"config.txt_bak", "config.txt", "config.txt~", "w1.dtbo", "w1.dtb", "a+b.txt", "a,b.txt", "a;b.txt", "eight888.text", "eight888.tex",
		} {
			put(name, 700+i)(f, want)
		}
		put("config.txt", 900)(f, want)
		f.uniqueShortNames()
	}},
	{"F6 what is removed or replaced gives its clusters back", func(f *fixture, want tree) {
		before := f.Free()
		put("big.bin", 8_000_000)(f, want)
		put("big.bin", 10)(f, want)
		f.remove("big.bin")
		delete(want, "big.bin")
		if f.Free() != before {
			f.Errorf("%d bytes are free, %d were", f.Free(), before)
		}
	}},
	// fsck.vfat compares the counts of FSInfo with its own after every row.
	{"F7 FSInfo counts on", func(f *fixture, want tree) {
		put("count.bin", 100_000)(f, want)
		f.fsck()
		put("count.bin", 300_000)(f, want)
		f.fsck()
		f.remove("count.bin")
		delete(want, "count.bin")
	}},
	{"F8 the parent of a first directory is 0", func(f *fixture, want tree) {
		for _, dir := range []string{"first", "first/second", "first/second/third"} {
			f.mkdir(dir)
			want[dir] = file{dir: true}
		}
		put("first/second/third/file", 10)(f, want)
	}},
	{"F9 dot files and other alphabets have short names", func(f *fixture, want tree) {
		for _, name := range []string{".bashrc", "..two", ".a.b", "Grüße.txt", "日本語のファイル名.txt", "ÉCOLE"} {
			put(name, 50)(f, want)
		}
		f.uniqueShortNames()
	}},
	{"F10 an edit leaves the boot sector alone", func(f *fixture, want tree) {
		before := f.bootSector()
		put("config.txt", 2_000)(f, want)
		f.mkdir("dir")
		want["dir"] = file{dir: true}
		if !slices.Equal(before, f.bootSector()) {
			f.Error("the boot sector was changed")
		}
	}},
}

// fillUp fills the volume to its last cluster, in files of chance sizes. What
// lies behind the volume is out of reach: [guarded] fails the test.
func fillUp(f *fixture, want tree) {
	chance := rand.New(rand.NewPCG(1, 2))
	for i := 0; ; i++ {
		size := min(f.Free(), 1+chance.Int64N(f.Free()/2+1))
		if g := f.Geometry(); g.FreeClusters <= 4 {
			size = f.Free()
		}
		put(fmt.Sprintf("F%d.BIN", i), int(size))(f, want)
		if f.Free() == 0 {
			break
		}
	}
	before := digest(f, f.path)
	if err := f.WriteFile("ONEMORE.BIN", []byte("x"), written); err == nil || !strings.Contains(err.Error(), fat.ErrFull.Error()) {
		f.Errorf("one more byte: %v", err)
	}
	if digest(f, f.path) != before {
		f.Error("the refused write changed the volume")
	}
}

// uniqueShortNames asks mtools for the short names of the root directory.
func (f *fixture) uniqueShortNames() {
	f.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(run(f, "mdir", "-a", "-i", f.path, "::/")) {
		// "CONFIG~1 TXT       701 2025-11-24  17:03  config.txt_bak"
		if len(line) < 13 || line[0] == ' ' || !strings.Contains(line, "-") || strings.HasPrefix(line, "Directory") {
			continue
		}
		name := line[:12]
		if seen[name] || strings.TrimSpace(name) == "" {
			f.Errorf("short name %q is empty or there twice", name)
		}
		seen[name] = true
	}
	if len(seen) < 10 {
		f.Errorf("mdir lists only %d names", len(seen))
	}
}

func (f *fixture) bootSector() []byte {
	f.Helper()
	file := must(os.Open(f.path))
	defer file.Close()
	sector := make([]byte, 512)
	must(file.ReadAt(sector, 0))
	return sector
}
