package baseimage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"picluster/internal/owner"
)

// Kinds of files in the cache, by ending.
const (
	imageFile = ".img"
	partFile  = ".part"
	workFile  = ".tmp"
	holdFile  = ".lock"
)

func (c *Cache) path(name string) string { return filepath.Join(c.dir, name) }

// cacheFile is a file in the cache's directory.
type cacheFile struct {
	path   string
	kind   string
	onDisk int64 // bytes that it takes on the disk
	used   time.Time
}

// digest is the file's name without ending: for an image its digest, for a
// download the key of its location.
func (f cacheFile) digest() string { return strings.TrimSuffix(filepath.Base(f.path), f.kind) }

func (c *Cache) files() ([]cacheFile, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var files []cacheFile
	for _, e := range entries {
		kind := filepath.Ext(e.Name())
		if !slices.Contains([]string{imageFile, partFile, workFile, holdFile}, kind) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			files = append(files, cacheFile{c.path(e.Name()), kind, onDisk(info), info.ModTime()})
		}
	}
	return files, nil
}

func oldestFirst(files []cacheFile) []cacheFile {
	return slices.SortedFunc(slices.Values(files), func(a, b cacheFile) int { return a.used.Compare(b.used) })
}

// work makes a new file for an image in the making.
func (c *Cache) work() (f *os.File, err error) {
	// Under the lock, or a sweep might come before the file is locked.
	err = c.locked(func(*index) error {
		if f, err = os.CreateTemp(c.dir, "*"+workFile); err != nil {
			return err
		}
		_, err := tryLock(f, exclusive)
		return errors.Join(err, owner.Adopt(f))
	})
	if err != nil && f != nil {
		f.Close()
	}
	return f, err
}

// claimPause is the time between two looks at what another process holds. A
// blocking flock would not notice the end of the context.
const claimPause = 50 * time.Millisecond

// claim opens and locks a file of the cache, and makes it if it is not there. As
// long as another process has it, claim waits; wait is then called once.
func (c *Cache) claim(ctx context.Context, name string, wait func()) (*os.File, error) {
	for told := false; ; {
		f, err := os.OpenFile(c.path(name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		free, err := tryLock(f, exclusive)
		if err == nil && free && isStill(f) {
			return f, owner.Adopt(f)
		}
		f.Close()
		if err != nil {
			return nil, err
		}
		if !free && !told {
			told = true
			wait()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(claimPause):
		}
	}
}

// isStill reports whether the open file is the one that its name leads to: the
// process that had it locked before may have removed it.
func isStill(f *os.File) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(f.Name())
	return err == nil && os.SameFile(opened, named)
}

// mode of a lock.
const (
	shared    = unix.LOCK_SH
	exclusive = unix.LOCK_EX
)

// tryLock locks an open file, or changes its lock, unless another process (or
// another open file of this one) holds a lock that forbids it.
func tryLock(f *os.File, mode int) (locked bool, err error) {
	err = flock(f, mode|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func flock(f *os.File, how int) error {
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Flock(int(f.Fd()), how).(syscall.Errno)
	}
	if err != 0 {
		return &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return nil
}

// lockFile waits for the lock. It ends when the file is closed.
func lockFile(path string) (*os.File, error) {
	// Opened for writing: NFS grants an exclusive lock on nothing else.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(flock(f, exclusive), owner.Adopt(f)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// inUse reports whether a process has locked the file.
func inUse(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return true
	}
	defer f.Close()
	free, err := tryLock(f, exclusive)
	return err != nil || !free
}

// freeSpace returns how many bytes an ordinary user may still write.
func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// onDisk returns the bytes of the disk that a file takes. st_blocks counts units
// of 512 bytes on Linux and macOS alike.
func onDisk(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

func inode(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

// mkdirAll makes a directory that is readable by its user alone, and its parents.
func mkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if err := mkdirAll(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(owner.Adopt(d), d.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
