package card

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"picluster/internal/lab"
	"picluster/internal/lab/tool"
)

func TestLook_recognisesWhatPeopleHaveOnCards(t *testing.T) {
	const size = 64 << 20
	ctx := context.Background()
	for _, tc := range []struct {
		name    string
		make    func(path string) error
		kind    string
		content Content
	}{
		{"never written", func(string) error { return nil }, "", Empty},
		{"erased", func(path string) error { return fill(path, 0xff) }, "", Empty},
		{"unknown", func(path string) error { return fill(path, 'x') }, "", Foreign},
		{"empty FAT32", func(path string) error { return tool.Run(ctx, "mkfs.vfat", "-F", "32", "-n", "CAMERA", path) }, "vfat", Empty},
		{"photos", func(path string) error {
			if err := tool.Run(ctx, "mkfs.vfat", "-F", "32", path); err != nil {
				return err
			}
			return tool.Run(ctx, "mmd", "-i", path, "::DCIM")
		}, "vfat", Foreign},
		{"a 3D printer's", fatWith("config.txt", "firmware.bin"), "vfat", Foreign},
		{"a Pi's", fatWith("CONFIG.TXT", "cmdline.txt"), "vfat", RaspberryPi},
		{"a card for the USB boot bit", fatWith("bootcode.bin", "config.txt"), "vfat", RaspberryPi},
		{"only what Windows leaves", func(path string) error {
			if err := tool.Run(ctx, "mkfs.vfat", "-F", "32", path); err != nil {
				return err
			}
			return tool.Run(ctx, "mmd", "-i", path, "::System Volume Information")
		}, "vfat", Empty},
		{"FAT16", func(path string) error { return tool.Run(ctx, "mkfs.vfat", "-F", "16", path) }, "vfat", Foreign},
		{"somebody's ext4", func(path string) error { return tool.Run(ctx, "mke2fs", "-q", "-t", "ext4", path) }, "ext4", Foreign},
		{"swap", func(path string) error { return tool.Run(ctx, "mkswap", path) }, "swap", Foreign},
		{"LUKS", func(path string) error { return put(path, 0, "LUKS\xba\xbe") }, "crypto_LUKS", Foreign},
		{"LVM", func(path string) error { return put(path, 512, "LABELONE") }, "LVM2_member", Foreign},
		{"NTFS", func(path string) error { return put(path, 3, "NTFS    ") }, "ntfs", Foreign},
		{"ZFS and what else there is", func(path string) error { return put(path, 4000, "data") }, "", Foreign},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "volume")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			if err := tc.make(path); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			kind, _, content := look(f, 0, size)
			if kind != tc.kind || content != tc.content {
				t.Errorf("%q, %v; want %q, %v", kind, content, tc.kind, tc.content)
			}
		})
	}
}

// exfat makes a volume as the specification describes: 512-byte sectors, one per
// cluster, the heap at sector 64, the root directory in cluster 5.
func exfat(entries ...string) []byte {
	b := make([]byte, 64<<10)
	copy(b[3:], "EXFAT   ")
	b[exfatHeapOffset], b[exfatRootCluster] = 64, 5
	b[exfatSectorShift], b[exfatSectorShift+1] = 9, 0
	for i, e := range entries {
		copy(b[64*512+3*512+32*i:], e)
	}
	return b
}

func TestLook_newCardsOf64GBAreExFAT(t *testing.T) {
	label := "\x83\x04S\x00D\x00X\x00C\x00"
	file, stream := "\x85\x02", "\xc0"
	photos := "\xc1\x00D\x00C\x00I\x00M\x00"
	trash := "\xc1\x00.\x00T\x00r\x00a\x00s\x00h\x00e\x00s\x00"
	for name, tc := range map[string]struct {
		volume  []byte
		content Content
	}{
		"from the factory": {exfat(label, "\x81", "\x82"), Empty},
		"photos":           {exfat(label, "\x81", "\x82", file, stream, photos), Foreign},
		"deleted photos":   {exfat(label, "\x05\x02", "\x40", "\x41"), Empty},
		"a Mac's trash":    {exfat(label, file, stream, trash), Empty},
		"trash and photos": {exfat(label, file, stream, trash, file, stream, photos), Foreign},
		"nonsense":         {append(exfat()[:exfatSectorShift], make([]byte, 4096)...), Foreign},
	} {
		path := filepath.Join(t.TempDir(), "volume")
		if err := os.WriteFile(path, tc.volume, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		kind, got, content := look(f, 0, int64(len(tc.volume)))
		f.Close()
		if kind != "exfat" || content != tc.content || name != "nonsense" && got != "SDXC" {
			t.Errorf("%s: %q %q %v, want content %v", name, kind, got, content, tc.content)
		}
	}
}

func TestExamine_aPisCardIsAPis(t *testing.T) {
	for _, l := range lab.Layouts() {
		d, err := Find(lab.Image(t, l))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Examine(); err != nil {
			t.Fatal(err)
		}
		if len(d.Volumes) != 2 || d.Volumes[0].Content != RaspberryPi || d.Volumes[1].Content != RaspberryPi {
			t.Errorf("%s: %+v", l, d.Volumes)
		}
	}
}

// fatWith makes a FAT with some files.
func fatWith(names ...string) func(path string) error {
	return func(path string) error {
		ctx := context.Background()
		if err := tool.Run(ctx, "mkfs.vfat", "-F", "32", path); err != nil {
			return err
		}
		content := path + ".txt"
		if err := os.WriteFile(content, []byte("speed=9\n"), 0o600); err != nil {
			return err
		}
		for _, name := range names {
			if err := tool.Run(ctx, "mcopy", "-i", path, content, "::"+name); err != nil {
				return err
			}
		}
		return nil
	}
}

func fill(path string, b byte) error {
	data := make([]byte, headSize)
	for i := range data {
		data[i] = b
	}
	return put(path, 0, string(data))
}

func put(path string, off int64, data string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(data), off)
	return err
}
