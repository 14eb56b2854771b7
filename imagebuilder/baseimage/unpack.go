package baseimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
)

// verified reports whether something was published to check the bytes with. Get
// ends with an error if they are not right.
func (o *origin) verified() bool { return o.sha256 != "" || o.imageSHA256 != "" }

// describe fills in what the cache does not know of an image.
func (o *origin) describe(img *Image, source string) *Image {
	if img == nil {
		return nil
	}
	img.Name, img.SourceSHA256, img.Verified, img.Released = o.name, source, o.verified(), o.released
	return img
}

// open recognises what is in a file.
func (g *getter) open(f io.ReaderAt, size int64, o *origin) (*source, decoder, error) {
	s := &source{shown: o.shown, size: size, workers: runtime.GOMAXPROCS(0)}
	// A section, as a damaged file leads decoders to places that no file has.
	s.file.ReaderAt = io.NewSectionReader(f, 0, size)
	d, err := s.open()
	return s, d, err
}

// fromSource returns the image that came in the file with that digest, if it is
// in the cache.
func (g *getter) fromSource(ctx context.Context, digest string) (*Image, error) {
	image, err := g.Cache.sourceOf(digest)
	if err != nil || image == "" {
		return nil, err
	}
	return g.fromCache(ctx, image)
}

// fromCache returns the image with that digest, if it is in the cache.
func (g *getter) fromCache(ctx context.Context, digest string) (*Image, error) {
	img, err := g.Cache.use(digest)
	if img == nil || err != nil || !g.Recheck {
		return img, err
	}
	got, err := g.hash(ctx, img.hold, img.Size)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", img.Path, err)
	}
	if got == digest {
		return img, nil
	}
	g.Log.Warn("image in the cache is damaged: obtaining it anew", "path", img.Path)
	return nil, errors.Join(g.Cache.drop(digest), img.hold.Close())
}

// promise is the digest of a file, which may still have to be found out: it waits.
type promise func() (string, error)

func known(digest string) promise { return func() (string, error) { return digest, nil } }

// unpack takes the image out of a file with that digest and adds it to the cache.
func (g *getter) unpack(ctx context.Context, s *source, d decoder, o *origin, digest promise) (*Image, error) {
	need := max(d.imageSize(), o.imageSize)
	if err := g.Cache.reserve(o.name, need); err != nil {
		return nil, err
	}
	work, err := g.Cache.work()
	if err != nil {
		return nil, err
	}
	img, err := g.fillWork(ctx, s, d, o, digest, work, need)
	if err != nil {
		return nil, errors.Join(err, ignoreMissing(os.Remove(work.Name())), work.Close())
	}
	return img, nil
}

func (g *getter) fillWork(ctx context.Context, s *source, d decoder, o *origin, digest promise, work *os.File, need int64) (img *Image, err error) {
	s.file.meter = g.meter(StageDecompress, 0, s.size)
	sizes := d.sizes()
	out := newGrowing(newSparseFile(work), sizes)
	defer func() {
		if err != nil {
			out.fail(err)
		}
	}()
	if d.imageSize() == 0 {
		out.room = func() error { return g.Cache.reserve(o.name, roomStep) }
	}
	if sizes != nil {
		if err := checkSize(o.shown, out.size); err != nil {
			return nil, err
		}
		g.announce(out, o)
	}
	image, err := g.decode(ctx, d, out)
	if err != nil {
		return nil, g.Cache.spaceError(err, o.name, max(need-out.size, roomStep))
	}
	if err := checkSize(o.shown, out.size); err != nil {
		return nil, err
	}
	if o.imageSHA256 != "" && image != o.imageSHA256 {
		return nil, &DigestError{Source: "image in " + o.shown, Want: o.imageSHA256, Got: image}
	}
	from, err := digest()
	if err != nil {
		return nil, err
	}
	if g.watch != nil {
		g.watch.digest(image)
	}
	// A hole at the end has to be made. Then down to the disk: a power cut must not
	// leave an image of the right size and with zeros in it.
	if err := errors.Join(work.Truncate(out.size), work.Sync()); err != nil {
		return nil, g.Cache.spaceError(err, o.name, roomStep)
	}
	img, err = g.Cache.add(work, image, record{Name: o.name, Size: out.size}, from)
	return o.describe(img, from), err
}

// announce tells who watches that an image can be read from.
func (g *getter) announce(out *growing, o *origin) {
	if g.watch == nil || g.announced {
		return
	}
	g.announced = true
	about := o.describe(&Image{Size: out.size, SHA256: o.imageSHA256}, o.sha256)
	g.watch.begin(out, *about)
}

// decode decompresses and hashes, side by side, and returns the image's digest.
func (g *getter) decode(ctx context.Context, d decoder, out *growing) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var digest string
	var hashErr error
	hashed := make(chan struct{})
	go func() {
		defer close(hashed)
		if digest, hashErr = out.digestOf(ctx); hashErr != nil {
			cancel()
		}
	}()
	size, err := d.decode(ctx, out)
	if err != nil {
		out.fail(err)
	} else {
		out.end(size)
	}
	<-hashed
	if err == nil || errors.Is(err, context.Canceled) && hashErr != nil {
		err = hashErr
	}
	return digest, err
}

// spaceError makes a full disk a SpaceError, and leaves other errors alone.
func (c *Cache) spaceError(err error, what string, need int64) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	free, statErr := freeSpace(c.dir)
	if statErr != nil {
		return err
	}
	return &SpaceError{Dir: c.dir, For: what, Need: need, Free: min(free, need)}
}
