package card

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// rawDisks: /dev/rdisk4 is the same disk as /dev/disk4, without the cache.
const rawDisks = true

var system = diskutil{run: func(args ...string) ([]byte, error) {
	return exec.Command("/usr/sbin/diskutil", args...).Output()
}}

// List returns the disks of this machine.
func List() ([]*Device, error) { return system.list() }

func find(path string) (*Device, error) {
	return system.find(strings.TrimPrefix(filepath.Base(path), "r"))
}

// Release unmounts the disk: macOS mounts every card that it can read.
func (d *Device) Release() error {
	if d.IsFile() || len(d.Mounts()) == 0 {
		return nil
	}
	if out, err := exec.Command("/usr/sbin/diskutil", "unmountDisk", d.Path).CombinedOutput(); err != nil {
		return &ReleaseError{fmt.Errorf("unmount %s: %s", d.Path, strings.TrimSpace(string(out))), "close what is open from the card"}
	}
	return nil
}

// open opens the raw disk, past the cache, for nobody else.
func (d *Device) open(forWriting bool) (*disk, error) {
	path := "/dev/r" + filepath.Base(d.Path)
	flags := unix.O_RDONLY
	if forWriting {
		flags = unix.O_RDWR | unix.O_EXLOCK | unix.O_NONBLOCK
	}
	f, err := os.OpenFile(path, flags, 0)
	switch {
	case errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EWOULDBLOCK):
		return nil, fmt.Errorf("open %s: another program or the system is using it", path)
	case err != nil:
		return nil, fmt.Errorf("open disk: %w", err)
	}
	dropCache(f)
	return &disk{file: f, path: d.Path, size: d.Size, sector: 512}, nil
}

// reread does nothing: macOS reads the table when the disk is closed.
func (o *disk) reread() {}

func dropCache(f *os.File) {
	_, _ = unix.FcntlInt(f.Fd(), unix.F_NOCACHE, 1)
}

func accessHint(string) string {
	return "writing to a disk needs permission on it: run the same command with sudo"
}
