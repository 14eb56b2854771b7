package card

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// record lays a recorded machine out as files.
func record(t *testing.T, file string) sysfs {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, f := range archive.Files {
		name, link, isLink := strings.Cut(f.Name, " -> ")
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if isLink {
			err = os.Symlink(link, path)
		} else {
			err = os.WriteFile(path, f.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return sysfs{root}
}

func TestSysfs_describesEveryDisk(t *testing.T) {
	disks, err := record(t, "testdata/laptop.txtar").list()
	if err != nil {
		t.Fatal(err)
	}
	want := []Device{
		{Path: "/dev/mmcblk0", Model: "SL16G", Serial: "0x1c4c0a8d", Size: 15634268160, Bus: "sd", Removable: true, ReadOnly: true},
		{Path: "/dev/mmcblk1", Size: 62537072640, Bus: "emmc"},
		{Path: "/dev/nvme0n1", Model: "SAMSUNG MZVLB512HBJQ-000L7", Serial: "S4ENNX1R512345", Size: 512110190592, Bus: "nvme", Sequence: 1},
		{Path: "/dev/sda", Model: "Generic STORAGE DEVICE", Serial: "000000001206", Size: 31914983424, Bus: "usb", Removable: true, Sequence: 12},
		{Path: "/dev/sdc", Model: "WD Elements 25A3", Serial: "575843314142", Size: 4000787030016, Bus: "usb", Removable: true},
	}
	if len(disks) != len(want) {
		t.Fatalf("%d disks, want %d", len(disks), len(want))
	}
	for i, d := range disks {
		got := *d
		got.Volumes = nil
		if got.Path != want[i].Path || got.Title() != want[i].Title() || got.Size != want[i].Size ||
			got.Removable != want[i].Removable || got.ReadOnly != want[i].ReadOnly || got.Sequence != want[i].Sequence {
			t.Errorf("got  %+v\nwant %+v", got, want[i])
		}
	}
}

func TestSysfs_knowsWhatIsInUse(t *testing.T) {
	s := record(t, "testdata/laptop.txtar")
	const small = 1 << 30
	for disk, want := range map[string][]string{
		"mmcblk0": {"is read-only"},
		"mmcblk1": {"is in use: /dev/mmcblk1p1 is swap space"},
		"nvme0n1": {"is in use: /dev/nvme0n1p1 is mounted at /boot/efi", "is in use: /dev/nvme0n1p2 belongs to laptop-root (LVM, RAID or encryption)"},
		"sda":     nil,
		"sdc":     {"has 4000 GB, which is more than cards for a Pi have"},
	} {
		d, err := s.find(disk)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range d.Refusals(small) {
			got = append(got, r.Reason)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: refused because it %q, want %q", disk, got, want)
		}
	}
}

func TestSysfs_volumesHaveTypeLabelAndMounts(t *testing.T) {
	s := record(t, "testdata/laptop.txtar")
	d, err := s.find("sda")
	if err != nil {
		t.Fatal(err)
	}
	if v := d.Volumes[0]; len(d.Volumes) != 1 || v.Path != "/dev/sda1" || v.Type != "vfat" || v.Label != "NO NAME" || v.Start != 8192*512 {
		t.Errorf("volumes of sda: %+v", d.Volumes)
	}
	if d, err = s.find("mmcblk0"); err != nil || !slices.Equal(d.Mounts(), []string{"/media/me/my card"}) {
		t.Errorf("mounts of mmcblk0: %v, %v", d.Mounts(), err)
	}
}

func TestSysfs_aPartitionIsNoCard(t *testing.T) {
	d, err := record(t, "testdata/laptop.txtar").find("nvme0n1p1")
	if err != nil {
		t.Fatal(err)
	}
	refusals := d.Refusals(1)
	if len(refusals) != 1 || refusals[0].Nameable || refusals[0].Hint != "a card is a whole disk: /dev/nvme0n1" {
		t.Errorf("refusals: %+v", refusals)
	}
}

func TestSysfs_withoutMountTableNothingIsWritten(t *testing.T) {
	s := record(t, "testdata/laptop.txtar")
	if err := os.Remove(filepath.Join(s.root, "proc/self/mountinfo")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.find("sda"); err == nil {
		t.Error("nobody knows what is mounted, and the disk is found all the same")
	}
}
