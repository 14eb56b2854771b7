package card

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawDisks: on Linux a character device is never a disk.
const rawDisks = false

// List returns the disks of this machine, without looking at what is on them
// further than the system itself did.
func List() ([]*Device, error) { return sysfs{"/"}.list() }

func find(path string) (*Device, error) { return sysfs{"/"}.find(filepath.Base(path)) }

// Release unmounts the volumes of the disk that a desktop mounted.
func (d *Device) Release() error {
	for _, v := range d.Volumes {
		for _, point := range v.Mounts {
			switch err := unix.Unmount(point, 0); {
			case errors.Is(err, unix.EPERM):
				return &ReleaseError{fmt.Errorf("unmount %s: %w", point, err), "unmount it yourself: udisksctl unmount -b " + v.Path}
			case errors.Is(err, unix.EBUSY):
				return &ReleaseError{fmt.Errorf("unmount %s: a program still uses it", point), "close what is open from the card, or: fuser -vm " + point}
			case err != nil:
				return &ReleaseError{fmt.Errorf("unmount %s: %w", point, err), ""}
			}
		}
	}
	return nil
}

// open opens the disk for nobody else. O_EXCL on a block device fails while any
// part of it is mounted or otherwise in use, and keeps others from mounting it.
// O_DIRECT: what is read back comes from the card and not from memory.
func (d *Device) open(forWriting bool) (*disk, error) {
	flags := unix.O_RDONLY
	if forWriting {
		flags = unix.O_RDWR | unix.O_EXCL
	}
	f, err := os.OpenFile(d.Path, flags|unix.O_DIRECT, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("open %s: another program or the system is using it", d.Path)
	case err != nil:
		return nil, fmt.Errorf("open disk: %w", err)
	}
	o := &disk{file: f, path: d.Path, size: d.Size}
	if o.sector, err = unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET); err == nil {
		err = o.checkSize(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", d.Path, err)
	}
	return o, nil
}

// checkSize compares the size of what is open now with the one that was shown.
func (o *disk) checkSize(f *os.File) error {
	var size uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size))); errno != 0 {
		return fmt.Errorf("ask for its size: %w", errno)
	}
	if int64(size) != o.size {
		return fmt.Errorf("it has %d bytes, had %d: the card was changed", size, o.size)
	}
	return nil
}

// reread has the kernel read the new partition table. Who has only permission on
// the device, or a disk without partitions, does without.
func (o *disk) reread() {
	if f, ok := o.file.(*os.File); ok {
		_ = unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0)
	}
}

// dropCache makes the next reading of a regular file come from its disk.
func dropCache(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// accessHint: what a desktop makes of a device file is undone when the card is taken
// out, so nothing stays open to anybody.
func accessHint(path string) string {
	return "only opening the disk needs permission, and only until it is taken out: sudo chown $USER " + path +
		"; whoever is in the group disk always has it"
}
