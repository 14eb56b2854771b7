package card

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// recordedMac answers as diskutil does on a MacBook with a card in a USB reader.
func recordedMac(t *testing.T) diskutil {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/mac.txtar")
	if err != nil {
		t.Fatal(err)
	}
	return diskutil{run: func(args ...string) ([]byte, error) {
		for _, f := range archive.Files {
			if f.Name == strings.Join(args, " ") {
				return f.Data, nil
			}
		}
		return nil, errors.New("exit status 1")
	}}
}

func TestDiskutil_describesEveryDisk(t *testing.T) {
	disks, err := recordedMac(t).list()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range disks {
		got = append(got, fmt.Sprintf("%s %s %d removable=%v readonly=%v", d.Path, d.Title(), d.Size, d.Removable, d.ReadOnly))
	}
	want := []string{
		"/dev/disk0 /dev/disk0 (APPLE SSD AP0512Q, nvme) 500277792768 removable=false readonly=false",
		"/dev/disk4 /dev/disk4 (STORAGE DEVICE, usb) 31914983424 removable=true readonly=false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	card := disks[1]
	if len(card.Volumes) != 2 || card.Volumes[0].Label != "bootfs" || card.Volumes[0].Type != "vfat" || card.Volumes[1].Type != "ext4" ||
		card.Volumes[0].Start != 8<<20 || card.Volumes[0].Number != 1 || !slices.Equal(card.Mounts(), []string{"/Volumes/bootfs"}) {
		t.Errorf("volumes of the card: %+v", card.Volumes)
	}
	if refusals := card.Refusals(1 << 30); len(refusals) > 0 {
		t.Errorf("the card is refused: %+v", refusals)
	}
}

func TestDiskutil_refusesTheMac(t *testing.T) {
	d, err := recordedMac(t).find("disk0")
	if err != nil {
		t.Fatal(err)
	}
	// The container's volumes count: / and the data volume are on this disk.
	refusals := d.Refusals(1 << 30)
	if len(refusals) == 0 || refusals[0].Nameable || !strings.Contains(refusals[0].Reason, "mounted at /") {
		t.Errorf("refusals: %+v", refusals)
	}
	if _, err := recordedMac(t).find("disk3"); err == nil {
		t.Error("an APFS container passes for a disk")
	}
	if d, err := recordedMac(t).find("disk4s1"); err != nil || d.Whole != "/dev/disk4" {
		t.Errorf("partition: %+v, %v", d, err)
	}
	if _, err := recordedMac(t).find("disk9"); err == nil {
		t.Error("a disk that is not there is found")
	}
}
