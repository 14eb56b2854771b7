package brick

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"picluster/internal/host"
)

// LoopFile makes each brick a file on the device, with a file system of its own in
// it. It needs nothing from the kernel but loop devices, and costs a second layer of
// file system.
type LoopFile struct{}

var files disk

// Prepare makes a device ready, see package brick. If it is so already its bricks are
// mounted: one that is not would be taken for lost.
func (k LoopFile) Prepare(ctx context.Context, h host.Host, d Device, wipe bool) error {
	if err := files.prepare(ctx, h, d, wipe); err != nil {
		return err
	}
	return k.Attach(ctx, h, d)
}

// Attach mounts a prepared device and its bricks, as after a boot.
func (k LoopFile) Attach(ctx context.Context, h host.Host, d Device) error {
	if err := files.attach(ctx, h, d); err != nil {
		return err
	}
	u, err := k.Usage(ctx, h, d)
	if err != nil {
		return err
	}
	for id := range u.Bricks {
		if err := k.mount(ctx, h, d, id); err != nil {
			return err
		}
	}
	return nil
}

// Release gives a device back that has no bricks.
func (k LoopFile) Release(ctx context.Context, h host.Host, d Device) error {
	u, err := k.Usage(ctx, h, d)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return files.release(ctx, h, d, len(u.Bricks))
}

// Footprint is what a brick takes of its device. XFS takes 80 MiB of a small file
// system, most of it the log, and 1 to 2 % of a large one (measured, 300 MiB to
// 100 GiB). mkfs.xfs makes none below 300 MB.
func (LoopFile) Footprint(bytes int64) int64 {
	return max(300*mib, roundUp(bytes+bytes/40+96*mib, 4*mib))
}

// Usage looks at a prepared device.
func (LoopFile) Usage(ctx context.Context, h host.Host, d Device) (Usage, error) {
	names, err := h.ReadDir(ctx, mountPoint(d))
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Bricks: map[string]int64{}}
	if u.Total, err = files.total(ctx, h, d); err != nil {
		return Usage{}, err
	}
	for _, name := range names {
		if id, ok := strings.CutSuffix(name, ".img"); ok && isID.MatchString(id) {
			is, err := h.Stat(ctx, dir(d, name))
			if err != nil {
				return Usage{}, err
			}
			u.Bricks[id] = is.Size
		}
	}
	return u, nil
}

func image(d Device, id string) string { return dir(d, id) + ".img" }

// half is the image until it is whole.
func half(d Device, id string) string { return dir(d, "."+id+".img") }

// Create makes a brick, if it is not there.
func (k LoopFile) Create(ctx context.Context, h host.Host, d Device, b Brick) error {
	there, err := exists(ctx, h, image(d, b.ID))
	if err == nil && !there {
		err = k.make(ctx, h, d, b)
	}
	return openBrick(ctx, h, d, b, err, k.mount)
}

func (k LoopFile) make(ctx context.Context, h host.Host, d Device, b Brick) error {
	raw := half(d, b.ID)
	for _, args := range [][]string{
		{"rm", "-f", raw},
		{"fallocate", "--length", fmt.Sprint(k.Footprint(b.Bytes)), raw},
		{"mkfs.xfs", "-q", "-m", "uuid=" + uuid(b.ID), raw},
		{"sync", raw},
		{"mv", "--no-target-directory", raw, image(d, b.ID)},
		{"sync", mountPoint(d)},
	} {
		if _, err := run(ctx, h, args...); err != nil {
			return err
		}
	}
	return nil
}

// mount mounts a brick. The loop device goes with the mount (mount(8), autoclear).
func (k LoopFile) mount(ctx context.Context, h host.Host, d Device, id string) error {
	return mountBrick(ctx, h, image(d, id), "loop,noatime", dir(d, id))
}

// Grow makes a brick at least as large as it says.
func (k LoopFile) Grow(ctx context.Context, h host.Host, d Device, b Brick) error {
	is, err := h.Stat(ctx, image(d, b.ID))
	want := k.Footprint(b.Bytes)
	if err == nil && is.Size < want {
		_, err = run(ctx, h, "fallocate", "--length", fmt.Sprint(want), image(d, b.ID))
	}
	if err == nil {
		err = k.growFileSystem(ctx, h, d, b.ID)
	}
	if err != nil {
		return fmt.Errorf("grow brick %s on %s: %w", b.ID, d.Name, err)
	}
	return nil
}

// growFileSystem is also for a file that has grown before a power cut.
func (k LoopFile) growFileSystem(ctx context.Context, h host.Host, d Device, id string) error {
	if err := k.mount(ctx, h, d, id); err != nil {
		return err
	}
	loop, err := run(ctx, h, "findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", dir(d, id))
	if err != nil {
		return err
	}
	if _, err := run(ctx, h, "losetup", "--set-capacity", loop); err != nil {
		return err
	}
	_, err = run(ctx, h, "xfs_growfs", dir(d, id))
	return err
}

// Delete removes a brick and all that is in it, if it is there.
func (k LoopFile) Delete(ctx context.Context, h host.Host, d Device, id string) error {
	err := unmount(ctx, h, dir(d, id))
	for _, path := range []string{image(d, id), half(d, id), dir(d, id)} {
		if err == nil {
			err = h.Remove(ctx, path)
		}
	}
	if err != nil {
		return fmt.Errorf("delete brick %s on %s: %w", id, d.Name, err)
	}
	return nil
}
