package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"picluster/internal/durable"
)

// Stat implements Host.
func (l Local) Stat(_ context.Context, path string) (Info, error) {
	real, err := l.locate("stat", path, false)
	if err != nil {
		return Info{}, err
	}
	info, err := os.Lstat(real)
	if err != nil {
		return Info{}, pathError("stat", path, err)
	}
	is := Info{Mode: info.Mode(), Size: info.Size(), ModTime: info.ModTime()}
	is.UID, is.GID = owner(info)
	if info.Mode().Type() == fs.ModeSymlink {
		is.Target, err = os.Readlink(real)
	}
	return is, pathError("stat", path, err)
}

func owner(info fs.FileInfo) (uid, gid int) {
	st := info.Sys().(*syscall.Stat_t)
	return int(st.Uid), int(st.Gid)
}

// ReadFile implements Host.
func (l Local) ReadFile(_ context.Context, path string) ([]byte, error) {
	real, err := l.locate("read", path, true)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(real)
	return data, pathError("read", path, err)
}

// ReadDir implements Host.
func (l Local) ReadDir(_ context.Context, path string) ([]string, error) {
	real, err := l.locate("list", path, true)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return nil, pathError("list", path, err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Write implements Host.
func (l Local) Write(_ context.Context, path string, f File) error {
	real, err := l.locate("write", path, false)
	if err != nil {
		return err
	}
	return pathError("write", path, l.write(path, real, f))
}

func (l Local) write(path, real string, f File) error {
	if err := f.check(); err != nil {
		return err
	}
	if err := makeAll(filepath.Dir(real)); err != nil {
		return err
	}
	if f.Target == "" && f.Mode.IsDir() {
		return l.makeDirectory(path, real, f)
	}
	return l.replace(path, real, f)
}

// replace makes the new file next to the old one and renames it. Both are on the
// same file system, so there is always one of the two; and the new one is on the
// disk before it gets the name.
func (l Local) replace(path, real string, f File) error {
	tmp := temporary(real)
	l.fault("create", path)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := l.create(path, tmp, f)
	if err == nil {
		l.fault("rename", path)
		err = os.Rename(tmp, real)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return l.syncDirectory(path, real)
}

func (l Local) create(path, tmp string, f File) error {
	if f.Target != "" {
		if err := os.Symlink(f.Target, tmp); err != nil {
			return err
		}
		return setOwner(tmp, f)
	}
	// Nobody else may read a secret before it has its mode.
	w, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	l.fault("write", path)
	if _, err := w.Write(f.Data); err != nil {
		return err
	}
	if err := setOwner(tmp, f); err != nil {
		return err
	}
	if err := setMode(tmp, f.perm()); err != nil {
		return err
	}
	l.fault("sync", path)
	return w.Sync()
}

func (l Local) makeDirectory(path, real string, f File) error {
	l.fault("make directory", path)
	if err := os.Mkdir(real, 0o700); err != nil {
		info, statErr := os.Lstat(real)
		if statErr != nil || !info.IsDir() {
			return err
		}
	}
	if err := setOwner(real, f); err != nil {
		return err
	}
	if err := setMode(real, f.perm()); err != nil {
		return err
	}
	return l.syncDirectory(path, real)
}

// makeAll is os.MkdirAll whatever the umask, and on the disk.
func makeAll(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := makeAll(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		if info, statErr := os.Stat(dir); statErr != nil || !info.IsDir() {
			return err
		}
		// Another writer was faster and may not have come to the mode yet.
	} else if err != nil {
		return err
	}
	if err := setMode(dir, 0o755); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// Remove implements Host.
func (l Local) Remove(_ context.Context, path string) error {
	real, err := l.locate("remove", path, false)
	if err != nil {
		return err
	}
	l.fault("remove", path)
	err = os.Remove(real)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err == nil {
		err = l.syncDirectory(path, real)
	}
	return pathError("remove", path, err)
}

func (l Local) syncDirectory(path, real string) error {
	l.fault("sync directory", path)
	return durable.SyncDir(filepath.Dir(real))
}

func setOwner(real string, f File) error {
	info, err := os.Lstat(real)
	if err != nil {
		return err
	}
	if uid, gid := owner(info); uid == f.UID && gid == f.GID {
		return nil
	}
	return unlessFAT(os.Lchown(real, f.UID, f.GID))
}

func setMode(real string, perm fs.FileMode) error {
	info, err := os.Lstat(real)
	if err != nil {
		return err
	}
	if info.Mode()&^fs.ModeType == perm {
		return nil
	}
	return unlessFAT(os.Chmod(real, perm))
}

// unlessFAT lets pass that a file system has neither owners nor modes. Linux says
// EPERM then, even to root (fs/fat/file.c, fat_setattr); on any other file system
// root may, for a file just made. A step that wants them all the same finds out by
// its next Check.
func unlessFAT(err error) error {
	if errors.Is(err, syscall.EPERM) && os.Geteuid() == 0 {
		return nil
	}
	return err
}

// pathError gives an error of package os the path as the machine sees it.
func pathError(op, path string, err error) error {
	var inner *fs.PathError
	var link *os.LinkError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &inner) && op == "write":
		err = fmt.Errorf("%s: %w", inner.Op, inner.Err)
	case errors.As(err, &inner):
		err = inner.Err
	case errors.As(err, &link):
		err = fmt.Errorf("%s: %w", link.Op, link.Err)
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// locate is where a path of the machine is among our own.
func (l Local) locate(op, path string, follow bool) (string, error) {
	if err := checkPath(op, path); err != nil {
		return "", err
	}
	real, err := l.path(path, follow)
	return real, pathError(op, path, err)
}

// path resolves symbolic links as if Root were the root directory, the last one
// only if follow. (os.Root is no help: it refuses absolute links.) What does not
// exist is taken as it is named.
func (l Local) path(name string, follow bool) (string, error) {
	if l.isMachine() {
		return name, nil
	}
	at, rest, links := "/", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		next := filepath.Join(at, part) // ".." stops at the root, as in the kernel
		target, err := os.Readlink(filepath.Join(l.Root, next))
		if err != nil || (len(rest) == 0 && !follow) {
			at = next
			continue
		}
		if links++; links > 40 { // path_resolution(7)
			return "", syscall.ELOOP
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(l.Root, at), nil
}
