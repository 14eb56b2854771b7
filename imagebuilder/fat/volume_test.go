package fat_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"picluster/imagebuilder/fat"
)

// TestEdits_areCleanOnEveryGeneration does what patching a card does, and more,
// to the boot partition of every generation. After each edit other tools must
// find the volume in order, and exactly that edit done.
func TestEdits_areCleanOnEveryGeneration(t *testing.T) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			t.Parallel()
			f := open(t, newVolumeFile(t, form))
			want := f.tree()
			f.expect(want)
			for _, e := range edits {
				e.do(f, want)
				f.expect(want)
				if t.Failed() {
					t.Fatalf("after: %s", e.name)
				}
			}
			if g := f.Geometry(); g.Label != form.label || g.VolumeID != "1234-ABCD" || g.SectorSize != 512 {
				t.Errorf("geometry %+v, want label %q, volume id 1234-ABCD and 512 bytes per sector", g, form.label)
			}
			if free := f.freeByFsck(); free != f.Geometry().FreeClusters {
				t.Errorf("%d clusters are free, fsck.vfat counts %d", f.Geometry().FreeClusters, free)
			}
		})
	}
}

// edits are done one after the other, each changing what is wanted accordingly.
var edits = []struct {
	name string
	do   func(f *fixture, want tree)
}{
	{"replace a file by a longer one", put("config.txt", 5_000)},
	{"replace a file by a shorter one", put("cmdline.txt", 61)},
	{"replace a file by an empty one", put("issue.txt", 0)},
	{"write to an empty file", put("ssh", 7)},
	{"replace a file in a directory full of deleted entries", put("overlays/overlay-device-tree-33.dtbo", 9_999)},
	{"create an empty file", put("ssh.txt", 0)},
	{"create a file of a whole cluster", func(f *fixture, want tree) {
		put("cluster.bin", int(f.Geometry().ClusterSize))(f, want)
	}},
	{"make a directory", func(f *fixture, want tree) {
		f.mkdir("picluster")
		want["picluster"] = file{dir: true}
	}},
	{"make it again", func(f *fixture, want tree) { f.mkdir("/PICLUSTER/") }},
	{"create the files of a card", func(f *fixture, want tree) {
		put("picluster/start.sh", 2_048)(f, want)
		put("picluster/firstboot", 1_000_001)(f, want)
		put("picluster/node.json", 3_333)(f, want)
		put("NODE.txt", 400)(f, want)
	}},
	{"make directories in directories", func(f *fixture, want tree) {
		path := "picluster"
		for _, name := range []string{"payload", "x", "a longer name than eight and three"} {
			path += "/" + name
			f.mkdir(path)
			want[path] = file{dir: true}
			put(path+"/.hidden", 1)(f, want)
		}
	}},
	{"create names that are odd", func(f *fixture, want tree) {
		for _, name := range oddNames {
			put("picluster/payload/"+name, len(name))(f, want)
		}
	}},
	{"let the root directory grow", func(f *fixture, want tree) {
		for i := range 30 {
			put(fmt.Sprintf("a long name that takes many entries, number %d.conf", i), 10*i)(f, want)
		}
	}},
	{"write under a name in other case", func(f *fixture, want tree) {
		put("config.txt", 777)(f, want)
		f.write("CONFIG.TXT", noise("new", 778))
		want["config.txt"] = fileOf(noise("new", 778), written)
	}},
	{"create a file of 25 MB", put("picluster/payload/big.tar", 25_000_000)},
	{"replace it by a small one", put("picluster/payload/big.tar", 1)},
	{"remove files", func(f *fixture, want tree) {
		for _, path := range []string{"kernel8.img", "overlays/overlay-device-tree-34.dtbo", "ssh.txt", "picluster/payload/x/.hidden"} {
			f.remove(path)
			delete(want, path)
		}
	}},
	{"remove a directory", func(f *fixture, want tree) {
		if err := f.Remove("picluster/payload"); err == nil || !strings.Contains(err.Error(), "not empty") {
			f.Errorf("remove a directory that has files: %v", err)
		}
		dir := "picluster/payload/x/a longer name than eight and three"
		f.remove(dir + "/.hidden")
		f.remove(dir)
		delete(want, dir+"/.hidden")
		delete(want, dir)
	}},
	{"create a file where others were removed", put("kernel_2712.img", 1_000_000)},
}

// put is the edit that writes a file of so many bytes.
func put(path string, size int) func(*fixture, tree) {
	return func(f *fixture, want tree) {
		f.Helper()
		data := noise(path+" anew", size)
		f.write(path, data)
		f.wantContent(path, data)
		want[path] = fileOf(data, written)
	}
}

var oddNames = []string{
	"UPPER.TXT", "lower.txt", "Mixed.Txt", "NOEXT", "noext2", "with space.txt", " leading space", "a+b,c;d=e[f].txt",
	".bashrc", "..two", "archive.tar.gz", "many.dots.in.a.name.x", "w1.dtb", "w1.dtbo", "config.txt", "config.txt_bak", "config.txt~",
	"Grüße an Ümläüte.txt", "日本語のファイル名.txt", "ÉCOLE", "école2", "ssh.txt", "wpa_supplicant.conf",
	"$dollar!#%&'()-@^_`{}~.x", "thirteen.char", "fourteen.chars", strings.Repeat("n", 26), strings.Repeat("long", 50) + ".txt",
	"a.b", "a.longextension", "eight888.txt", "ninechars.txt", "X~1", "ABCDEF~1.TXT", "abcdefgh.txt2",
}

