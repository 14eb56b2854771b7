package fat_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/imagebuilder/fat"
	"picluster/internal/lab/tool"
)

const mib = 1 << 20

// written is the time that tests give to what they write: odd seconds, which FAT
// does not have.
var written = time.Date(2025, 11, 24, 17, 3, 7, 0, time.UTC)

// form is a volume as pi-gen's mkfs.vfat makes it.
type form struct {
	name  string
	size  int64
	label string
	mkfs  []string
}

// forms are the boot partitions of all generations. Those of stretch have twice
// the size of what is in them, and no room for a cluster size of 4 sectors.
var forms = []form{
	{"stretch", 43 * mib, "boot", nil},
	{"buster", 256 * mib, "boot", nil},
	{"bullseye", 256 * mib, "bootfs", []string{"-s", "4"}},
	{"bookworm", 512 * mib, "bootfs", []string{"-s", "4"}},
	{"trixie", 512 * mib, "bootfs", []string{"-s", "1"}},
}

// small and large are the smallest volumes that mtools takes for FAT32, with
// clusters of one sector and of four.
var (
	small = form{"small", 34 * mib, "boot", []string{"-s", "1"}}
	large = form{"large", 132 * mib, "bootfs", []string{"-s", "4"}}
)

func (f form) String() string { return f.name }

