package brick

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"picluster/internal/host"
)

// LVMThin makes each brick a thin logical volume in a pool of its own, as Heketi does
// and as snapshots of Gluster's want it. It needs dm_thin_pool from the kernel, and
// lvm2 with thin-provisioning-tools.
type LVMThin struct{}

// ErrNoThinPools is in the refusal of a kernel that has no thin pools.
var ErrNoThinPools = errors.New("the kernel has no thin pools")

// extent is LVM's unit of space; chunks are those of Heketi's pools.
const extent = 4 * mib

// noUdev is for containers: there is no udev that LVM could wait for, and without this
// it waits for ever (heketi#844, gluster-kubernetes#279). Nor is there a dmeventd, for
// want of which vgchange fails when it has activated everything.
const noUdev = "activation{udev_sync=0 udev_rules=0 monitoring=0} devices{obtain_device_list_from_udev=0 use_devicesfile=0} backup{backup=0 archive=0}"

func group(id string) string { return "vg_" + id }

func lvm(ctx context.Context, h host.Host, command string, args ...string) (string, error) {
	return run(ctx, h, append([]string{"lvm", command, "--config", noUdev}, args...)...)
}

// groupDevice is the device of a volume group, "" if there is no such group.
func groupDevice(ctx context.Context, h host.Host, id string) (string, error) {
	out, err := lvm(ctx, h, "vgs", "--noheadings", "--select", "vg_name="+group(id), "--options", "pv_name")
	return strings.TrimSpace(out), err
}

// Prepare makes a device ready, see package brick.
func (k LVMThin) Prepare(ctx context.Context, h host.Host, d Device, wipe bool) error {
	err := k.prepare(ctx, h, d, wipe)
	if err == nil {
		err = k.Attach(ctx, h, d)
	}
	if err != nil {
		return fmt.Errorf("prepare %s: %w", d.Name, err)
	}
	return nil
}

func (LVMThin) prepare(ctx context.Context, h host.Host, d Device, wipe bool) error {
	if !isID.MatchString(d.ID) {
		return fmt.Errorf("%q is no id", d.ID)
	}
	if err := thinPools(ctx, h); err != nil {
		return err
	}
	if at, err := groupDevice(ctx, h, d.ID); err != nil || at != "" {
		return err
	}
	found, err := signatures(ctx, h, d.Name)
	if err != nil {
		return err
	}
	if len(found) > 0 && !wipe {
		return fmt.Errorf("%w: %s", ErrData, found)
	}
	if len(found) > 0 {
		if _, err := run(ctx, h, "wipefs", "--all", d.Name); err != nil {
			return err
		}
	}
	// It also makes the physical volume, in one go; the sizes are Heketi's.
	_, err = lvm(ctx, h, "vgcreate", "--yes", "--metadatasize", "128M", "--dataalignment", "256K", "--physicalextentsize", "4M", group(d.ID), d.Name)
	return err
}

// thinPools asks the kernel. Its module is loaded on demand where there is one.
func thinPools(ctx context.Context, h host.Host) error {
	run(ctx, h, "modprobe", "dm_thin_pool") // it may be built in, or not be there
	out, err := run(ctx, h, "dmsetup", "targets")
	if err != nil || !strings.Contains(out, "thin-pool") {
		return fmt.Errorf("%w (dm_thin_pool): bricks can be of kind xfs or loopfile there", ErrNoThinPools)
	}
	return nil
}

// Find implements Kind.
func (LVMThin) Find(ctx context.Context, h host.Host, id string) (Device, error) {
	name, err := groupDevice(ctx, h, id)
	if err == nil && name == "" {
		err = fmt.Errorf("its volume group is on no disk: %w", fs.ErrNotExist)
	}
	return Device{ID: id, Name: name}, err
}

