package fat_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/imagebuilder/fat"
)

// tinySize is as small as mkfs.vfat makes FAT32: small enough for two bytes to
// name any place on it.
const tinySize = 64 << 10

// memory is a disk with a volume in the middle. Whatever is read or written
// outside of the volume, or is not of whole sectors, fails the test.
type memory struct {
	t    testing.TB
	data []byte
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.check(p, off)
	return copy(p, m.data[off-volumeStart:]), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.check(p, off)
	return copy(m.data[off-volumeStart:], p), nil
}

func (m *memory) check(p []byte, off int64) {
	if off < volumeStart || off+int64(len(p)) > volumeStart+tinySize {
		m.t.Fatalf("%d bytes at %d are outside the volume", len(p), off-volumeStart)
	}
	if len(p)%512 != 0 || off%512 != 0 {
		m.t.Fatalf("%d bytes at %d are not whole sectors", len(p), off-volumeStart)
	}
}

// makeTiny is a volume with files, long names, a directory and deleted entries.
func makeTiny(t testing.TB) []byte {
	path := filepath.Join(t.TempDir(), "tiny.img")
	mkfs(t, path, tinySize, "-s", "1", "-n", "BOOT")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v, err := fat.Open(&memory{t, data}, volumeStart, tinySize)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		v.WriteFile("cmdline.txt", noise("cmdline.txt", 150), written),
		v.WriteFile("a temporary file.txt", noise("temporary", 2_000), written),
		v.WriteFile("config.txt", noise("config.txt", 1_223), written),
		v.WriteFile("ssh", nil, written),
		v.Mkdir("overlays", written),
		v.WriteFile("overlays/a device tree overlay.dtbo", noise("overlay", 700), written),
		v.WriteFile("overlays/README", noise("README", 600), written),
		v.Remove("a temporary file.txt"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// damage puts bytes into a copy of the volume: each two bytes of where and one
// of what.
func damage(volume, where []byte) []byte {
	volume = bytes.Clone(volume)
	for ; len(where) >= 3; where = where[3:] {
		volume[binary.LittleEndian.Uint16(where)] = where[2]
	}
	return volume
}

// at is one damaged byte, for the seeds.
func at(offset int, b byte) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(offset)), b)
}

// FuzzVolume damages a volume anywhere. Nothing may panic, hang, or leave the
// volume. One that Open takes in spite of it must stay in order through every
// edit, be read back, and keep the files that no edit is about.
func FuzzVolume(f *testing.F) {
	volume := makeTiny(f)
	const table, copied, root = 32 * 512, 33 * 512, 34 * 512
	for _, seed := range [][]byte{
		nil,
		at(13, 0), at(14, 0), at(16, 3), at(36, 0xff), at(44, 200), at(48, 9), // boot sector
		at(table+4*3, 3), // a chain that ends in itself
		bytes.Join([][]byte{at(table+12, 3), at(copied+12, 3)}, nil), // in both copies
		at(root+32, 0xe5), at(root+64+26, 0xff), at(root+64+28, 0), at(root+64+11, 0x10),
		at(1*512+488, 1), at(65, 1), at(table+7, 0),
	} {
		f.Add(seed, "config.txt", []byte("arm_64bit=1\n"))
	}
	f.Add([]byte(nil), "overlays/日本語 x.txt", make([]byte, 3_000))
	f.Add([]byte(nil), "CMDLIN~1.TXT", []byte{})
	f.Fuzz(func(t *testing.T, where []byte, path string, content []byte) {
		disk := &memory{t, damage(volume, where)}
		if v, err := fat.OpenReadOnly(disk, volumeStart, tinySize); err == nil {
			lookAt(v)
		}
		untouched := bytes.Clone(disk.data)
		v, err := fat.Open(disk, volumeStart, tinySize)
		if err != nil {
			if !bytes.Equal(disk.data, untouched) {
				t.Fatal("a volume that was refused was written to")
			}
			return
		}
		editSound(t, v, disk, path, content)
	})
}

// lookAt reads everything that can be read; what comes of it does not matter.
func lookAt(v *fat.Volume) {
	_ = v.Check()
	_, _ = v.Used()
	v.Geometry()
	_ = v.Walk(func(i fat.Info) error {
		if !i.Dir {
			_, _ = v.ReadFile(i.Path)
		}
		return nil
	})
}

