package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestUsed_noticesDamage(t *testing.T) {
	const csum, uninit, none = "metadata_csum", "^metadata_csum,uninit_bg", "^metadata_csum,^uninit_bg"
	superblock := func(*FS) int64 { return 1024 + 0x78 } // the label
	bitmap := func(f *FS) int64 { return f.group(0).blockBitmap*f.blockSize + f.blocksPerGroup/8 - 10 }
	firstInBitmap := func(f *FS) int64 { return f.group(0).blockBitmap * f.blockSize }
	descriptor := func(f *FS) int64 { return (f.firstBlock+1)*f.blockSize + 0x1c } // free inodes never used
	table := func(f *FS) int64 { return (f.firstBlock+1)*f.blockSize + 0x0b }      // inode table far away
	for _, tc := range []struct {
		name, features string
		at             func(*FS) int64
		flip           byte
		damaged        bool
	}{
		{"superblock with checksum", csum, superblock, 1, true},
		{"superblock without", uninit, superblock, 1, false},
		{"descriptor with checksum", csum, descriptor, 1, true},
		{"descriptor with short checksum", uninit, descriptor, 1, true},
		{"descriptor without", none, descriptor, 1, false},
		{"bitmap with checksum", csum, bitmap, 1, true},
		{"bitmap with only its count", uninit, bitmap, 1, true},
		{"bitmap with nothing but its count", none, bitmap, 1, true},
		{"the superblock's own bit", none, firstInBitmap, 1, true},
		{"inode table outside", none, table, 0x80, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			image := mkfs(t, 8, "-b", "1024", "-O", tc.features)
			data, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			data[tc.at(open(t, image))] ^= tc.flip
			f, err := Open(bytes.NewReader(data), int64(len(data)))
			if err == nil {
				_, err = f.Used()
			}
			if errors.Is(err, ErrDamaged) != tc.damaged || (err != nil) != tc.damaged {
				t.Errorf("error %v, want one: %v", err, tc.damaged)
			}
		})
	}
}

func TestUsed_refusesAnUncleanFileSystem(t *testing.T) {
	for _, tc := range []struct{ name, command, want string }{
		{"mounted", "set_super_value state 0", "mounted"},
		{"with errors", "set_super_value state 3", "errors"},
		{"with orphans", "feature orphan_present", "orphan"},
		{"with a journal to replay", "feature needs_recovery", "journal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			image := mkfs(t, 8, "-O", "orphan_file")
			run(t, "e2fsprogs", "debugfs", "-w", "-R", tc.command, image)
			_, err := open(t, image).Used()
			if !errors.Is(err, ErrUnclean) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want ErrUnclean and %q", err, tc.want)
			}
		})
	}
}

// smallTree makes a directory with the kinds of files that are read in
// different ways.
func smallTree(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	pieces := make([]byte, 40*2048) // an extent tree that does not fit into the inode
	for i := range 40 {
		pieces[i*2048] = 1
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.MkdirAll(in("usr/lib"), 0o755),
		os.MkdirAll(in("etc"), 0o755),
		os.WriteFile(in("usr/lib/os-release"), []byte(osRelease), 0o644),
		os.WriteFile(in("etc/fstab"), bytes.Repeat([]byte("#"), 3000), 0o644),
		os.WriteFile(in("etc/inline"), bytes.Repeat([]byte("i"), 90), 0o644),
		os.WriteFile(in("pieces"), pieces, 0o644),
		os.Symlink("../usr/lib/os-release", in("etc/os-release")),
		os.Symlink(strings.Repeat("./", 100)+"etc/fstab", in("long")),
	); err != nil {
		t.Fatal(err)
	}
	return dir
}

// smallImages makes file systems of 1 MiB, most without checksums so that
// damage gets past them, and lists where each is in use behind the boot sector.
func smallImages(t testing.TB) (images [][]byte, places [][]int) {
	t.Helper()
	dir := smallTree(t)
	for _, features := range []string{
		"^metadata_csum,^uninit_bg,^has_journal,^resize_inode",
		"^metadata_csum,uninit_bg,^has_journal,inline_data,64bit",
		"^metadata_csum,^uninit_bg,^has_journal,^extent,^64bit,^flex_bg",
		"metadata_csum,^has_journal",
	} {
		image := mkfs(t, 1, "-b", "1024", "-g", "512", "-N", "64", "-O", features, "-d", dir)
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		used, err := open(t, image).Used()
		if err != nil {
			t.Fatal(err)
		}
		var at []int
		for _, e := range used {
			for i := range int(e.Length) {
				at = append(at, int(e.Start)+i)
			}
		}
		images, places = append(images, data), append(places, at[1024:])
	}
	return images, places
}

// FuzzFS changes bytes that are in use and asks for everything. Each four bytes
// of damage are a place (three, counted among the bytes in use) and a value.
func FuzzFS(f *testing.F) {
	images, places := smallImages(f)
	f.Add(uint8(0), []byte{0, 0, 0x18, 6})                // block size
	f.Add(uint8(1), []byte{0, 4, 0x12, 2, 0, 4, 0, 0xff}) // group descriptor
	f.Add(uint8(2), []byte{0, 8, 0, 0})                   // bitmaps
	f.Fuzz(func(t *testing.T, which uint8, damage []byte) {
		data, at := slices.Clone(images[int(which)%len(images)]), places[int(which)%len(images)]
		for ; len(damage) >= 4; damage = damage[4:] {
			place := int(binary.BigEndian.Uint32(append([]byte{0}, damage[:3]...)))
			data[at[place%len(at)]] = damage[3]
		}
		size := int64(len(data))
		fsys, err := Open(bytes.NewReader(data), size)
		if err != nil {
			return
		}
		if used, err := fsys.Used(); err == nil {
			end := int64(-1)
			for _, e := range used {
				if e.Start <= end || e.Length <= 0 || e.Start+e.Length > size {
					t.Fatalf("extents out of order or out of the partition: %v", used)
				}
				end = e.Start + e.Length
			}
		}
		for _, path := range []string{"etc/os-release", "etc/inline", "pieces", "long", "usr/../etc/fstab"} {
			if got, err := fsys.ReadFile(path); err == nil && len(got) > MaxFile {
				t.Fatalf("%s: %d bytes", path, len(got))
			}
		}
	})
}