// Attach mounts the bricks of a prepared device, as after a boot. What a power cut has
// left of bricks that were being made goes.
func (k LVMThin) Attach(ctx context.Context, h host.Host, d Device) error {
	if err := h.Write(ctx, mountPoint(d), host.File{Mode: fs.ModeDir | 0o700}); err != nil {
		return err
	}
	if _, err := lvm(ctx, h, "vgchange", "--activate", "y", group(d.ID)); err != nil {
		return err
	}
	volumes, err := k.volumes(ctx, h, d)
	if err != nil {
		return err
	}
	for name := range volumes {
		id, pool := strings.CutPrefix(name, "tp_")
		if !pool {
			continue
		}
		if _, whole := volumes["brick_"+id]; whole {
			err = k.mount(ctx, h, d, id)
		} else {
			err = k.drop(ctx, h, d, id, volumes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// logical is a logical volume. Sizes are in bytes; only a pool has metadata.
type logical struct{ size, metadata int64 }

func (LVMThin) volumes(ctx context.Context, h host.Host, d Device) (map[string]logical, error) {
	out, err := lvm(ctx, h, "lvs", "--noheadings", "--units", "b", "--nosuffix", "--separator", " ", "--options", "lv_name,lv_size,lv_metadata_size", group(d.ID))
	if err != nil {
		return nil, err
	}
	all := map[string]logical{}
	for line := range strings.Lines(out) {
		fields := append(strings.Fields(line), "0") // a thin volume has no metadata
		if len(fields) < 3 {
			return nil, fmt.Errorf("look at volumes on %s: lvs says %.80q", d.Name, line)
		}
		size, err := atoi("size of "+fields[0], fields[1])
		metadata, moreErr := atoi("size of "+fields[0], fields[2])
		if err := errors.Join(err, moreErr); err != nil {
			return nil, err
		}
		all[fields[0]] = logical{size, metadata}
	}
	return all, nil
}

// Release gives a device back that has no bricks.
func (k LVMThin) Release(ctx context.Context, h host.Host, d Device) error {
	at, err := groupDevice(ctx, h, d.ID)
	if err != nil || at == "" {
		return err
	}
	u, err := k.Usage(ctx, h, d)
	if err == nil && len(u.Bricks) > 0 {
		err = fmt.Errorf("release %s: %d bricks are on it", d.Name, len(u.Bricks))
	}
	if err != nil {
		return err
	}
	return k.Erase(ctx, h, d.ID)
}

// Erase implements Kind.
func (k LVMThin) Erase(ctx context.Context, h host.Host, id string) error {
	d, err := k.Find(ctx, h, id)
	if err != nil {
		return err
	}
	volumes, err := k.volumes(ctx, h, d)
	for name := range volumes {
		if brick, ok := strings.CutPrefix(name, "tp_"); ok && err == nil {
			err = unmount(ctx, h, dir(d, brick))
		}
	}
	if err == nil {
		_, err = lvm(ctx, h, "vgremove", "--force", "--yes", group(id))
	}
	if err == nil {
		_, err = run(ctx, h, "wipefs", "--all", d.Name)
	}
	if err == nil {
		_, err = run(ctx, h, "rm", "-rf", "--one-file-system", mountPoint(d))
	}
	return err
}

// Footprint is what a brick takes of its device: its pool, as large as the file system
// on it has to be, and the pool's metadata, half a percent as Heketi has it.
func (LVMThin) Footprint(bytes int64) int64 {
	size := thinSize(bytes)
	return size + thinMetadata(size)
}

func thinSize(bytes int64) int64    { return roundUp(LoopFile{}.Footprint(bytes), extent) }
func thinMetadata(size int64) int64 { return roundUp(max(size/200, extent), extent) }

// Usage looks at a prepared device.
func (k LVMThin) Usage(ctx context.Context, h host.Host, d Device) (Usage, error) {
	out, err := lvm(ctx, h, "vgs", "--noheadings", "--units", "b", "--nosuffix", "--options", "vg_size", group(d.ID))
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Bricks: map[string]int64{}}
	if u.Total, err = atoi("size of "+d.Name, out); err != nil {
		return Usage{}, err
	}
	volumes, err := k.volumes(ctx, h, d)
	for name, is := range volumes {
		if id, ok := strings.CutPrefix(name, "tp_"); ok && isID.MatchString(id) {
			u.Bricks[id] = is.size + is.metadata
		}
	}
	return u, err
}
