package baseimage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// openStream opens an image that the cache does not have, and holds up decompressing
// from its first byte on until release is called.
func openStream(t *testing.T, packed []byte) (s *Stream, o Options, release func()) {
	t.Helper()
	o = options(t)
	gate := make(chan struct{})
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	o.Progress = func(p Progress) {
		if p.Stage == StageDecompress && p.Done > 0 {
			<-gate
		}
	}
	path := write(t, filepath.Join(t.TempDir(), "os.img.xz"), packed)
	s, err := Open(t.Context(), Source{Location: path}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { release(); s.Close() })
	return s, o, release
}

func TestOpen_theImageIsReadBeforeItIsThere(t *testing.T) {
	t.Parallel()
	want := newImage(70, 12<<20)
	s, o, release := openStream(t, packingOf(t, "xz", want))
	// Nothing of it is there, but what it will be is known.
	if about := s.About(); about.Size != int64(len(want)) || about.SHA256 != "" || about.Name != "os.img" || about.Verified {
		t.Errorf("about: %+v", about)
	}
	select {
	case <-s.done:
		t.Fatal("it is over before it began")
	default:
	}
	var reading sync.WaitGroup
	for _, off := range []int{11 << 20, 3<<20 + 4095, 0, 12<<20 - 100} {
		reading.Go(func() {
			p := make([]byte, 70_000)
			n, err := s.ReadAt(p, int64(off))
			end := min(len(want), off+len(p))
			if !bytes.Equal(p[:n], want[off:end]) || (err == io.EOF) != (end-off < len(p)) {
				t.Errorf("at %d: %d bytes, %v", off, n, err)
			}
		})
	}
	release()
	reading.Wait()
	digest, err := s.Digest(t.Context())
	if err != nil || digest != digestOf(want) {
		t.Errorf("digest %s, %v", digest, err)
	}
	img, err := s.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, img, want)
	get(t, Source{Location: img.Path}, o, want)
	p := make([]byte, len(want))
	if _, err := s.ReadAt(p, 0); err != nil || !bytes.Equal(p, want) {
		t.Errorf("read once more: %v", err)
	}
}

// Each packing gives the same through Open, early or not.
func TestOpen_givesWhatGetGives(t *testing.T) {
	t.Parallel()
	want := newImage(71, 3<<20+512)
	for _, p := range packings {
		o := options(t)
		path := write(t, filepath.Join(t.TempDir(), "os"+p.ending), p.pack(t, want))
		for _, when := range []string{"first", "from the cache"} {
			s, err := Open(t.Context(), Source{Location: path}, o)
			if err != nil {
				t.Fatalf("%s: %v", p.name, err)
			}
			got, err := io.ReadAll(io.NewSectionReader(s, 0, s.About().Size))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: %d bytes, %v", p.name, when, len(got), err)
			}
			if _, err := s.Wait(t.Context()); err != nil {
				t.Errorf("%s, %s: %v", p.name, when, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if entries, err := o.Cache.List(); err != nil || p.name != "raw" && len(entries) != 1 {
			t.Errorf("%s: %d images in the cache, %v", p.name, len(entries), err)
		}
	}
}

func TestOpen_damageShowsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	want := noise(72, 8<<20)
	packed := packingOf(t, "xz", want)
	packed[len(packed)*3/4] ^= 4
	s, o, release := openStream(t, packed)
	release()
	var corrupt *CorruptError
	if _, err := s.Digest(t.Context()); !errors.As(err, &corrupt) {
		t.Errorf("digest: %v", err)
	}
	if _, err := s.Wait(t.Context()); !errors.As(err, &corrupt) {
		t.Errorf("wait: %v", err)
	}
	// Not "file already closed", and not the good blocks before the damage either.
	if _, err := s.ReadAt(make([]byte, 512), 0); !errors.As(err, &corrupt) {
		t.Errorf("read: %v", err)
	}
	wantEmpty(t, o.Cache)
}

func TestOpen_closedEarlyLeavesNothing(t *testing.T) {
	t.Parallel()
	want := newImage(73, 8<<20)
	packed := packingOf(t, "xz", want)
	s, o, release := openStream(t, packed)
	waiting := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, io.NewSectionReader(s, 0, s.About().Size))
		waiting <- err
	}()
	s.cancel()
	release()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waiting; err == nil {
		t.Error("reading to the end succeeded")
	}
	if _, err := s.Digest(t.Context()); err == nil {
		t.Error("there is a digest")
	}
	wantEmpty(t, o.Cache)
	// Nor is anything held that the next call needs.
	get(t, Source{Location: write(t, filepath.Join(t.TempDir(), "os.img.xz"), packed)}, Options{Cache: o.Cache}, want)
}

// inParts is an image of n parts of a page each.
func inParts(t *testing.T, n int) *growing {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return newGrowing(newSparseFile(f), slices.Repeat([]int64{4096}, n))
}

// With parts that nobody waits for, the order is that of their places.
func TestGrowing_makesFirstWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	g := inParts(t, 4)
	order := []int{}
	take := func() {
		if i, ok := g.next(); ok {
			order = append(order, i)
		}
	}
	take()
	read := make(chan error)
	go func() {
		_, err := g.ReadAt(make([]byte, 10), 3*4096)
		read <- err
	}()
	for wanted := false; !wanted; {
		g.mu.Lock()
		wanted = g.parts[3].wanted
		g.mu.Unlock()
	}
	take()
	take()
	take()
	take()
	if want := []int{0, 3, 1, 2}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if err := g.add(3, make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	g.fail(broken)
	if _, err := g.ReadAt(make([]byte, 1), 4096); !errors.Is(err, broken) {
		t.Errorf("after an error: %v", err)
	}
}

// Who makes only what is waited for does so at once, and ends when nothing is left.
func TestGrowing_hurriesForWhoWaits(t *testing.T) {
	t.Parallel()
	g := inParts(t, 3)
	g.next() // busy with the first
	hurried := make(chan int)
	go func() {
		for i, ok := g.nextWanted(t.Context()); ok; i, ok = g.nextWanted(t.Context()) {
			hurried <- i
			if err := g.add(i, make([]byte, 4096)); err != nil {
				t.Error(err)
			}
		}
		close(hurried)
	}()
	read := make(chan error)
	go func() {
		_, err := g.ReadAt(make([]byte, 10), 2*4096)
		read <- err
	}()
	if i := <-hurried; i != 2 {
		t.Errorf("part %d was made first, want 2", i)
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
	g.next()
	if i, more := <-hurried; more {
		t.Errorf("part %d was made, for which nobody waits", i)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if i, ok := inParts(t, 1).nextWanted(ctx); ok {
		t.Errorf("part %d after the end of the context", i)
	}
}
