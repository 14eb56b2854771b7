package baseimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"sync"
)

// Stream is an image that can be read from while it is still being decompressed:
// ReadAt waits until what it reads is there. Safe for concurrent use.
type Stream struct {
	reader io.ReaderAt
	about  Image
	cancel context.CancelFunc

	known  chan struct{} // closed when the digest is settled
	digest string
	done   chan struct{} // closed when Open's work is over
	image  *Image
	err    error
}

// Open is Get that returns as soon as the image can be read, which for a compressed
// one is when decompressing begins. The image goes to the cache as with Get, and
// nothing does if Wait does not succeed. Close it.
//
// ctx is for all of the work, and Options.Progress is called from other goroutines.
func Open(ctx context.Context, src Source, o Options) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{cancel: cancel, known: make(chan struct{}), done: make(chan struct{})}
	begun := make(chan struct{})
	var once sync.Once
	settled := func() { once.Do(func() { close(s.known) }) }
	go func() {
		defer close(s.done)
		defer settled()
		s.image, s.err = obtain(ctx, src, o, &watcher{
			begin: func(g *growing, about Image) {
				s.reader, s.about = g, about
				close(begun)
			},
			digest: func(digest string) {
				s.digest = digest
				settled()
			},
		})
	}()
	select {
	case <-begun:
		return s, nil
	case <-s.done:
	}
	if s.err != nil {
		cancel()
		return nil, s.err
	}
	file, err := os.Open(s.image.Path)
	if err != nil {
		cancel()
		return nil, err
	}
	s.reader, s.about, s.digest = file, *s.image, s.image.SHA256
	return s, nil
}

// watcher is told about an image in the making.
type watcher struct {
	begin  func(g *growing, about Image) // once at most; the rest of Image is known then
	digest func(string)                  // the image is all there, and right
}

// About describes the image as far as it is known: Path is empty, and the digests
// are if nobody has published them. Wait returns all of it.
func (s *Stream) About() Image { return s.about }

// ReadAt implements io.ReaderAt. What it returns has not been compared with the
// published digest yet: see Digest.
func (s *Stream) ReadAt(p []byte, off int64) (int, error) { return s.reader.ReadAt(p, off) }

// Digest waits until the image was decompressed as a whole and is right, and
// returns its SHA-256. It is not in the cache yet.
func (s *Stream) Digest(ctx context.Context) (string, error) {
	select {
	case <-s.known:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if s.digest != "" {
		return s.digest, nil
	}
	return "", s.err
}

// Wait waits until the image is in the cache.
func (s *Stream) Wait(ctx context.Context) (*Image, error) {
	select {
	case <-s.done:
		return s.image, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close gives up what is not finished, and ends reading.
func (s *Stream) Close() error {
	s.cancel()
	<-s.done
	if file, ok := s.reader.(*os.File); ok {
		return file.Close()
	}
	return nil
}

// digestOf hashes an image while it is made.
func (g *growing) digestOf(ctx context.Context) (string, error) {
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := g.from(off)
		if err != nil {
			return "", err
		}
		if n == 0 {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if n, err = g.read(buf[:min(n, int64(len(buf)))], off); err != nil {
			return "", err
		}
		h.Write(buf[:n])
		off += n
	}
}
