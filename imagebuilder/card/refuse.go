package card

import (
	"fmt"
	"path"
	"strings"
)

// maxUnnamed is the size above which a disk is more likely a backup disk than a
// card. What people lose with card writers are external disks of terabytes; cards
// for Pis have 16 to 256 GB.
const maxUnnamed = 256_000_000_000

// Refusal is a reason not to write to a disk.
type Refusal struct {
	Reason string // after the disk's name: "is read-only"
	Hint   string // what the person can do, or ""
	// Nameable: the disk is written all the same to who names its model or serial.
	Nameable bool
}

// Refusals judges a device for an image of size bytes, the gravest reason first.
// None, of an examined device, means that it may be written once the person agrees.
func (d *Device) Refusals(size int64) []Refusal {
	if d.Whole != "" {
		return []Refusal{{Reason: "is a partition", Hint: "a card is a whole disk: " + d.Whole}}
	}
	var all []Refusal
	for _, v := range d.Volumes {
		all = append(all, v.inUse()...)
	}
	if d.ReadOnly {
		all = append(all, Refusal{Reason: "is read-only", Hint: "SD adapters have a slide at their side: push it away from LOCK"})
	}
	if d.Size < size && !(d.IsFile() && d.Size == 0) {
		all = append(all, Refusal{Reason: fmt.Sprintf("is too small: it has %d bytes, the image %d", d.Size, size)})
	}
	if len(all) > 0 || d.IsFile() {
		return all
	}
	return append(all, d.doubts()...)
}

// doubts are reasons that the person may know better about.
func (d *Device) doubts() []Refusal {
	var all []Refusal
	if !d.Removable && d.Bus != "loop" {
		all = append(all, Refusal{Reason: fmt.Sprintf("is a built-in disk (%s)", d.Bus), Nameable: true})
	}
	if d.Size > maxUnnamed {
		all = append(all, Refusal{Reason: fmt.Sprintf("has %d GB, which is more than cards for a Pi have", d.Size/1e9), Nameable: true})
	}
	for _, v := range d.Volumes {
		if v.Content == Foreign {
			all = append(all, Refusal{Reason: fmt.Sprintf("has data on it: %s", v.describe()), Nameable: true})
		}
	}
	return all
}

// inUse are the reasons why a volume must not be taken away from the system.
func (v *Volume) inUse() []Refusal {
	var all []Refusal
	for _, m := range v.Mounts {
		if !cardMount(m) {
			all = append(all, Refusal{Reason: fmt.Sprintf("is in use: %s is mounted at %s", v.Path, m),
				Hint: "if it is no disk of this system, unmount it first: umount " + m})
		}
	}
	if v.Swap {
		all = append(all, Refusal{Reason: fmt.Sprintf("is in use: %s is swap space", v.Path)})
	}
	if len(v.Holders) > 0 {
		all = append(all, Refusal{Reason: fmt.Sprintf("is in use: %s belongs to %s (LVM, RAID or encryption)", v.Path, strings.Join(v.Holders, ", "))})
	}
	return all
}

// cardMount reports whether a mount point is where desktops and people put cards.
// Everywhere else a mount is taken for a part of the running system.
func cardMount(point string) bool {
	for _, dir := range []string{"/media", "/run/media", "/mnt", "/Volumes"} {
		if rest, ok := strings.CutPrefix(path.Clean(point), dir); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// describe names a volume: `ext4 "data", 20.0 GB`.
func (v *Volume) describe() string {
	name := v.Type
	if name == "" {
		name = "unrecognised data"
	}
	if v.Label != "" {
		name += fmt.Sprintf(" %q", v.Label)
	}
	return fmt.Sprintf("%s, %.1f GB", name, float64(v.Size)/1e9)
}

// NamedBy reports whether the text is the disk's model or serial, which is how a
// person shows that they know which disk it is.
func (d *Device) NamedBy(text string) bool {
	text = strings.TrimSpace(text)
	return text != "" && (strings.EqualFold(text, d.Model) || strings.EqualFold(text, d.Serial))
}
