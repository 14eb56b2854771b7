package brick

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"picluster/internal/host"
)

// Kind is one way to make bricks, as far as a node needs it by itself after a boot.
type Kind interface {
	// Find looks for a device by its id, whatever the kernel calls it now. If it is
	// not there, the error is an fs.ErrNotExist.
	Find(ctx context.Context, h host.Host, id string) (Device, error)

	// Attach makes a device's bricks available.
	Attach(ctx context.Context, h host.Host, d Device) error

	// Erase takes a device back with all that is on it. If it is not there, the error
	// is an fs.ErrNotExist.
	Erase(ctx context.Context, h host.Host, id string) error
}

// Prepared lists the ids of the devices that a node has given to the storage, whether
// they are there or not: each has its directory below Root.
func Prepared(ctx context.Context, h host.Host) ([]string, error) {
	names, err := h.ReadDir(ctx, Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, name := range names {
		if isID.MatchString(name) {
			ids = append(ids, name)
		}
	}
	return ids, err
}

// AttachAll makes the bricks of all of a node's devices available, as after a boot, but
// for those in done, to which it adds. A device that is not there does not keep the
// others from it.
func AttachAll(ctx context.Context, h host.Host, k Kind, done map[string]bool) error {
	ids, err := Prepared(ctx, h)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if done[id] {
			continue
		}
		d, err := k.Find(ctx, h, id)
		if err == nil {
			err = k.Attach(ctx, h, d)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("attach device %s: %w", id, err))
			continue
		}
		done[id] = true
	}
	return errors.Join(errs...)
}

// find looks for a device's file system. blkid reads the devices themselves: there is
// no udev in a container.
func (disk) find(ctx context.Context, h host.Host, id string) (Device, error) {
	name, err := run(ctx, h, "blkid", "--cache-file", "/dev/null", "--uuid", uuid(id))
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code == 2 { // blkid(8): nothing found
		err = fmt.Errorf("its file system is on no disk: %w", fs.ErrNotExist)
	}
	return Device{ID: id, Name: name}, err
}

// Find implements Kind.
func (XFS) Find(ctx context.Context, h host.Host, id string) (Device, error) {
	return quota.find(ctx, h, id)
}

// Find implements Kind.
func (LoopFile) Find(ctx context.Context, h host.Host, id string) (Device, error) {
	return files.find(ctx, h, id)
}

// erase takes a device back with all that is on it. If it is not there, the error is
// an fs.ErrNotExist.
func (k disk) erase(ctx context.Context, h host.Host, id string) error {
	at := mountPoint(Device{ID: id})
	options, err := mountOptions(ctx, h, at)
	if err == nil && options != "" { // with the bricks that are file systems of their own
		_, err = run(ctx, h, "umount", "--recursive", at)
	}
	if err != nil {
		return err
	}
	d, err := k.find(ctx, h, id)
	if err == nil {
		_, err = run(ctx, h, "wipefs", "--all", d.Name)
	}
	return err
}

// Erase implements Kind.
func (XFS) Erase(ctx context.Context, h host.Host, id string) error { return quota.erase(ctx, h, id) }

// Erase implements Kind.
func (LoopFile) Erase(ctx context.Context, h host.Host, id string) error {
	return files.erase(ctx, h, id)
}
