package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"picluster/internal/cli"
	"picluster/internal/host"
)

// StorageFile wants a file of that size, all of it on the disk, for nobody but
// root. It takes no file that it has not made, makes one larger but never smaller,
// and leaves room on the file system for everything else.
type StorageFile struct {
	Path string
	Size int64 // bytes
}

func (s StorageFile) Name() string { return "storage file" }

// keepFree is the part of a file system that stays free, in per cent: the kubelet
// evicts pods when less than 15 % is free for images (imagefs.available, its
// default threshold).
const keepFree = 15

// plainPath is what units and scripts need no quotes for.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9_./:@+-]+$`)

// look is what there is of the file: no file has size -1.
func (s StorageFile) look(ctx context.Context, h host.Host) (is host.Info, m mark, err error) {
	if !plainPath.MatchString(s.Path) {
		return is, m, s.refusal("its name has other characters than letters, digits and ./:@+_-")
	}
	if m, err = readMark(ctx, h); err != nil {
		return is, m, err
	}
	if err = m.elsewhere(s.Path); err != nil {
		return is, m, err
	}
	is, err = h.Stat(ctx, s.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return is, m, err
	}
	switch there := err == nil; {
	case !there && m.Ready:
		return is, m, s.refusal("it was there once and is gone. Bring it back, or remove " + storageMark + " to begin with an empty one")
	case !there:
		return host.Info{Size: -1}, m, nil
	case !is.Mode.IsRegular():
		return is, m, s.refusal("it is there and is no regular file")
	case m.Path == "":
		return is, m, s.refusal("it is there and was not made by picluster")
	}
	return is, m, nil
}

func (s StorageFile) refusal(why string) error {
	return fmt.Errorf("use %s for storage: %s", s.Path, why)
}

// Check implements Step.
func (s StorageFile) Check(ctx context.Context, h host.Host) (string, error) {
	is, m, err := s.look(ctx, h)
	switch {
	case err != nil:
		return "", err
	case is.Size < 0:
		return s.Path + " is missing", s.room(ctx, h, 0)
	case is.Size < s.Size:
		return fmt.Sprintf("%s has %s of %s", s.Path, cli.Bytes(is.Size), cli.Bytes(s.Size)), s.room(ctx, h, is.Size)
	case !isPrivate(is):
		return s.Path + " can be used by others", nil
	case !m.Ready:
		return s.Path + " is not marked as ready", nil
	}
	return "", nil
}

// room refuses what would fill the file system, and file systems that cannot hold
// a disk's data.
func (s StorageFile) room(ctx context.Context, h host.Host, have int64) error {
	kind, err := kindOfFileSystem(ctx, h, s.Path)
	if err != nil {
		return err
	}
	if slices.Contains([]string{"tmpfs", "ramfs", "devtmpfs", "vfat", "exfat", "nfs", "nfs4", "cifs"}, kind) {
		return s.refusal("it would be on a file system of type " + kind)
	}
	space, err := diskSpace(ctx, h, s.Path)
	if err != nil {
		return err
	}
	most := have + space.free - space.total/100*keepFree
	if s.Size <= most {
		return nil
	}
	return s.refusal(fmt.Sprintf("%s do not fit: %s of the file system's %s are free, and %d %% stay free: at most %dMi fit",
		cli.Bytes(s.Size), cli.Bytes(have+space.free), cli.Bytes(space.total), keepFree, max(most, 0)>>20))
}

// Apply implements Step.
func (s StorageFile) Apply(ctx context.Context, h host.Host) error {
	is, m, err := s.look(ctx, h)
	if err != nil {
		return err
	}
	m.Path = s.Path
	if is.Size < 0 {
		if err := m.write(ctx, h); err != nil {
			return err
		}
		err = allocateFile(ctx, h, s.Path, s.Size)
	} else {
		if !isPrivate(is) {
			err = makePrivate(ctx, h, s.Path)
		}
		if err == nil && is.Size < s.Size {
			err = fill(ctx, h, s.Path, s.Size)
		}
	}
	if err != nil {
		return err
	}
	m.Ready = true
	return m.write(ctx, h)
}

// LoopDevice wants a block device of a file, and the link to it. At boot the
// service makes both.
type LoopDevice struct{ File string }

func (s LoopDevice) Name() string { return "loop device" }

// devices lists those of the file, which losetup finds by its inode:
// "/dev/loop0: [45826]:131 (/var/gluster.img)".
func (s LoopDevice) devices(ctx context.Context, h host.Host) ([]string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"losetup", "--associated", s.File}})
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
	}
	return names, nil
}

// Check implements Step.
func (s LoopDevice) Check(ctx context.Context, h host.Host) (string, error) {
	names, err := s.devices(ctx, h)
	switch {
	case err != nil:
		return "", err
	case len(names) == 0:
		return s.File + " has no loop device", nil
	case len(names) > 1:
		return "", fmt.Errorf("use the loop device of %s: there are several, %s", s.File, strings.Join(names, " and "))
	}
	link := host.File{Target: "../" + path.Base(names[0])}
	if drift, err := link.Drift(ctx, h, StorageLink); err != nil || drift != "" {
		return drift, err
	}
	return s.sizeDrift(ctx, h, names[0])
}

func (s LoopDevice) sizeDrift(ctx context.Context, h host.Host, device string) (string, error) {
	is, err := h.Stat(ctx, s.File)
	if err != nil {
		return "", err
	}
	d, err := deviceByName(ctx, h, path.Base(device))
	if err != nil {
		return "", err
	}
	if have := d.size * sysSector; have != is.Size/sysSector*sysSector {
		return fmt.Sprintf("%s has %s of %s", device, cli.Bytes(have), cli.Bytes(is.Size)), nil
	}
	return "", nil
}

// Apply implements Step.
func (s LoopDevice) Apply(ctx context.Context, h host.Host) error {
	if _, err := h.Run(ctx, host.Cmd{Args: []string{path.Base(storageScript), "start", s.File}}); err != nil {
		return err
	}
	names, err := s.devices(ctx, h)
	if err != nil || len(names) == 0 {
		return err
	}
	drift, err := s.sizeDrift(ctx, h, names[0])
	if err == nil && drift != "" {
		_, err = h.Run(ctx, host.Cmd{Args: []string{"losetup", "--set-capacity", names[0]}})
	}
	return err
}