// TestWrite_600LongNames fills a directory so that every kind of short name tail
// is needed.
func TestWrite_600LongNames(t *testing.T) {
	t.Parallel()
	f := open(t, newVolumeFile(t, forms[len(forms)-1]))
	want := f.tree()
	f.mkdir("debs")
	want["debs"] = file{dir: true}
	for i := range 600 {
		path := fmt.Sprintf("debs/kubernetes-component_1.37.%d-1.1_arm64.deb", i)
		data := noise(path, i)
		f.write(path, data)
		want[path] = fileOf(data, written)
		if i%150 == 0 {
			f.fsck()
		}
	}
	f.expect(want)
	for i := range 600 {
		if i%3 != 0 {
			path := fmt.Sprintf("debs/kubernetes-component_1.37.%d-1.1_arm64.deb", i)
			f.remove(path)
			delete(want, path)
		}
	}
	f.expect(want)
	before := f.Free()
	for i := range 100 {
		path := fmt.Sprintf("debs/other-component_0.%d_arm64.deb", i)
		f.write(path, nil)
		want[path] = fileOf(nil, written)
	}
	f.expect(want)
	if f.Free() != before {
		t.Errorf("a directory with 400 deleted names took %d bytes more for 100 new ones", before-f.Free())
	}
}

// TestWrite_ofLimitsSaysWhy tries what FAT cannot do.
func TestWrite_ofLimitsSaysWhy(t *testing.T) {
	f := open(t, newVolumeFile(t, small))
	before := digest(t, f.path)
	cases := []struct {
		name, path string
		is         error
		says       string
	}{
		{"no directory", "nowhere/file", fs.ErrNotExist, "write nowhere/file: file does not exist"},
		{"a file as directory", "config.txt/x", nil, "write config.txt/x: is not a directory"},
		{"a directory", "overlays", nil, "write overlays: is a directory"},
		{"the root", "/", nil, "write /: is a directory"},
		{"upwards", "overlays/../config.txt", fs.ErrInvalid, "leads upwards"},
		{"a colon", "a:b", fs.ErrInvalid, "forbids"},
		{"a line feed", "a\nb", fs.ErrInvalid, "forbids"},
		{"not UTF-8", "a\xffb", fs.ErrInvalid, "not UTF-8"},
		{"a dot at the end", "file.", fs.ErrInvalid, "ends with a dot"},
		{"a space at the end", "file ", fs.ErrInvalid, "ends with a dot or a space"},
		{"256 characters", strings.Repeat("x", 256), fs.ErrInvalid, "255"},
		{"another file's short name", "bcm270~1.dtb", fs.ErrExist, `short name of "bcm2700-rpi-0-b-plus.dtb"`},
		{"too deep", strings.Repeat("x/", 200), fs.ErrInvalid, "130 levels"},
	}
	for _, c := range cases {
		err := f.WriteFile(c.path, []byte("x"), written)
		if err == nil || !strings.Contains(err.Error(), c.says) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if roomErr := f.CheckRoom(map[string]int64{c.path: 1}); roomErr == nil && c.is != fs.ErrNotExist {
			t.Errorf("%s: CheckRoom lets it pass", c.name)
		}
	}
	if _, err := f.Stat("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of a missing file: %v", err)
	}
	if err := f.Remove("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("remove a missing file: %v", err)
	}
	if digest(t, f.path) != before {
		t.Error("the volume was changed")
	}
}

// TestStat_agreesWithReadDir looks at the same files in three ways.
func TestStat_agreesWithReadDir(t *testing.T) {
	f := open(t, newVolumeFile(t, small))
	var walked []fat.Info
	if err := f.Walk(func(i fat.Info) error { walked = append(walked, i); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(walked) != len(bootFiles())+1 {
		t.Errorf("Walk calls %d times for %d files and a directory", len(walked), len(bootFiles()))
	}
	for _, i := range walked {
		for _, path := range []string{i.Path, "/" + i.Path, strings.ToUpper(i.Path)} {
			if got := must(f.Stat(path)); got != i {
				t.Errorf("Stat(%q) is %+v, Walk says %+v", path, got, i)
			}
		}
		if want, ok := bootFiles()[i.Path]; !i.Dir && (!ok || i.Size != int64(len(want)) || i.Modified.Unix() != 1_700_000_000) {
			t.Errorf("%+v: want %d bytes of 2023-11-14", i, len(want))
		}
	}
	names := map[string]bool{}
	for _, i := range must(f.ReadDir("/")) {
		names[i.Name] = true
	}
	for path := range maps.Keys(bootFiles()) {
		if name, _, _ := strings.Cut(path, "/"); !names[name] {
			t.Errorf("ReadDir(/) does not list %s", name)
		}
	}
	if root := must(f.Stat("")); !root.Dir || root.Path != "." {
		t.Errorf("the root is %+v", root)
	}
}
