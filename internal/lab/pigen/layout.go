// Package pigen makes SD card images laid out as pi-gen, the tool that builds
// Raspberry Pi OS, lays them out: partition table, file systems with each
// generation's options, names and sizes of the files on the boot partition.
//
// The small images that it fills by itself do not boot: firmware and kernels are
// patterned bytes. What boots is made by package raspios, which hands its own
// boot files and root tree to Assemble. Nothing here is cached; package lab does
// that.
//
// Facts come from the tags of https://github.com/RPi-Distro/pi-gen: its
// export-image/prerun.sh (partitions, mkfs options), stage1/00-boot-files
// (cmdline.txt, config.txt), stage0/02-firmware (kernels).
package pigen

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"
)

const mib = 1 << 20

// Layout names one image. Date selects among a release's generations; empty, it
// is the newest. Arch is Debian's name, "arm64" or "armhf".
type Layout struct {
	Release string
	Arch    string
	Date    string
}

// String is the layout's name, good for a file name: "trixie-arm64-2026-06-18".
func (l Layout) String() string { return l.Release + "-" + l.Arch + "-" + l.Date }

// generation is what the images of one date have in common.
type generation struct {
	release, date string
	version       int // Debian's
	arches        []string

	align       int64  // partitions start and end on multiples of this, bytes
	bootSize    int64  // FAT partition in bytes; 0 is twice its content
	label       string // of the FAT
	clusterSize int    // sectors, mkfs.vfat -s
	checksums   bool   // ext4 metadata_csum
	seedOrphan  bool   // ext4 metadata_csum_seed and orphan_file

	bootDir   string // where the FAT is mounted
	cmdline   string // cmdline.txt; %s is the root partition's PARTUUID
	machineID string // /etc/machine-id
	mergedUsr bool   // /bin, /lib and /sbin are links into /usr
	initramfs bool   // an initramfs for each kernel
	pi4, pi5  bool   // firmware and device trees of BCM2711 and BCM2712
	cloudInit bool   // cloud-init's NoCloud files on the FAT
}

// vfatDefault is the cluster size that mkfs.vfat chooses for FAT32 on a partition
// of up to 260 MiB. It cannot choose here: of an image file with an offset it
// takes the file's size for the partition's.
const vfatDefault = 1

const (
	initResize = " quiet init=/usr/lib/raspi-config/init_resize.sh"
	sysMods    = " quiet init=/usr/lib/raspberrypi-sys-mods/firstboot"

	cmdlineElevator = "console=serial0,115200 console=tty1 root=PARTUUID=%s rootfstype=ext4 elevator=deadline fsck.repair=yes rootwait"
	cmdlinePlain    = "console=serial0,115200 console=tty1 root=PARTUUID=%s rootfstype=ext4 fsck.repair=yes rootwait"
)

var generations = []generation{
	{
		release: "stretch", date: "2019-04-08", version: 9, arches: []string{"armhf"},
		align: 4 * mib, label: "boot", clusterSize: vfatDefault, bootDir: "/boot",
		cmdline: "dwc_otg.lpm_enable=0 " + cmdlineElevator + initResize,
	},
	{
		release: "buster", date: "2020-02-13", version: 10, arches: []string{"armhf"},
		align: 4 * mib, bootSize: 256 * mib, label: "boot", clusterSize: vfatDefault, bootDir: "/boot",
		cmdline: cmdlineElevator + initResize, pi4: true,
	},
	{
		release: "bullseye", date: "2022-04-04", version: 11, arches: []string{"armhf", "arm64"},
		align: 4 * mib, bootSize: 256 * mib, label: "boot", clusterSize: vfatDefault, bootDir: "/boot",
		cmdline: cmdlinePlain + initResize, mergedUsr: true, pi4: true,
	},
	{
		release: "bullseye", date: "2023-05-03", version: 11, arches: []string{"armhf", "arm64"},
		align: 4 * mib, bootSize: 256 * mib, label: "bootfs", clusterSize: 4, checksums: true, bootDir: "/boot",
		cmdline: cmdlinePlain + sysMods, mergedUsr: true, pi4: true,
	},
	{
		release: "bookworm", date: "2023-10-10", version: 12, arches: []string{"armhf", "arm64"},
		align: 4 * mib, bootSize: 512 * mib, label: "bootfs", clusterSize: 4, checksums: true, bootDir: "/boot/firmware",
		cmdline: cmdlinePlain + sysMods, mergedUsr: true, initramfs: true, pi4: true, pi5: true,
	},
	{
		release: "bookworm", date: "2025-11-24", version: 12, arches: []string{"armhf", "arm64"},
		align: 8 * mib, bootSize: 512 * mib, label: "bootfs", clusterSize: 4, checksums: true, bootDir: "/boot/firmware",
		cmdline: cmdlinePlain + sysMods, mergedUsr: true, initramfs: true, pi4: true, pi5: true,
	},
	{
		release: "trixie", date: "2025-10-01", version: 13, arches: []string{"armhf", "arm64"},
		align: 8 * mib, bootSize: 512 * mib, label: "bootfs", clusterSize: 4, checksums: true, seedOrphan: true, bootDir: "/boot/firmware",
		cmdline: cmdlinePlain + " resize", machineID: "uninitialized\n", mergedUsr: true, initramfs: true, pi4: true, pi5: true,
	},
	{
		release: "trixie", date: "2026-06-18", version: 13, arches: []string{"armhf", "arm64"},
		align: 8 * mib, bootSize: 512 * mib, label: "bootfs", clusterSize: 1, checksums: true, seedOrphan: true, bootDir: "/boot/firmware",
		cmdline: cmdlinePlain + " resize", machineID: "uninitialized\n", mergedUsr: true, initramfs: true, pi4: true, pi5: true, cloudInit: true,
	},
}

