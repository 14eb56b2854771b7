package card

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// sysfs describes disks as a Linux kernel and udev do, in files below root ("/",
// or a recording of another machine).
type sysfs struct{ root string }

// notDisks are block devices that no card is: memory, what is built on other
// disks (those are Holders), optical drives, and the boot areas of eMMC.
var notDisks = regexp.MustCompile(`^(ram|zram|dm-|md|sr|fd|nbd|mtdblock|drbd)\d|boot\d+$|rpmb$`)

// list returns all disks, in the order of their names.
func (s sysfs) list() ([]*Device, error) {
	entries, err := os.ReadDir(s.path("sys/block"))
	if err != nil {
		return nil, fmt.Errorf("list disks: %w", err)
	}
	var all []*Device
	for _, e := range entries {
		if notDisks.MatchString(e.Name()) {
			continue
		}
		d, err := s.disk(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // taken out in the meantime
		}
		if err != nil {
			return nil, fmt.Errorf("list disks: %w", err)
		}
		// An empty slot of a card reader has no size.
		if d.Size > 0 {
			all = append(all, d)
		}
	}
	return all, nil
}

// find returns the disk or partition of that kernel name.
func (s sysfs) find(name string) (*Device, error) {
	if _, err := os.Stat(s.path("sys/block", name)); err == nil {
		return s.disk(name)
	}
	// A partition's directory lies in its disk's.
	dir, err := filepath.EvalSymlinks(s.path("sys/class/block", name))
	if err != nil {
		return nil, fmt.Errorf("find disk: %s is no disk that the kernel knows", name)
	}
	return &Device{Path: "/dev/" + name, Whole: "/dev/" + filepath.Base(filepath.Dir(dir))}, nil
}

func (s sysfs) path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

// read returns the content of a small file, or "" where there is none.
func (s sysfs) read(elem ...string) string {
	data, err := os.ReadFile(s.path(elem...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func (s sysfs) number(elem ...string) int64 {
	n, _ := strconv.ParseInt(s.read(elem...), 10, 64)
	return n
}

// kernelSector is the unit of sizes in sysfs, whatever the disk's own is.
const kernelSector = 512

func (s sysfs) disk(name string) (*Device, error) {
	at, err := filepath.EvalSymlinks(s.path("sys/block", name))
	if err != nil {
		return nil, err
	}
	udev := s.udev(s.read("sys/block", name, "dev"))
	d := &Device{
		Path:     "/dev/" + name,
		Size:     s.number("sys/block", name, "size") * kernelSector,
		ReadOnly: s.number("sys/block", name, "ro") == 1,
		Bus:      s.bus(name, at),
		Serial:   cmp.Or(udev["ID_SERIAL_SHORT"], s.read("sys/block", name, "device/serial"), s.read("sys/block", name, "serial"), s.usbSerial(at)),
		Model:    s.model(name),
	}
	sequence, _ := strconv.ParseUint(s.read("sys/block", name, "diskseq"), 10, 64)
	d.Sequence = sequence
	d.Removable = d.Bus == "usb" || d.Bus == "sd" || d.Bus != "emmc" && s.number("sys/block", name, "removable") == 1
	uses, err := s.uses()
	if err != nil {
		return nil, err
	}
	whole := s.volume(filepath.Join("sys/block", name), "/dev/"+name, uses)
	if whole.Type != "" || len(whole.Mounts)+len(whole.Holders) > 0 || whole.Swap {
		whole.Size = d.Size
		d.Volumes = append(d.Volumes, whole)
	}
	entries, err := os.ReadDir(s.path("sys/block", name))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		dir := filepath.Join("sys/block", name, e.Name())
		if s.read(dir, "partition") == "" {
			continue
		}
		v := s.volume(dir, "/dev/"+e.Name(), uses)
		v.Number = int(s.number(dir, "partition"))
		v.Start, v.Size = s.number(dir, "start")*kernelSector, s.number(dir, "size")*kernelSector
		d.Volumes = append(d.Volumes, v)
	}
	slices.SortFunc(d.Volumes, func(a, b Volume) int { return a.Number - b.Number })
	return d, nil
}

// volume describes a partition, or a whole disk, by its directory in sysfs.
func (s sysfs) volume(dir, dev string, uses *uses) Volume {
	number := s.read(dir, "dev")
	udev := s.udev(number)
	v := Volume{
		Path: dev, Type: udev["ID_FS_TYPE"], Label: unescapeUdev(udev["ID_FS_LABEL_ENC"]),
		Mounts: uses.mounts[number], Swap: uses.swaps[dev],
	}
	// A holder that is a device mapper's says in dm/name what it is for people.
	holders, _ := os.ReadDir(s.path(dir, "holders"))
	for _, h := range holders {
		v.Holders = append(v.Holders, cmp.Or(s.read("sys/class/block", h.Name(), "dm/name"), h.Name()))
	}
	return v
}

// bus tells how the disk is connected from where its device is in the tree.
func (s sysfs) bus(name, at string) string {
	switch {
	case strings.Contains(at, "/usb"):
		return "usb"
	case strings.Contains(at, "/mmc_host/"):
		// An SD card in a built-in slot, or eMMC that is soldered.
		if s.read("sys/block", name, "device/type") == "SD" {
			return "sd"
		}
		return "emmc"
	case strings.Contains(at, "/nvme"):
		return "nvme"
	case strings.Contains(at, "/ata"):
		return "ata"
	case strings.Contains(at, "/virtio"):
		return "virtio"
	case strings.Contains(at, "/virtual/block/loop"):
		return "loop"
	case strings.Contains(at, "/host"):
		return "scsi"
	}
	return "unknown"
}

func (s sysfs) model(name string) string {
	dir := []string{"sys/block", name, "device"}
	vendor, model := s.read(append(dir, "vendor")...), s.read(append(dir, "model")...)
	if strings.HasPrefix(vendor, "0x") { // a PCI vendor's number
		vendor = ""
	}
	// loop: the file; mmc: the card's product name.
	return cmp.Or(strings.TrimSpace(vendor+" "+model), s.read(append(dir, "name")...), s.read("sys/block", name, "loop/backing_file"))
}

// usbSerial looks in the directories above for the USB device's own number.
func (s sysfs) usbSerial(at string) string {
	for dir := at; strings.Contains(dir, "/usb"); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "idVendor")); err == nil {
			data, _ := os.ReadFile(filepath.Join(dir, "serial"))
			return strings.TrimSpace(string(data))
		}
	}
	return ""
}

// udev returns what udev's database knows about the device "8:16".
func (s sysfs) udev(number string) map[string]string {
	known := map[string]string{}
	for line := range strings.Lines(s.read("run/udev/data", "b"+number)) {
		if key, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "E:"), "="); ok {
			known[key] = value
		}
	}
	return known
}

var udevEscape = regexp.MustCompile(`\\x[0-9a-f]{2}`)

// unescapeUdev decodes a value of the form that udev keeps exact: `my\x20card`.
func unescapeUdev(text string) string {
	return udevEscape.ReplaceAllStringFunc(text, func(e string) string {
		b, _ := strconv.ParseUint(e[2:], 16, 8)
		return string([]byte{byte(b)})
	})
}
