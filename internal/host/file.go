package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// File is a file as it should be: regular, a directory, or a symbolic link.
type File struct {
	// Mode is the type (0 or fs.ModeDir) and the permissions; no permissions at all
	// means 0644, for a directory 0755. Of a symbolic link it is not used.
	Mode fs.FileMode

	// The owner. On a file system without owners and modes (FAT), Local lets them be.
	UID, GID int

	Data   []byte // of a regular file
	Target string // not empty: a symbolic link to there
}

// perm is the mode without the type.
func (f File) perm() fs.FileMode {
	perm := f.Mode &^ fs.ModeType
	switch {
	case perm != 0:
		return perm
	case f.Mode.IsDir():
		return 0o755
	}
	return 0o644
}

func (f File) check() error {
	if t := f.Mode.Type(); t != 0 && t != fs.ModeDir {
		return fmt.Errorf("mode %v is neither a regular file's nor a directory's", f.Mode)
	}
	if (f.Target != "" || f.Mode.IsDir()) && len(f.Data) > 0 {
		return errors.New("only a regular file has data")
	}
	if f.UID < 0 || f.GID < 0 {
		return fmt.Errorf("owner %d:%d is negative", f.UID, f.GID)
	}
	return nil
}

// String is one line without the content, which may be secret.
func (f File) String() string {
	switch {
	case f.Target != "":
		return "-> " + f.Target
	case f.Mode.IsDir():
		return fmt.Sprintf("directory %s %d:%d", modeString(f.perm()), f.UID, f.GID)
	}
	return fmt.Sprintf("file %s %d:%d, %d bytes", modeString(f.perm()), f.UID, f.GID, len(f.Data))
}

// Format keeps every verb to what String says.
func (f File) Format(s fmt.State, _ rune) { fmt.Fprint(s, f.String()) }

// Drift says in one sentence how the file at path on h differs from f; "" if it
// does not. It never shows content.
func (f File) Drift(ctx context.Context, h Host, path string) (string, error) {
	is, err := h.Stat(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path + " is missing", nil
	case err != nil:
		return "", err
	case f.Target != "":
		return f.linkDrift(path, is), nil
	case is.Mode.Type() != f.Mode.Type():
		return fmt.Sprintf("%s is a %s, want a %s", path, typeName(is.Mode), typeName(f.Mode)), nil
	case f.Mode.IsRegular():
		if same, err := f.sameData(ctx, h, path, is); err != nil || !same {
			return path + " has other content", err
		}
	}
	if is.UID != f.UID || is.GID != f.GID {
		return fmt.Sprintf("%s belongs to %d:%d, want %d:%d", path, is.UID, is.GID, f.UID, f.GID), nil
	}
	if perm := is.Mode &^ fs.ModeType; perm != f.perm() {
		return fmt.Sprintf("%s has mode %s, want %s", path, modeString(perm), modeString(f.perm())), nil
	}
	return "", nil
}

func (f File) linkDrift(path string, is Info) string {
	switch {
	case is.Mode.Type() != fs.ModeSymlink:
		return fmt.Sprintf("%s is a %s, want a symbolic link", path, typeName(is.Mode))
	case is.Target != f.Target:
		return fmt.Sprintf("%s points to %s, want %s", path, is.Target, f.Target)
	}
	return ""
}

func (f File) sameData(ctx context.Context, h Host, path string, is Info) (bool, error) {
	if is.Size != int64(len(f.Data)) {
		return false, nil
	}
	data, err := h.ReadFile(ctx, path)
	return bytes.Equal(data, f.Data), err
}

func typeName(m fs.FileMode) string {
	switch m.Type() {
	case 0:
		return "regular file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "symbolic link"
	}
	return "special file"
}

// The bits of a mode as Unix counts them; Go has its own places for three of them.
var specialBits = []struct {
	unix uint32
	mode fs.FileMode
}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}}

func modeString(m fs.FileMode) string {
	bits := uint32(m.Perm())
	for _, s := range specialBits {
		if m&s.mode != 0 {
			bits |= s.unix
		}
	}
	return fmt.Sprintf("%04o", bits)
}

// modeFromUnix reads an st_mode, inode(7).
func modeFromUnix(st uint32) fs.FileMode {
	m := fs.FileMode(st & 0o777)
	for _, s := range specialBits {
		if st&s.unix != 0 {
			m |= s.mode
		}
	}
	switch st & 0o170000 {
	case 0o100000:
	case 0o040000:
		m |= fs.ModeDir
	case 0o120000:
		m |= fs.ModeSymlink
	case 0o060000:
		m |= fs.ModeDevice
	case 0o020000:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case 0o010000:
		m |= fs.ModeNamedPipe
	case 0o140000:
		m |= fs.ModeSocket
	default:
		m |= fs.ModeIrregular
	}
	return m
}

// temporary is where a new file is made before it takes its place: next to it,
// hidden, and always the same, so that what a power cut leaves behind is gone after
// the next Write. The programs that read whole directories (systemd, sysctl,
// NetworkManager, sudo, cron, apt) pass by such a name.
func temporary(name string) string {
	dir, base := path.Split(name)
	return dir + "." + base + ".tmp"
}
