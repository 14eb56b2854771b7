package card

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"howett.net/plist"
)

// diskutilList is the output of `diskutil list -plist`, as far as we use it.
type diskutilList struct {
	WholeDisks []string
	All        []struct {
		DeviceIdentifier string
		Partitions       []struct{ DeviceIdentifier string }
		APFSVolumes      []struct {
			DeviceIdentifier string
			MountPoint       string
		}
		APFSPhysicalStores []struct{ DeviceIdentifier string }
	} `plist:"AllDisksAndPartitions"`
}

// diskutilInfo is the output of `diskutil info -plist DISK`, as far as we use it.
type diskutilInfo struct {
	DeviceIdentifier  string
	ParentWholeDisk   string
	WholeDisk         bool
	Internal          bool
	RemovableMedia    bool
	WritableMedia     bool
	BusProtocol       string
	VirtualOrPhysical string
	MediaName         string
	IORegistryName    string `plist:"IORegistryEntryName"`
	TotalSize         int64
	PartitionOffset   int64 `plist:"PartitionMapPartitionOffset"`
	Content           string
	FilesystemType    string
	VolumeName        string
	MountPoint        string
	DiskUUID          string
}

// macBuses are names of BusProtocol in our words.
var macBuses = map[string]string{
	"USB": "usb", "Secure Digital": "sd", "SATA": "ata", "ATA": "ata", "PCI-Express": "nvme", "Apple Fabric": "nvme",
	"Disk Image": "loop", "Thunderbolt": "thunderbolt",
}

// diskutil describes disks as macOS does; run returns what that command prints.
type diskutil struct {
	run func(args ...string) ([]byte, error)
}

func (m diskutil) list() ([]*Device, error) {
	var found diskutilList
	if err := m.read(&found, "list", "-plist"); err != nil {
		return nil, err
	}
	var all []*Device
	for _, name := range found.WholeDisks {
		d, err := m.disk(name, &found)
		if err != nil {
			return nil, err
		}
		// An APFS container is a disk of its own, inside of a partition.
		if d != nil && d.Size > 0 {
			all = append(all, d)
		}
	}
	return all, nil
}

// find describes one disk or partition, "disk4" or "disk4s1".
func (m diskutil) find(name string) (*Device, error) {
	var found diskutilList
	if err := m.read(&found, "list", "-plist"); err != nil {
		return nil, err
	}
	var info diskutilInfo
	if err := m.read(&info, "info", "-plist", name); err != nil {
		return nil, err
	}
	if !info.WholeDisk {
		return &Device{Path: "/dev/" + name, Whole: "/dev/" + info.ParentWholeDisk}, nil
	}
	d, err := m.disk(name, &found)
	if err == nil && d == nil {
		err = fmt.Errorf("find disk: %s is a container inside of another disk", name)
	}
	return d, err
}

func (m diskutil) read(into any, args ...string) error {
	data, err := m.run(args...)
	if err != nil {
		return fmt.Errorf("run diskutil %s: %w", args[0], err)
	}
	if _, err := plist.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read output of diskutil %s: %w", args[0], err)
	}
	return nil
}

// disk returns nil for a virtual disk other than an attached disk image.
func (m diskutil) disk(name string, all *diskutilList) (*Device, error) {
	var info diskutilInfo
	if err := m.read(&info, "info", "-plist", name); err != nil {
		return nil, err
	}
	bus, ok := macBuses[info.BusProtocol]
	if !ok {
		bus = strings.ToLower(info.BusProtocol)
	}
	if info.VirtualOrPhysical == "Virtual" && bus != "loop" {
		return nil, nil
	}
	d := &Device{
		Path: "/dev/" + name, Model: cmp.Or(strings.TrimSpace(info.MediaName), info.IORegistryName), Size: info.TotalSize, Bus: bus,
		Removable: !info.Internal || info.RemovableMedia || bus == "sd", ReadOnly: !info.WritableMedia,
	}
	for _, disk := range all.All {
		if disk.DeviceIdentifier != name {
			continue
		}
		for _, p := range disk.Partitions {
			v, err := m.volume(p.DeviceIdentifier, all)
			if err != nil {
				return nil, err
			}
			d.Volumes = append(d.Volumes, v)
		}
	}
	if info.MountPoint != "" { // a file system without partition table
		d.Volumes = append(d.Volumes, Volume{Path: d.Path, Size: d.Size, Type: macType(info), Label: info.VolumeName, Mounts: []string{info.MountPoint}})
	}
	return d, nil
}

func (m diskutil) volume(name string, all *diskutilList) (Volume, error) {
	var info diskutilInfo
	if err := m.read(&info, "info", "-plist", name); err != nil {
		return Volume{}, err
	}
	v := Volume{Path: "/dev/" + name, Start: info.PartitionOffset, Size: info.TotalSize, Type: macType(info), Label: info.VolumeName}
	v.Number, _ = strconv.Atoi(name[strings.LastIndexByte(name, 's')+1:])
	if info.MountPoint != "" {
		v.Mounts = append(v.Mounts, info.MountPoint)
	}
	// What is mounted from an APFS container counts for the partition it is in.
	for _, disk := range all.All {
		for _, store := range disk.APFSPhysicalStores {
			if store.DeviceIdentifier != name {
				continue
			}
			for _, volume := range disk.APFSVolumes {
				if volume.MountPoint != "" && !slices.Contains(v.Mounts, volume.MountPoint) {
					v.Mounts = append(v.Mounts, volume.MountPoint)
				}
			}
		}
	}
	return v, nil
}

// macType gives a file system its Linux name, so that messages are the same.
func macType(info diskutilInfo) string {
	switch t := cmp.Or(info.FilesystemType, info.Content); t {
	case "msdos", "Windows_FAT_32", "DOS_FAT_32", "Windows_FAT_16":
		return "vfat"
	case "Linux":
		return "ext4"
	case "hfs", "Apple_HFS":
		return "hfsplus"
	case "GUID_partition_scheme", "FDisk_partition_scheme":
		return ""
	default:
		return strings.ToLower(t)
	}
}