// run runs a program of mtools or dosfstools.
func run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := tool.Cmd{Args: args, Env: []string{"MTOOLS_SKIP_CHECK=1", "SOURCE_DATE_EPOCH=1700000000"}}.Output(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

// scratch is a directory of all tests of the package, for what is made once.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fat-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// bootFiles are the files of a boot partition, with sizes scaled down.
var bootFiles = sync.OnceValue(func() map[string][]byte {
	files := map[string][]byte{
		"bootcode.bin":       noise("bootcode.bin", 52_460),
		"start4.elf":         noise("start4.elf", 253_000),
		"fixup4.dat":         noise("fixup4.dat", 5_448),
		"kernel8.img":        noise("kernel8.img", 1_300_001),
		"config.txt":         noise("config.txt", 1_223),
		"cmdline.txt":        []byte("console=serial0,115200 console=tty1 root=PARTUUID=12345678-02 rootwait resize\n"),
		"COPYING.linux":      noise("COPYING.linux", 18_693),
		"LICENCE.broadcom":   noise("LICENCE.broadcom", 1_494),
		"issue.txt":          []byte("Raspberry Pi reference 2025-10-01\n"),
		"ssh":                {},
		"overlays/README":    noise("README", 27_001),
		"overlays/empty.dtb": {},
	}
	for i := range 12 {
		name := fmt.Sprintf("bcm27%02d-rpi-%d-b-plus.dtb", i, i%5)
		files[name] = noise(name, 3_300+i*257)
	}
	for i := range 40 {
		name := fmt.Sprintf("overlays/overlay-device-tree-%d.dtbo", i)
		files[name] = noise(name, 500+i*37)
	}
	return files
})

// noise is n bytes that depend on the name only.
func noise(name string, n int) []byte {
	state := sha256.Sum256([]byte(name))
	out := make([]byte, 0, n+len(state))
	for len(out) < n {
		out = append(out, state[:]...)
		state = sha256.Sum256(state[:])
	}
	return out[:n]
}

// bases makes each form's volume once.
var bases sync.Map

// newVolumeFile returns the path of a volume of that form with boot files on it.
func newVolumeFile(t testing.TB, f form) string {
	t.Helper()
	base, _ := bases.LoadOrStore(f.name, sync.OnceValue(func() string { return makeBase(t, f) }))
	path := filepath.Join(t.TempDir(), f.name+".img")
	copySparse(t, base.(func() string)(), path)
	return path
}

// makeBase makes a volume and fills it as pi-gen's rsync does: each file is
// written under another name first, so that the directories are full of deleted
// entries, the clusters of which are free between those of files.
func makeBase(t testing.TB, f form) string {
	dir := filepath.Join(scratch, f.name)
	img := dir + ".img"
	mkfs(t, img, f.size, append([]string{"-n", f.label}, f.mkfs...)...)
	for name, data := range bootFiles() {
		temp := filepath.Join(dir, filepath.Dir(name), fmt.Sprintf(".%s.Xy%04d", filepath.Base(name), len(data)%10_000))
		writeHost(t, filepath.Join(dir, name), data)
		writeHost(t, temp, data[:len(data)/3])
	}
	run(t, "mmd", "-i", img, "::overlays")
	for _, sub := range []string{"", "overlays/"} {
		args := []string{"mcopy", "-i", img}
		for _, name := range slices.Sorted(maps.Keys(bootFiles())) {
			if filepath.Dir(sub+"x") != filepath.Dir(name) {
				continue
			}
			temp, err := filepath.Glob(filepath.Join(dir, sub, "."+filepath.Base(name)+".Xy*"))
			if err != nil || len(temp) != 1 {
				t.Fatalf("find the temporary form of %s: %v %v", name, temp, err)
			}
			args = append(args, temp[0], filepath.Join(dir, name))
		}
		run(t, append(args, "::"+sub)...)
		run(t, "mdel", "-i", img, "::"+sub+".*.Xy????")
	}
	return img
}

// mkfs makes an empty FAT32 volume in a sparse file.
func mkfs(t testing.TB, path string, size int64, options ...string) {
	t.Helper()
	writeHost(t, path, nil)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	run(t, append(append([]string{"mkfs.vfat", "-F", "32", "--invariant"}, options...), path)...)
}

func writeHost(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func copySparse(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", from, err, out)
	}
}

// guarded presents a file as the part of a larger disk that starts at start, and
// fails the test on whatever is not whole sectors inside of that part.
type guarded struct {
	t     testing.TB
	file  interface{ fat.Device }
	start int64
	size  int64
}

// volumeStart is where tests have their volume on the disk.
const volumeStart = 8 * mib

func (g *guarded) ReadAt(p []byte, off int64) (int, error) {
	g.check("read", len(p), off)
	return g.file.ReadAt(p, off-g.start)
}

func (g *guarded) WriteAt(p []byte, off int64) (int, error) {
	g.check("write", len(p), off)
	return g.file.WriteAt(p, off-g.start)
}

func (g *guarded) check(what string, n int, off int64) {
	g.t.Helper()
	if off < g.start || off+int64(n) > g.start+g.size {
		g.t.Fatalf("%s of %d bytes at %d is outside the volume (%d bytes at %d)", what, n, off, g.size, g.start)
	}
	if n%512 != 0 || (off-g.start)%512 != 0 {
		g.t.Fatalf("%s of %d bytes at %d is not of whole sectors", what, n, off)
	}
}

// fixture is a volume in a file, seen through our code and through other tools.
type fixture struct {
	testing.TB
	path string
	*fat.Volume
}

// open opens the volume in a file.
func open(t testing.TB, path string) *fixture {
	t.Helper()
	v, err := tryOpen(t, path)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t, path, v}
}

func tryOpen(t testing.TB, path string) (*fat.Volume, error) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return fat.Open(&guarded{t, file, volumeStart, info.Size()}, volumeStart, info.Size())
}

// write writes a file with our code and fails the test if that fails.
func (f *fixture) write(path string, data []byte) {
	f.Helper()
	if err := f.WriteFile(path, data, written); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) mkdir(path string) {
	f.Helper()
	if err := f.Mkdir(path, written); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) remove(path string) {
	f.Helper()
	if err := f.Remove(path); err != nil {
		f.Fatal(err)
	}
}

// fsck fails the test unless fsck.vfat has nothing at all to say.
func (f *fixture) fsck() {
	f.Helper()
	for line := range strings.Lines(run(f, "fsck.vfat", "-n", f.path)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "fsck.fat ") && !strings.HasPrefix(line, f.path+": ") {
			f.Errorf("fsck.vfat: %s", line)
		}
	}
}

// file is what counts of a file or directory.
type file struct {
	dir      bool
	size     int64
	sha256   [32]byte
	modified time.Time // not of directories: mcopy does not keep it
}

