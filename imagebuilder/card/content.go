package card

import (
	"bytes"
	"encoding/binary"
	"io"
	"path"
	"strconv"
	"strings"
	"unicode/utf16"

	"picluster/imagebuilder/ext4"
	"picluster/imagebuilder/fat"
)

// signature is how a file system or a container of such is recognised: these
// bytes at this offset, as libblkid and the systems' own documentation have them.
type signature struct {
	kind   string
	offset int
	magic  string
}

var signatures = []signature{
	{"crypto_LUKS", 0, "LUKS\xba\xbe"},
	{"LVM2_member", 512, "LABELONE"},
	{"linux_raid_member", 4096, "\xfc\x4e\x2b\xa9"},
	{"exfat", 3, "EXFAT   "},
	{"ntfs", 3, "NTFS    "},
	{"vfat", 82, "FAT32   "},
	{"vfat", 54, "FAT16   "},
	{"vfat", 54, "FAT12   "},
	{"ext4", 1080, "\x53\xef"},
	{"xfs", 0, "XFSB"},
	{"btrfs", 65600, "_BHRfS_M"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
	{"swap", 4086, "SWAPSPACE2"},
	{"swap", 16374, "SWAPSPACE2"}, // 16 KiB pages: a Pi 5's
	{"hfsplus", 1024, "H+"},
	{"hfsplus", 1024, "HX"},
	{"apfs", 32, "NXSB"},
	{"iso9660", 32769, "CD001"},
	{"squashfs", 0, "hsqs"},
}

// headSize is how much of a volume its signature is looked for in.
const headSize = 128 << 10

// look finds out what is in the size bytes at start of the disk.
func look(disk io.ReaderAt, start, size int64) (kind, label string, c Content) {
	head := make([]byte, min(size, headSize))
	n, err := disk.ReadAt(head, start)
	if err != nil && err != io.EOF {
		return "", "", Foreign
	}
	head = head[:n]
	for _, s := range signatures {
		if len(head) >= s.offset+len(s.magic) && string(head[s.offset:s.offset+len(s.magic)]) == s.magic {
			kind = s.kind
			break
		}
	}
	switch kind {
	case "":
		if blank(head) {
			return "", "", Empty
		}
		return "", "", Foreign
	case "vfat":
		label, c = lookAtFAT(disk, start, size)
	case "exfat":
		label, c = lookAtExFAT(disk, start, head)
	case "ext4":
		label = text(head[1024+120:][:16])
		c = lookAtExt4(disk, start, size)
	default:
		c = Foreign
	}
	return kind, label, c
}

// blank reports whether nothing was ever written: flash that was erased reads as
// zeros or as ones.
func blank(b []byte) bool {
	return len(bytes.Trim(b, "\x00")) == 0 || len(bytes.Trim(b, "\xff")) == 0
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.TrimSpace(strings.ToValidUTF8(string(b), "?"))
}

// systemFiles are what operating systems leave on every card they see.
func systemFile(name string) bool {
	switch strings.ToLower(name) {
	case "system volume information", "$recycle.bin", ".fseventsd", ".spotlight-v100", ".trashes", ".temporaryitems", "lost+found":
		return true
	}
	return strings.HasPrefix(name, "._")
}

func lookAtFAT(disk io.ReaderAt, start, size int64) (label string, c Content) {
	v, err := fat.OpenReadOnly(disk, start, size)
	if err != nil {
		return "", Foreign // FAT16 of an old small card, or damaged
	}
	label = v.Geometry().Label
	files, err := v.ReadDir("/")
	if err != nil {
		return label, Foreign
	}
	c = Empty
	there := map[string]bool{}
	for _, f := range files {
		name := strings.ToLower(f.Name)
		there[name] = true
		if !systemFile(name) {
			c = Foreign
		}
	}
	// One of them alone proves nothing: 3D printers have a config.txt too.
	if there["config.txt"] && (there["cmdline.txt"] || there["bootcode.bin"]) {
		c = RaspberryPi
	}
	return label, c
}

// lookAtExt4 recognises the root of a Pi: pi-gen writes etc/rpi-issue. An empty
// ext4 is not told from a full one: people do not format cards that way.
func lookAtExt4(disk io.ReaderAt, start, size int64) Content {
	fs, err := ext4.Open(io.NewSectionReader(disk, start, size), size)
	if err != nil {
		return Foreign
	}
	for _, name := range []string{"etc/rpi-issue", "etc/picluster/node.json"} {
		if _, err := fs.ReadFile(name); err == nil {
			return RaspberryPi
		}
	}
	return Foreign
}

// Types of exFAT directory entries, and where its boot sector has what (Microsoft's
// "exFAT file system specification", sections 3.1 and 7).
const (
	exfatHeapOffset  = 88 // sectors to the first cluster, 32 bits
	exfatRootCluster = 96 // 32 bits
	exfatSectorShift = 108
	exfatEntryEnd    = 0x00
	exfatEntryLabel  = 0x83
	exfatEntryFile   = 0x85
	exfatEntryName   = 0xc1
)

// lookAtExFAT reads the first 32 KiB of the root directory, which is how new
// cards of 64 GB and more are formatted. More entries than fit there are foreign
// anyway.
func lookAtExFAT(disk io.ReaderAt, start int64, head []byte) (label string, c Content) {
	shift, perCluster := head[exfatSectorShift], head[exfatSectorShift+1]
	heap := int64(binary.LittleEndian.Uint32(head[exfatHeapOffset:]))
	root := int64(binary.LittleEndian.Uint32(head[exfatRootCluster:]))
	if shift < 9 || shift > 12 || perCluster > 25-shift || root < 2 {
		return "", Foreign
	}
	cluster := int64(1) << (shift + perCluster)
	entries := make([]byte, min(cluster, 32<<10))
	if _, err := disk.ReadAt(entries, start+heap<<shift+(root-2)*cluster); err != nil {
		return "", Foreign
	}
	inFile := false
	var name []uint16
	c = Empty
	endFile := func() {
		if inFile && !systemFile(string(utf16.Decode(name))) {
			c = Foreign
		}
		inFile, name = false, nil
	}
	for ; len(entries) >= 32; entries = entries[32:] {
		switch entries[0] {
		case exfatEntryEnd:
			endFile()
			return label, c
		case exfatEntryLabel:
			label = string(utf16.Decode(units(entries[2:], int(min(entries[1], 11)))))
		case exfatEntryFile:
			endFile()
			inFile = true
		case exfatEntryName:
			name = append(name, units(entries[2:], 15)...)
		}
	}
	return label, Foreign
}

// units returns up to n UTF-16 units, up to the first zero.
func units(b []byte, n int) []uint16 {
	var u []uint16
	for i := range n {
		if v := binary.LittleEndian.Uint16(b[2*i:]); v != 0 {
			u = append(u, v)
			continue
		}
		break
	}
	return u
}

// volumeName is what the kernel calls partition n of a disk.
func volumeName(disk string, n int) string {
	base := path.Base(disk)
	switch {
	case n == 0:
		return disk
	case strings.HasPrefix(base, "disk"): // macOS
		return disk + "s" + strconv.Itoa(n)
	case base[len(base)-1] >= '0' && base[len(base)-1] <= '9':
		return disk + "p" + strconv.Itoa(n)
	}
	return disk + strconv.Itoa(n)
}