// editSound edits a volume that is in order and expects that it stays so.
func editSound(t *testing.T, v *fat.Volume, disk *memory, path string, content []byte) {
	if len(content) > tinySize {
		content = content[:tinySize]
	}
	before := contents(t, v)
	untouched := bytes.Clone(disk.data)
	err := v.WriteFile(path, content, written)
	if err != nil && !bytes.Equal(disk.data, untouched) {
		t.Fatalf("%v, and yet the volume was changed", err)
	}
	again, reopened := fat.Open(disk, volumeStart, tinySize)
	if reopened != nil {
		t.Fatalf("written to (%v), the volume is refused: %v", err, reopened)
	}
	if again.Geometry() != v.Geometry() {
		t.Fatalf("opened anew, the geometry is %+v, was %+v", again.Geometry(), v.Geometry())
	}
	if err == nil {
		if got, err := again.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("read back: %d bytes, %v; want %d", len(got), err, len(content))
		}
		info, err := again.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		before[info.Path] = content
	}
	sameContents(t, contents(t, again), before)

	if err == nil {
		if err := again.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := again.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			// Damage may have made another file of a name that differs in case only.
			return
		}
	}
	if err := again.Mkdir("picluster", written); err == nil {
		_ = again.WriteFile("picluster/node.json", content, written)
	}
	if err := again.Check(); err != nil {
		t.Fatalf("after more edits: %v", err)
	}
}

// contents reads all files. Two that damage gave the same name cannot be told
// apart; such a volume is skipped.
func contents(t *testing.T, v *fat.Volume) map[string][]byte {
	all := map[string][]byte{}
	err := v.Walk(func(i fat.Info) error {
		if _, ok := all[i.Path]; ok {
			t.Skip("two files of one name")
		}
		all[i.Path] = nil
		if i.Dir {
			return nil
		}
		data, err := v.ReadFile(i.Path)
		all[i.Path] = data
		return err
	})
	if err != nil {
		t.Fatalf("read a volume that is in order: %v", err)
	}
	return all
}

func sameContents(t *testing.T, got, want map[string][]byte) {
	for path, data := range want {
		if g, ok := got[path]; !ok || !bytes.Equal(g, data) {
			t.Fatalf("%q has %d bytes (there: %t), want %d", path, len(g), ok, len(data))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d files, want %d", len(got), len(want))
	}
}

// TestWalk_entersNoDirectoryTwice has two directories lead back to the root: two
// ways at each level, so that to go on to the deepest level would never end.
func TestWalk_entersNoDirectoryTwice(t *testing.T) {
	disk := &memory{t, makeTiny(t)}
	v := must(fat.Open(disk, volumeStart, tinySize))
	const root = 34 * 512 // as mkfs.vfat lays out this size
	for _, dir := range []string{"A", "B"} {
		if err := v.Mkdir(dir, written); err != nil {
			t.Fatal(err)
		}
		at := strings.Index(string(disk.data[root:]), dir+"          ")
		if at < 0 || at%32 != 0 {
			t.Fatalf("directory %s is not in the root directory", dir)
		}
		binary.LittleEndian.PutUint16(disk.data[root+at+26:], 2)
	}
	calls := 0
	v = must(fat.OpenReadOnly(disk, volumeStart, tinySize))
	err := v.Walk(func(fat.Info) error { calls++; return nil })
	if !errors.Is(err, fat.ErrDamaged) || calls > 10 {
		t.Errorf("Walk ends after %d files with %v", calls, err)
	}
	if _, err := fat.Open(disk, volumeStart, tinySize); !errors.Is(err, fat.ErrDamaged) {
		t.Errorf("Open takes the volume: %v", err)
	}
}

// The rest of a file's last cluster may have been a secret of the file before.
func TestWriteFile_clearsTheRestOfTheCluster(t *testing.T) {
	disk := &memory{t, makeTiny(t)}
	v := must(fat.Open(disk, volumeStart, tinySize))
	old := noise("a passphrase", 500)
	for _, content := range [][]byte{old, []byte("short")} {
		if err := v.WriteFile("wifi.txt", content, written); err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(disk.data, old[100:]); got != (len(content) == len(old)) {
			t.Errorf("with %d bytes in the file, its first content is on the disk: %v", len(content), got)
		}
	}
}
