package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"picluster/internal/lab"
	"picluster/internal/lab/tool"
)

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tool.Cmd{Args: args, Env: []string{"MTOOLS_SKIP_CHECK=1"}}.Output(context.Background())
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// partition is one line of sfdisk's own view of a table, in bytes.
type partition struct {
	start, size int64
	kind        string
}

func partitions(t *testing.T, img string) []partition {
	t.Helper()
	var list []partition
	for line := range strings.Lines(run(t, "sfdisk", "--dump", img)) {
		_, fields, ok := strings.Cut(line, " : ")
		if !ok {
			continue
		}
		var p partition
		for field := range strings.SplitSeq(fields, ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			switch key {
			case "start":
				p.start = n * 512
			case "size":
				p.size = n * 512
			case "type":
				p.kind = strings.TrimSpace(value)
			}
		}
		list = append(list, p)
	}
	if len(list) != 2 {
		t.Fatalf("sfdisk sees %d partitions, want 2", len(list))
	}
	return list
}

// extract copies the data of a partition, not its holes, to a file.
func extract(t *testing.T, img string, p partition) string {
	t.Helper()
	in, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	path := filepath.Join(t.TempDir(), "partition")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := out.Truncate(p.size); err != nil {
		t.Fatal(err)
	}
	for at := p.start; at < p.start+p.size; {
		data, err := in.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && data >= p.start+p.size {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if at, err = in.Seek(data, unix.SEEK_HOLE); err != nil {
			t.Fatal(err)
		}
		at = min(at, p.start+p.size)
		if _, err := io.Copy(io.NewOffsetWriter(out, data-p.start), io.NewSectionReader(in, data, at-data)); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestImage_isCleanForEveryChecker(t *testing.T) {
	for _, l := range lab.Layouts() {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			img := lab.Image(t, l)
			run(t, "sfdisk", "--verify", img)
			p := partitions(t, img)
			if p[0].kind != "c" || p[1].kind != "83" {
				t.Errorf("partition types are %s and %s, want c and 83", p[0].kind, p[1].kind)
			}
			run(t, "fsck.vfat", "-n", extract(t, img, p[0]))
			run(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", img, p[1].start))
		})
	}
}

// The figures are those of pi-gen's export-image/prerun.sh of each date.
func TestImage_isPartitionedLikePiGen(t *testing.T) {
	const mib = 1 << 20
	tests := []struct {
		layout                lab.Layout
		start, size           int64
		label, sectorsPer     string
		features, notFeatures string
	}{
		{lab.Layout{Release: "buster", Arch: "armhf"}, 4 * mib, 256 * mib, "boot", "1", "extent", "metadata_csum 64bit huge_file"},
		{lab.Layout{Release: "bullseye", Date: "2022-04-04"}, 4 * mib, 256 * mib, "boot", "1", "extent", "metadata_csum 64bit huge_file"},
		{lab.Layout{Release: "bullseye", Date: "2023-05-03"}, 4 * mib, 256 * mib, "bootfs", "4", "metadata_csum", "64bit orphan_file"},
		{lab.Layout{Release: "bookworm", Date: "2023-10-10"}, 4 * mib, 512 * mib, "bootfs", "4", "metadata_csum", "64bit orphan_file"},
		{lab.Layout{Release: "bookworm"}, 8 * mib, 512 * mib, "bootfs", "4", "metadata_csum", "64bit orphan_file"},
		{lab.Layout{Release: "trixie", Date: "2025-10-01"}, 8 * mib, 512 * mib, "bootfs", "4", "metadata_csum_seed orphan_file", "64bit"},
		{lab.Layout{Release: "trixie"}, 8 * mib, 512 * mib, "bootfs", "1", "metadata_csum_seed orphan_file", "64bit"},
	}
	for _, tt := range tests {
		t.Run(tt.layout.String(), func(t *testing.T) {
			img := lab.Image(t, tt.layout)
			p := partitions(t, img)
			if p[0].start != tt.start || p[0].size != tt.size || p[1].start != tt.start+tt.size {
				t.Errorf("partitions are %+v, want the first at %d with %d bytes and the second right behind", p, tt.start, tt.size)
			}
			info := run(t, "minfo", "-i", fmt.Sprintf("%s@@%d", img, p[0].start), "::")
			if want := "cluster size: " + tt.sectorsPer + " sectors"; !strings.Contains(info, want) || !strings.Contains(info, `disk label="`+tt.label+" ") {
				t.Errorf("minfo says not %q and label %q:\n%s", want, tt.label, info)
			}
			super := run(t, "dumpe2fs", "-h", fmt.Sprintf("%s?offset=%d", img, p[1].start))
			_, features, _ := strings.Cut(super, "Filesystem features:")
			features, _, _ = strings.Cut(features, "\n")
			has := strings.Fields(features)
			for _, f := range strings.Fields(tt.features) {
				if !slices.Contains(has, f) {
					t.Errorf("ext4 lacks %s: %s", f, features)
				}
			}
			for _, f := range strings.Fields(tt.notFeatures) {
				if slices.Contains(has, f) {
					t.Errorf("ext4 has %s: %s", f, features)
				}
			}
		})
	}
}

// stretch's FAT was made twice as large as its files: an agent hardly fits.
func TestImage_leavesStretchHalfOfItsSmallFAT(t *testing.T) {
	img := lab.Image(t, lab.Layout{Release: "stretch", Arch: "armhf"})
	p := partitions(t, img)
	if mib := p[0].size >> 20; mib < 40 || mib > 50 {
		t.Errorf("FAT partition has %d MiB, want about 43", mib)
	}
	if p[0].start != 8192*512 {
		t.Errorf("FAT partition starts at sector %d, want 8192", p[0].start/512)
	}
}

func TestImage_bootFilesReadBackThroughMtools(t *testing.T) {
	for _, l := range lab.Layouts() {
		img := lab.Image(t, l)
		p := partitions(t, img)
		volume := fmt.Sprintf("%s@@%d", img, p[0].start)
		cmdline := run(t, "mtype", "-i", volume, "::/cmdline.txt")
		if want := "root=PARTUUID=" + l.PartUUID(2) + " "; !strings.Contains(cmdline, want) || strings.Count(cmdline, "\n") != 1 {
			t.Errorf("%s: cmdline.txt has no %q in its one line:\n%s", l, want, cmdline)
		}
		if uuid := strings.Fields(run(t, "sfdisk", "--disk-id", img))[0]; uuid != "0x"+l.PartUUID(2)[:8] {
			t.Errorf("%s: disk id is %s, cmdline.txt says %s", l, uuid, l.PartUUID(2))
		}
		if issue := run(t, "mtype", "-i", volume, "::/issue.txt"); issue != l.Issue() {
			t.Errorf("%s: issue.txt reads %q", l, issue)
		}
		list := run(t, "mdir", "-b", "-i", volume, "::/overlays")
		if n := strings.Count(list, ".dtbo"); n < 150 {
			t.Errorf("%s: %d overlays, want at least 150", l, n)
		}
		if strings.Contains(list, "/.") {
			t.Errorf("%s: rsync's temporary files are still there:\n%s", l, list)
		}
	}
}

func TestImage_namesReadBackInTheirTrueCase(t *testing.T) {
	img := lab.Image(t, lab.Layout{Release: "trixie"})
	p := partitions(t, img)
	list := run(t, "mdir", "-b", "-i", fmt.Sprintf("%s@@%d", img, p[0].start), "::/")
	for _, name := range []string{"cmdline.txt", "config.txt", "kernel8.img", "kernel_2712.img", "initramfs8", "start4.elf", "COPYING.linux", "meta-data", "user-data", "overlays/"} {
		if !strings.Contains(list, "::/"+name+"\n") {
			t.Errorf("mdir does not list %s:\n%s", name, list)
		}
	}
}

func TestImage_refusesWhatPiGenNeverMade(t *testing.T) {
	_, err := lab.MakeImage(lab.Layout{Release: "stretch", Arch: "arm64"})
	if err == nil || !strings.Contains(err.Error(), "stretch-armhf-2019-04-08") {
		t.Errorf("error is %v, want one that lists the layouts", err)
	}
}