func fileOf(data []byte, modified time.Time) file {
	return file{size: int64(len(data)), sha256: sha256.Sum256(data), modified: modified.Truncate(2 * time.Second)}
}

type tree map[string]file

// tree returns everything on the volume, as mtools sees it.
func (f *fixture) tree() tree {
	f.Helper()
	dir, err := os.MkdirTemp(f.TempDir(), "tree-")
	if err != nil {
		f.Fatal(err)
	}
	defer os.RemoveAll(dir)
	run(f, "mcopy", "-s", "-n", "-m", "-i", f.path, "::/", dir)
	all := tree{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, info := strings.TrimPrefix(path, dir+"/"), must(d.Info())
		if d.IsDir() {
			all[name] = file{dir: true}
			return nil
		}
		data, err := os.ReadFile(path)
		all[name] = fileOf(data, info.ModTime().UTC())
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	return all
}

// ownTree returns everything on the volume as our code sees it.
func ownTree(t testing.TB, v *fat.Volume) tree {
	t.Helper()
	all := tree{}
	err := v.Walk(func(i fat.Info) error {
		if i.Dir {
			all[i.Path] = file{dir: true}
			return nil
		}
		data, err := v.ReadFile(i.Path)
		all[i.Path] = fileOf(data, i.Modified)
		if int64(len(data)) != i.Size {
			t.Errorf("%s: %d bytes read, Walk says %d", i.Path, len(data), i.Size)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// expect fails the test unless fsck.vfat is content and exactly these files are
// on the volume, for mtools, for our open volume, and for one opened anew.
func (f *fixture) expect(want tree) {
	f.Helper()
	f.fsck()
	diffTrees(f, "mtools", f.tree(), want)
	diffTrees(f, "this volume", ownTree(f, f.Volume), want)
	again := open(f, f.path)
	diffTrees(f, "the volume opened anew", ownTree(f, again.Volume), want)
	if again.Geometry() != f.Geometry() {
		f.Errorf("opened anew, the geometry is %+v, was %+v", again.Geometry(), f.Geometry())
	}
}

func diffTrees(t testing.TB, who string, got, want tree) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if g, ok := got[path]; !ok {
			t.Errorf("%s does not see %q", who, path)
		} else if g != want[path] {
			t.Errorf("%s sees %q as %s, want %s", who, path, g, want[path])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[path]; !ok {
			t.Errorf("%s sees %q, which should not be there", who, path)
		}
	}
}

func (f file) String() string {
	return fmt.Sprintf("{dir %t, %d bytes, %x, %s}", f.dir, f.size, f.sha256[:4], f.modified.Format(time.DateTime))
}

// mtype returns the content of a file as mtools reads it.
func (f *fixture) mtype(path string) []byte {
	f.Helper()
	return []byte(run(f, "mtype", "-i", f.path, "::"+strings.NewReplacer("[", `\[`, `]`, `\]`).Replace(path)))
}

// wantContent fails the test unless mtools and our code both read data.
func (f *fixture) wantContent(path string, data []byte) {
	f.Helper()
	if got := f.mtype(path); !bytes.Equal(got, data) {
		f.Errorf("mtype %s: %d bytes, not the %d written", path, len(got), len(data))
	}
	if got := must(f.ReadFile(path)); !bytes.Equal(got, data) {
		f.Errorf("read %s: %d bytes, not the %d written", path, len(got), len(data))
	}
}

// freeByFsck returns the number of free clusters that fsck.vfat counts.
func (f *fixture) freeByFsck() int64 {
	f.Helper()
	out := run(f, "fsck.vfat", "-n", f.path)
	_, counts, ok := strings.Cut(out, " files, ")
	used, total, slash := strings.Cut(strings.TrimSuffix(strings.TrimSpace(counts), " clusters"), "/")
	if !ok || !slash {
		f.Fatalf("fsck.vfat prints no counts: %s", out)
	}
	return must(strconv.ParseInt(total, 10, 64)) - must(strconv.ParseInt(used, 10, 64))
}

// digest is the hash of a whole file, to show that nothing was written to it.
func digest(t testing.TB, path string) [32]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
