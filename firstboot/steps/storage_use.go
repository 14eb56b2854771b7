package steps

import (
	"context"
	"strings"

	"picluster/internal/host"
)

// partitions are those that the kernel knows of a disk: directories in the disk's
// own, of names that begin like its name (block/partitions/core.c).
func partitions(ctx context.Context, h host.Host, d blockDevice) ([]blockDevice, error) {
	names, err := h.ReadDir(ctx, "/sys/class/block/"+d.name)
	if err != nil {
		return nil, err
	}
	var all []blockDevice
	for _, name := range names {
		if !strings.HasPrefix(name, d.name) {
			continue
		}
		part, err := deviceByName(ctx, h, name)
		if err != nil {
			return nil, err
		}
		all = append(all, part)
	}
	return all, nil
}

// useOf says what a device is used as, "" if it is not in use: "mounted at /data".
func useOf(ctx context.Context, h host.Host, d blockDevice) (string, error) {
	dir := "/sys/class/block/" + d.name
	// Device-mapper, LVM and RAID hold the devices that they are made of.
	holders, err := h.ReadDir(ctx, dir+"/holders")
	if err != nil {
		return "", err
	}
	if len(holders) > 0 {
		return "a part of /dev/" + holders[0], nil
	}
	number, err := h.ReadFile(ctx, dir+"/dev")
	if err != nil {
		return "", err
	}
	all, err := mounts(ctx, h)
	if err != nil {
		return "", err
	}
	for _, m := range all {
		if m.device != strings.TrimSpace(string(number)) {
			continue
		}
		if m.point == "/" {
			return "what this system runs from", nil
		}
		return "mounted at " + m.point, nil
	}
	swaps, err := swapsInUse(ctx, h)
	if err != nil {
		return "", err
	}
	for _, name := range swaps {
		if name == d.path() {
			return "in use as swap", nil
		}
	}
	return "", nil
}
