// Package card finds disks, says what is on them and why one must not be written,
// writes an image to one, and reads everything back.
//
// In order: Find or List describes a disk, Device.Examine looks at what is on it,
// Device.Refusals judges, Device.Release takes its file systems out of use, Write
// writes and verifies, Compare verifies later.
//
// Nothing here knows what the image is for, asks a person, or prints. Linux and
// macOS are supported; what differs between them is in the files named after them.
package card

import (
	"fmt"
	"strings"
)

// Device is a disk, or a regular file that stands for one. Sizes are in bytes.
type Device struct {
	Path      string `json:"path"`
	Model     string `json:"model,omitempty"`
	Serial    string `json:"serial,omitempty"`
	Size      int64  `json:"size"`
	Bus       string `json:"bus"`       // usb, sd, emmc, nvme, ata, virtio, loop …; "file" for a regular file
	Removable bool   `json:"removable"` // the medium or the whole disk can be taken out
	ReadOnly  bool   `json:"readOnly,omitempty"`

	// Whole is the disk that this is a partition of; empty for a whole disk.
	Whole string `json:"whole,omitempty"`
	// Sequence is the kernel's number of this insertion (diskseq): a card that was
	// changed has another one. 0 where the system has none.
	Sequence uint64 `json:"-"`

	Volumes []Volume `json:"volumes,omitempty"`
}

// Volume is a partition, or the whole disk where a file system starts at its
// first byte (Number is 0 then).
type Volume struct {
	Path    string   `json:"path"`
	Number  int      `json:"number"`
	Start   int64    `json:"start"` // bytes from the start of the disk
	Size    int64    `json:"size"`
	Type    string   `json:"type,omitempty"` // as blkid names it: vfat, ext4, exfat, swap …
	Label   string   `json:"label,omitempty"`
	Mounts  []string `json:"mounts,omitempty"`
	Swap    bool     `json:"swap,omitempty"`    // is in use as swap space
	Holders []string `json:"holders,omitempty"` // disks built on it: LVM, RAID, encryption

	Content Content `json:"-"` // known only after Examine
}

// Content is what a volume is to its owner.
type Content int

const (
	NotExamined Content = iota
	Empty               // formatted at most: nothing to lose
	RaspberryPi         // an operating system of a Raspberry Pi
	Foreign             // somebody's data, or what nothing here is able to read
)

// fileBus marks a regular file among the buses.
const fileBus = "file"

// IsFile reports whether a regular file stands for the disk.
func (d *Device) IsFile() bool { return d.Bus == fileBus }

// Title names the disk in one line: "/dev/sdb (Generic STORAGE DEVICE, serial
// 0000001206, usb)".
func (d *Device) Title() string {
	var about []string
	if d.Model != "" {
		about = append(about, d.Model)
	}
	if d.Serial != "" {
		about = append(about, "serial "+d.Serial)
	}
	return fmt.Sprintf("%s (%s)", d.Path, strings.Join(append(about, d.Bus), ", "))
}

// Mounts returns the mount points of all volumes.
func (d *Device) Mounts() []string {
	var mounts []string
	for _, v := range d.Volumes {
		mounts = append(mounts, v.Mounts...)
	}
	return mounts
}

// sameAs says how the disk differs from what it was when it was shown, or "".
func (d *Device) sameAs(shown *Device) string {
	switch {
	case d.Serial != shown.Serial || d.Model != shown.Model:
		return fmt.Sprintf("it is now %s", d.Title())
	case d.Size != shown.Size:
		return fmt.Sprintf("it has %d bytes, had %d", d.Size, shown.Size)
	case d.Sequence != shown.Sequence:
		return "the card was taken out and put back, or is another one"
	}
	return ""
}
