package brick

import (
	"context"
	"fmt"
	"io/fs"

	"picluster/internal/host"
)

func thin(d Device, id string) string { return "/dev/mapper/" + group(d.ID) + "-brick_" + id }

// Create makes a brick, if it is not there. Its volume gets its name when the file
// system is on it.
func (k LVMThin) Create(ctx context.Context, h host.Host, d Device, b Brick) error {
	volumes, err := k.volumes(ctx, h, d)
	if _, there := volumes["brick_"+b.ID]; err == nil && !there {
		err = k.make(ctx, h, d, b, volumes)
	}
	return openBrick(ctx, h, d, b, err, k.mount)
}

func (k LVMThin) make(ctx context.Context, h host.Host, d Device, b Brick, volumes map[string]logical) error {
	if err := k.drop(ctx, h, d, b.ID, volumes); err != nil {
		return err
	}
	size, vg := thinSize(b.Bytes), group(d.ID)
	bytes := fmt.Sprintf("%db", size)
	if _, err := lvm(ctx, h, "lvcreate", "--yes", "--thin", "--size", bytes, "--virtualsize", bytes,
		"--poolmetadatasize", fmt.Sprintf("%db", thinMetadata(size)), "--poolmetadataspare", "n", "--chunksize", "256K",
		"--thinpool", vg+"/tp_"+b.ID, "--name", "new_"+b.ID); err != nil {
		return err
	}
	if _, err := run(ctx, h, "mkfs.xfs", "-q", "-K", "-m", "uuid="+uuid(b.ID), "/dev/mapper/"+vg+"-new_"+b.ID); err != nil {
		return err
	}
	_, err := lvm(ctx, h, "lvrename", vg, "new_"+b.ID, "brick_"+b.ID)
	return err
}

// drop removes the pool of a brick, with the volume in it.
func (LVMThin) drop(ctx context.Context, h host.Host, d Device, id string, volumes map[string]logical) error {
	if _, there := volumes["tp_"+id]; !there {
		return nil
	}
	_, err := lvm(ctx, h, "lvremove", "--force", "--yes", group(d.ID)+"/tp_"+id)
	return err
}

func (LVMThin) mount(ctx context.Context, h host.Host, d Device, id string) error {
	return mountBrick(ctx, h, thin(d, id), "noatime,inode64", dir(d, id))
}

// Grow makes a brick at least as large as it says: the pool first, or it could run full
// below a file system that has room.
func (k LVMThin) Grow(ctx context.Context, h host.Host, d Device, b Brick) error {
	if err := k.grow(ctx, h, d, b); err != nil {
		return fmt.Errorf("grow brick %s on %s: %w", b.ID, d.Name, err)
	}
	return nil
}

func (k LVMThin) grow(ctx context.Context, h host.Host, d Device, b Brick) error {
	volumes, err := k.volumes(ctx, h, d)
	if err != nil {
		return err
	}
	is, there := volumes["brick_"+b.ID]
	if !there {
		return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
	}
	size := thinSize(b.Bytes)
	pool, volume := group(d.ID)+"/tp_"+b.ID, group(d.ID)+"/brick_"+b.ID
	if volumes["tp_"+b.ID].size < size {
		if _, err := lvm(ctx, h, "lvextend", "--size", fmt.Sprintf("%db", size), pool); err != nil {
			return err
		}
	}
	if is.size < size {
		if _, err := lvm(ctx, h, "lvextend", "--size", fmt.Sprintf("%db", size), volume); err != nil {
			return err
		}
	}
	if err := k.mount(ctx, h, d, b.ID); err != nil {
		return err
	}
	_, err = run(ctx, h, "xfs_growfs", dir(d, b.ID))
	return err
}

// Delete removes a brick and all that is in it, if it is there.
func (k LVMThin) Delete(ctx context.Context, h host.Host, d Device, id string) error {
	volumes, err := k.volumes(ctx, h, d)
	if err == nil {
		err = unmount(ctx, h, dir(d, id))
	}
	if err == nil {
		err = k.drop(ctx, h, d, id, volumes)
	}
	if err == nil {
		err = h.Remove(ctx, dir(d, id))
	}
	if err != nil {
		return fmt.Errorf("delete brick %s on %s: %w", id, d.Name, err)
	}
	return nil
}
