package card

import (
	"errors"
	"io/fs"
	"syscall"
)

// Hint says what to do about an error of a disk, or "".
func Hint(err error) string {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrPermission) && errors.As(err, &path):
		return accessHint(path.Path)
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return "it was taken out, or its reader hangs: put it in again; --resume goes on where it stopped"
	case errors.Is(err, syscall.EIO):
		return "the card or its reader fails: try another reader with --resume, then another card"
	}
	return ""
}
