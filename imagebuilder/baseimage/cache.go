package baseimage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"picluster/internal/durable"
)

// Cache is a directory of decompressed images, which any number of processes may
// use at once. Deleting it is always safe.
//
// In it are: D.img, the image with the digest D, written once and never changed;
// K.part, what was downloaded of the location with the key K; N.tmp, an image in
// the making; N.lock, which only one process at a time may hold; index.json, what
// is known about them; and lock, held while any of these appears or goes. A file
// that a process works with is locked by it (flock), so the system itself lets go
// of what a killed process held.
type Cache struct {
	dir string

	limit    int64 // most bytes on disk, kept by removing what was not used longest
	keepFree int64 // bytes of the disk that are left to others
}

const (
	defaultLimit    = 20_000_000_000
	defaultKeepFree = 100_000_000
)

// OpenCache opens the cache in dir, which is made if it is not there. Empty means
// picluster/images in the user's cache directory.
func OpenCache(dir string) (*Cache, error) {
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find image cache: %w", err)
		}
		dir = filepath.Join(base, "picluster", "images")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find image cache: %w", err)
	}
	if err := mkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make image cache: %w", err)
	}
	return &Cache{dir: dir, limit: defaultLimit, keepFree: defaultKeepFree}, nil
}

// Entry is an image in the cache.
type Entry struct {
	Name     string
	Size     int64 // bytes of the image
	OnDisk   int64 // bytes that it takes on the disk
	LastUsed time.Time
	SHA256   string // of the image
}

// List returns the images in the cache, the one last used first.
func (c *Cache) List() ([]Entry, error) {
	var entries []Entry
	err := c.locked(func(x *index) error {
		files, err := c.files()
		if err != nil {
			return err
		}
		for _, f := range files {
			if r, ok := x.Images[f.digest()]; ok && f.kind == imageFile {
				entries = append(entries, Entry{r.Name, r.Size, f.onDisk, f.used, f.digest()})
			}
		}
		return nil
	})
	slices.SortFunc(entries, func(a, b Entry) int { return b.LastUsed.Compare(a.LastUsed) })
	return entries, err
}

// Clear removes all that no process is using, unfinished downloads too, and
// returns how many bytes of the disk that freed.
func (c *Cache) Clear() (freed int64, err error) {
	err = c.locked(func(x *index) error {
		files, err := c.files()
		if err != nil {
			return err
		}
		for _, f := range files {
			gone, err := c.removeUnused(x, f)
			if err != nil {
				return err
			}
			if gone {
				freed += f.onDisk
			}
		}
		x.Files, x.Answers = nil, nil
		return nil
	})
	return freed, err
}

// use returns the image with that digest if it is in the cache. It is then not
// removed to make room for as long as the Image is reachable.
func (c *Cache) use(digest string) (img *Image, err error) {
	err = c.locked(func(x *index) error {
		r, ok := x.Images[digest]
		if !ok {
			return nil
		}
		path := c.path(digest + imageFile)
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			delete(x.Images, digest)
			return nil
		}
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil && info.Size() != r.Size {
			delete(x.Images, digest)
			return errors.Join(os.Remove(path), f.Close())
		}
		if err == nil {
			_, err = tryLock(f, shared)
		}
		if err != nil {
			f.Close()
			return err
		}
		// The time of last use. Where it cannot be set, the image only goes earlier.
		now := time.Now()
		_ = os.Chtimes(path, now, now)
		img = &Image{Path: path, Name: r.Name, Size: r.Size, SHA256: digest, hold: f}
		return nil
	})
	return img, err
}

// hasSize reports whether there is an image of that many bytes.
func (c *Cache) hasSize(size int64) (there bool, err error) {
	err = c.locked(func(x *index) error {
		for _, r := range x.Images {
			there = there || r.Size == size
		}
		return nil
	})
	return there, err
}

// drop removes an image that turned out to be damaged, whoever uses it.
func (c *Cache) drop(digest string) error {
	return c.locked(func(x *index) error {
		delete(x.Images, digest)
		return ignoreMissing(os.Remove(c.path(digest + imageFile)))
	})
}

// add makes the finished work file the image with that digest. The caller must
// have brought the file to the disk.
func (c *Cache) add(work *os.File, digest string, r record, source string) (*Image, error) {
	path := c.path(digest + imageFile)
	err := c.locked(func(x *index) error {
		// An image of that digest may be there, but this one is known to be right.
		if err := os.Rename(work.Name(), path); err != nil {
			return err
		}
		if err := durable.SyncDir(c.dir); err != nil {
			return err
		}
		set(&x.Images, digest, r)
		set(&x.Sources, source, digest)
		_, err := tryLock(work, shared)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := c.trim(); err != nil {
		return nil, err
	}
	return &Image{Path: path, Name: r.Name, Size: r.Size, SHA256: digest, SourceSHA256: source, hold: work}, nil
}

// trim removes what was not used longest until the rest is within the limit.
func (c *Cache) trim() error {
	return c.locked(func(x *index) error {
		files, err := c.sweep(x)
		if err != nil {
			return err
		}
		var total int64
		for _, f := range files {
			total += f.onDisk
		}
		for _, f := range oldestFirst(files) {
			if total <= c.limit {
				break
			}
			gone, err := c.removeUnused(x, f)
			if err != nil {
				return err
			}
			if gone {
				total -= f.onDisk
			}
		}
		return nil
	})
}

// reserve sees to it that need bytes are free on the disk, at the expense of
// images that are not in use. Nothing is removed if that does not suffice: the
// error is then a SpaceError.
func (c *Cache) reserve(what string, need int64) error {
	return c.locked(func(x *index) error {
		files, err := c.sweep(x)
		if err != nil {
			return err
		}
		free, err := freeSpace(c.dir)
		if err != nil {
			return fmt.Errorf("measure free space in %s: %w", c.dir, err)
		}
		free -= c.keepFree
		removable := int64(0)
		for _, f := range files {
			if !inUse(f.path) {
				removable += f.onDisk
			}
		}
		if free+removable < need {
			return &SpaceError{Dir: c.dir, For: what, Need: need, Free: max(0, free+removable)}
		}
		for _, f := range oldestFirst(files) {
			if free >= need {
				break
			}
			gone, err := c.removeUnused(x, f)
			if err != nil {
				return err
			}
			if gone {
				free += f.onDisk
			}
		}
		return nil
	})
}

// sweep removes what processes that were killed have left, and returns the rest:
// images and unfinished downloads.
func (c *Cache) sweep(x *index) ([]cacheFile, error) {
	files, err := c.files()
	if err != nil {
		return nil, err
	}
	rest := files[:0]
	for _, f := range files {
		known := false
		switch f.kind {
		case imageFile:
			_, known = x.Images[f.digest()]
		case partFile:
			_, known = x.Parts[f.digest()]
		}
		if !known {
			if _, err := c.removeUnused(x, f); err != nil {
				return nil, err
			}
			continue
		}
		rest = append(rest, f)
	}
	return rest, nil
}

// removeUnused removes a file unless a process has locked it. It is locked for
// the moment of removal: whoever waits for it sees that it is gone.
func (c *Cache) removeUnused(x *index, f cacheFile) (gone bool, err error) {
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	if free, err := tryLock(file, exclusive); err != nil || !free {
		return false, err
	}
	switch f.kind {
	case imageFile:
		delete(x.Images, f.digest())
	case partFile:
		delete(x.Parts, f.digest())
	}
	return true, os.Remove(f.path)
}
