package baseimage

import (
	"context"
	"io"
	"slices"
	"sync"
)

// growing is an image while it is decompressed: who reads from it waits until what
// they read is there, and has it made first where that is possible. Any number of
// goroutines may write and read.
type growing struct {
	sparseFile
	size int64        // bytes; 0 if nobody knows yet
	room func() error // where set, is asked before each further roomStep

	mu    sync.Mutex
	news  sync.Cond
	parts []part // in the order of their places, without gaps
	err   error  // why there will be no more
	ended bool   // all is there
}

// roomStep is how far an image of unknown size grows between two looks at the
// free space of the disk.
const roomStep = 64 << 20

// part is a piece of the image that is made from its start to its end, on its own.
type part struct {
	start, end, have int64 // offsets in the image; have is where it ends so far
	begun, wanted    bool
}

func (p part) left() bool    { return !p.begun }
func (p part) awaited() bool { return p.wanted && !p.begun }

// newGrowing expects an image of parts of those sizes, or one of unknown size.
func newGrowing(file sparseFile, sizes []int64) *growing {
	g := &growing{sparseFile: file}
	g.news.L = &g.mu
	for _, n := range sizes {
		g.parts = append(g.parts, part{start: g.size, end: g.size + n, have: g.size})
		g.size += n
	}
	if sizes == nil {
		g.parts = []part{{end: maxImage}}
	}
	return g
}

// next returns the number of the part to make next: one that somebody waits for,
// or else the first. Without any left, or after an error, ok is false.
func (g *growing) next() (i int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, false
	}
	i = slices.IndexFunc(g.parts, part.awaited)
	if i < 0 {
		i = slices.IndexFunc(g.parts, part.left)
	}
	if i < 0 {
		return 0, false
	}
	g.parts[i].begun = true
	g.news.Broadcast()
	return i, true
}

// nextWanted waits for a part that somebody waits for and nobody has begun. ok is
// false when there will be none, or ctx has ended.
func (g *growing) nextWanted(ctx context.Context) (i int, ok bool) {
	defer context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.news.Broadcast()
	})()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && ctx.Err() == nil && slices.ContainsFunc(g.parts, part.left) {
		if i = slices.IndexFunc(g.parts, part.awaited); i >= 0 {
			g.parts[i].begun = true
			return i, true
		}
		g.news.Wait()
	}
	return 0, false
}

// add writes what comes next in part i.
func (g *growing) add(i int, p []byte) error {
	at := g.parts[i].have // only this goroutine changes it
	if _, err := g.WriteAt(p, at); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parts[i].have += int64(len(p))
	g.news.Broadcast()
	return nil
}

// end says that all of the image is there.
func (g *growing) end(size int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended, g.size = true, size
	g.news.Broadcast()
}

// fail says that the image is not to be had, or is not the right one.
func (g *growing) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	g.news.Broadcast()
}

// from waits until the byte at off is there, or never will be, and returns how many
// are there from off on; 0 at the end of the image.
func (g *growing) from(off int64) (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		i := slices.IndexFunc(g.parts, func(p part) bool { return off < p.end })
		n := int64(0)
		for j := i; j >= 0 && j < len(g.parts); j++ {
			n += max(0, g.parts[j].have-max(off, g.parts[j].start))
			if g.parts[j].have < g.parts[j].end {
				break
			}
		}
		switch {
		case g.err != nil:
			return 0, g.err
		case n > 0, g.ended, i < 0:
			return n, nil
		}
		if !g.parts[i].wanted {
			g.parts[i].wanted = true
			g.news.Broadcast() // to nextWanted
		}
		g.news.Wait()
	}
}

// ReadAt waits for what it reads.
func (g *growing) ReadAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		n, err := g.from(off + int64(done))
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, io.EOF
		}
		n, err = g.read(p[done:min(int64(len(p)), int64(done)+n)], off+int64(done))
		if done += int(n); err != nil {
			return done, err
		}
	}
	return len(p), nil
}

// read reads what is there already.
func (g *growing) read(p []byte, off int64) (int64, error) {
	n, err := g.sparseFile.ReadAt(p, off)
	if err != nil {
		// The file is closed when decompressing has failed, which is the better word.
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.err != nil {
			err = g.err
		}
	}
	return int64(n), err
}
