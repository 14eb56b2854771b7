package baseimage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"picluster/internal/durable"
	"picluster/internal/owner"
)

// index is what is known about the files of the cache, and about sources whose
// images may be in it. Without it the files are worth nothing.
type index struct {
	Images  map[string]record  `json:"images"`  // by digest of the image
	Sources map[string]string  `json:"sources"` // digest of a file → that of the image in it
	Answers map[string]answer  `json:"answers"` // by key of a location
	Parts   map[string]partial `json:"parts"`   // by key of a location
	Files   map[string]hashed  `json:"files"`   // by absolute path: digests of the user's files
}

type record struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// answer is what a location gave last time.
type answer struct {
	validators
	URL      string    `json:"url"` // without credentials
	SHA256   string    `json:"sha256"`
	Name     string    `json:"name"`
	Verified bool      `json:"verified"`
	Released time.Time `json:"released,omitzero"`
	Time     time.Time `json:"time"`
}

// partial is a download that is not finished.
type partial struct {
	validators
	Total int64 `json:"total"` // bytes; -1 if the server does not say
	Safe  int64 `json:"safe"`  // bytes that are certainly on the disk
}

// validators tell whether what a server has is still the same.
type validators struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

// hashed is the digest of a file of the user, as long as the rest is the same.
type hashed struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Inode    uint64    `json:"inode"`
	SHA256   string    `json:"sha256"`
}

// set sets an entry of a map that may be nil yet.
func set[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = value
}

// locked calls f with the index while no other process changes the cache, and
// writes the index if f changed it, also if f fails.
func (c *Cache) locked(f func(*index) error) (err error) {
	lock, err := lockFile(c.path("lock"))
	if err != nil {
		return fmt.Errorf("lock image cache: %w", err)
	}
	defer lock.Close()
	before, err := os.ReadFile(c.path("index.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read image cache: %w", err)
	}
	var x index
	if json.Unmarshal(before, &x) != nil {
		// Not ours, or torn by a disk that does not keep promises: images are
		// obtained again.
		x = index{}
	}
	err = f(&x)
	x.prune()
	after, writeErr := json.MarshalIndent(x, "", "\t")
	if writeErr == nil && string(after) != string(before) {
		writeErr = c.writeIndex(after)
	}
	// On a full disk both fail, for the same reason.
	if err == nil {
		err = writeErr
	}
	return err
}

// prune forgets what is of no use without an image that has gone.
func (x *index) prune() {
	for source, digest := range x.Sources {
		if _, ok := x.Images[digest]; !ok {
			delete(x.Sources, source)
		}
	}
	for key, a := range x.Answers {
		if _, ok := x.Sources[a.SHA256]; !ok {
			delete(x.Answers, key)
		}
	}
}

// writeIndex replaces the index as a whole. A temporary file that a killed
// process left has the same name and goes.
func (c *Cache) writeIndex(data []byte) error {
	tmp := c.path("index.json.new")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write image cache: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, owner.Adopt(f), f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, c.path("index.json"))
	}
	if err == nil {
		err = durable.SyncDir(c.dir)
	}
	if err != nil {
		return fmt.Errorf("write image cache: %w", err)
	}
	return nil
}

// sourceOf returns the digest of the image that came in the file with that
// digest, or "".
func (c *Cache) sourceOf(source string) (image string, err error) {
	err = c.locked(func(x *index) error {
		image = x.Sources[source]
		return nil
	})
	return image, err
}

// answered returns what a location gave last time, if its image is still there.
func (c *Cache) answered(key string) (a answer, ok bool, err error) {
	err = c.locked(func(x *index) error {
		a, ok = x.Answers[key]
		return nil
	})
	return a, ok, err
}

func (c *Cache) setAnswer(key string, a answer) error {
	return c.locked(func(x *index) error {
		set(&x.Answers, key, a)
		return nil
	})
}

func (c *Cache) part(key string) (p partial, ok bool, err error) {
	err = c.locked(func(x *index) error {
		p, ok = x.Parts[key]
		return nil
	})
	return p, ok, err
}

func (c *Cache) setPart(key string, p partial) error {
	return c.locked(func(x *index) error {
		set(&x.Parts, key, p)
		return nil
	})
}

// removePart removes a download that the caller has locked.
func (c *Cache) removePart(part *os.File, key string) error {
	return c.locked(func(x *index) error {
		delete(x.Parts, key)
		return os.Remove(part.Name())
	})
}

// hashedFile returns the digest of a file of the user, or "" if it is not known
// or the file may have changed.
func (c *Cache) hashedFile(path string, info fs.FileInfo) (digest string, err error) {
	err = c.locked(func(x *index) error {
		h, ok := x.Files[path]
		if ok && h.Size == info.Size() && h.Modified.Equal(info.ModTime()) && h.Inode == inode(info) {
			digest = h.SHA256
		}
		return nil
	})
	return digest, err
}

// setHashedFile keeps the digest of a file of the user, and forgets files that
// are no longer there.
func (c *Cache) setHashedFile(path string, info fs.FileInfo, digest string) error {
	return c.locked(func(x *index) error {
		for other := range x.Files {
			if _, err := os.Stat(other); errors.Is(err, fs.ErrNotExist) {
				delete(x.Files, other)
			}
		}
		set(&x.Files, path, hashed{info.Size(), info.ModTime(), inode(info), digest})
		return nil
	})
}
