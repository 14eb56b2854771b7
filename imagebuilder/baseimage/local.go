package baseimage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// local obtains an image from a file of the user. A raw one is used where it is.
func (g *getter) local(ctx context.Context, src Source) (*Image, error) {
	path, err := filepath.Abs(src.Location)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &FormatError{src.Location, "it is not a regular file"}
	}
	o := &origin{shown: src.Location, name: imageName(filepath.Base(path))}
	if o.sha256, err = besideFile(path, src.SHA256); err != nil {
		return nil, err
	}
	s, d, err := g.open(f, info.Size(), o)
	if err != nil {
		return nil, err
	}
	if s.format == raw {
		return g.inPlace(ctx, f, path, o)
	}
	// One process does it, others wait for it.
	hold, err := g.Cache.claim(ctx, keyOf(path)+holdFile, g.waiting)
	if err != nil {
		return nil, err
	}
	// Gone before it is unlocked, so that who waits for it takes a new one.
	defer hold.Close()
	defer os.Remove(hold.Name())
	return g.unpackLocal(ctx, f, s, d, o)
}

// inPlace checks a raw image of the user.
func (g *getter) inPlace(ctx context.Context, f *os.File, path string, o *origin) (*Image, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkSize(o.shown, info.Size()); err != nil {
		return nil, err
	}
	digest, err := g.localDigest(ctx, f, o)
	if err != nil {
		return nil, err
	}
	return &Image{Path: path, Name: o.name, Size: info.Size(), SHA256: digest, SourceSHA256: digest,
		Verified: o.verified(), InPlace: true}, nil
}

// unpackLocal decompresses a file unless its image is in the cache.
func (g *getter) unpackLocal(ctx context.Context, f *os.File, s *source, d decoder, o *origin) (*Image, error) {
	if fresh, err := g.isNew(f, d, o); err != nil {
		return nil, err
	} else if fresh {
		digest, stop := g.besideUnpacking(ctx, f, o)
		defer stop()
		return g.unpack(ctx, s, d, o, digest)
	}
	digest, err := g.localDigest(ctx, f, o)
	if err != nil {
		return nil, err
	}
	if img, err := g.fromSource(ctx, digest); img != nil || err != nil {
		return o.describe(img, digest), err
	}
	return g.unpack(ctx, s, d, o, known(digest))
}

// isNew reports whether the digest of a file can have no say in what is done with
// it: nothing is published to compare it with, and no image is in the cache that
// could be the one in it. Only a size that is certain tells: Zstandard's is that of
// the first frame.
func (g *getter) isNew(f *os.File, d decoder, o *origin) (bool, error) {
	if o.sha256 != "" || d.sizes() == nil {
		return false, nil
	}
	there, err := g.Cache.hasSize(d.imageSize())
	return !there, err
}

// besideUnpacking finds out a file's digest while the file is decompressed: the
// second that half a gigabyte takes would be one in which nothing is written. stop
// gives up, and waits until neither the file nor the cache is used any more.
func (g *getter) besideUnpacking(ctx context.Context, f *os.File, o *origin) (digest promise, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	quiet := *g
	quiet.Progress = nil // decompressing is what the user watches
	type result struct {
		digest string
		err    error
	}
	done := make(chan result, 1)
	go func() {
		digest, err := quiet.localDigest(ctx, f, o)
		done <- result{digest, err}
	}()
	digest = sync.OnceValues(func() (string, error) { r := <-done; return r.digest, r.err })
	return digest, func() {
		cancel()
		_, _ = digest()
	}
}

func (g *getter) waiting() { g.Log.Info("waiting for another process that obtains the same image") }

// besideFile is the digest that counts for a file: the one given, or one that is
// in a file beside it.
func besideFile(path, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	text, err := os.ReadFile(path + ".sha256")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	digest, ok := digestFor(filepath.Base(path), text)
	if !ok {
		return "", fmt.Errorf("read %s.sha256: there is no sha256 of %s in it", path, filepath.Base(path))
	}
	return digest, nil
}

// settled is how long a file must have been left alone before its digest is kept:
// two changes within the clock's grain would look like one.
const settled = 2 * time.Second

// localDigest returns the digest of an open file of the user, if it is the right one.
func (g *getter) localDigest(ctx context.Context, f *os.File, o *origin) (string, error) {
	digest, err := g.hashFile(ctx, f)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", o.shown, err)
	}
	if o.sha256 != "" && digest != o.sha256 {
		return "", &DigestError{Source: o.shown, Want: o.sha256, Got: digest}
	}
	return digest, nil
}

// hashFile returns the digest of an open file of the user, from the cache if it
// is known there and the file has not been touched since.
func (g *getter) hashFile(ctx context.Context, f *os.File) (string, error) {
	path := f.Name()
	before, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !g.Recheck {
		if digest, err := g.Cache.hashedFile(path, before); digest != "" || err != nil {
			return digest, err
		}
	}
	start := time.Now()
	digest, err := g.hash(ctx, f, before.Size())
	if err != nil {
		return "", err
	}
	after, err := f.Stat()
	if err != nil {
		return "", err
	}
	if after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return "", errors.New("it was changed while it was read")
	}
	if start.Sub(before.ModTime()) < settled {
		return digest, nil
	}
	return digest, g.Cache.setHashedFile(path, before, digest)
}