// Layouts lists every layout, oldest first.
func Layouts() []Layout {
	var all []Layout
	for _, g := range generations {
		for _, arch := range g.arches {
			all = append(all, Layout{Release: g.release, Arch: arch, Date: g.date})
		}
	}
	return all
}

// Resolve fills in the newest date where l has none, and arm64 where it names no
// architecture. A layout that pi-gen never made is an error.
func (l Layout) Resolve() (Layout, error) {
	if l.Arch == "" {
		l.Arch = "arm64"
	}
	all := Layouts()
	slices.Reverse(all)
	for _, known := range all {
		if l == known || l.Date == "" && l.Release == known.Release && l.Arch == known.Arch {
			return known, nil
		}
	}
	var names []string
	for _, known := range Layouts() {
		names = append(names, known.String())
	}
	return l, fmt.Errorf("find layout %s: it is none of %s", l, strings.Join(names, ", "))
}

// generation returns the facts of a resolved layout.
func (l Layout) generation() generation {
	for _, g := range generations {
		if g.release == l.Release && g.date == l.Date {
			return g
		}
	}
	panic("layout " + l.String() + " was not resolved")
}

// BootDir is the directory at which the system mounts the FAT partition.
func (l Layout) BootDir() string { return l.generation().bootDir }

// MachineID is the content of /etc/machine-id in a new image.
func (l Layout) MachineID() string { return l.generation().machineID }

// DiskID is the disk signature in the partition table: fixed for each layout, so
// that two builds give the same bytes.
func (l Layout) DiskID() uint32 {
	h := fnv.New32a()
	h.Write([]byte(l.String()))
	return h.Sum32()
}

// PartUUID is what the kernel calls the partition of that number: "1a2b3c4d-02".
func (l Layout) PartUUID(number int) string {
	return fmt.Sprintf("%08x-%02d", l.DiskID(), number)
}

// Fstab is /etc/fstab as pi-gen writes it.
func (l Layout) Fstab() string {
	return fmt.Sprintf("proc            /proc           proc    defaults          0       0\n"+
		"PARTUUID=%s  %s  vfat    defaults          0       2\n"+
		"PARTUUID=%s  /               ext4    defaults,noatime  0       1\n",
		l.PartUUID(1), l.BootDir(), l.PartUUID(2))
}

// Issue is issue.txt on the FAT and /etc/rpi-issue. The commit is made up.
func (l Layout) Issue() string {
	h := fnv.New128a()
	h.Write([]byte(l.String()))
	return fmt.Sprintf("Raspberry Pi reference %s\nGenerated using pi-gen, https://github.com/RPi-Distro/pi-gen, %x%08x, stage2\n",
		l.Date, h.Sum(nil), l.DiskID())
}

// built is the time that every file of the image carries.
func (l Layout) built() time.Time {
	t, err := time.Parse(time.DateOnly, l.Date)
	if err != nil {
		panic(err)
	}
	return t
}
