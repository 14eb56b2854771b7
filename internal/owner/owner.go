// Package owner keeps files that root makes for a person the person's: cards are
// often written with sudo.
package owner

import (
	"os"
	"path/filepath"
	"syscall"
)

// Adopt gives a file or directory to the owner of the directory that it is in, if
// root runs this and it is another's.
func Adopt(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	owner, has := dir.Sys().(*syscall.Stat_t), info.Sys().(*syscall.Stat_t)
	if has.Uid == owner.Uid && has.Gid == owner.Gid {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}
