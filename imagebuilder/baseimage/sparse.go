package baseimage

import (
	"bytes"
	"io"
	"os"
	"sync"
)

// sparseFile is a new file in which zeros become holes: about a third of a stock
// image is free space, which then takes no room on the disk. Several goroutines
// may write different parts at once.
type sparseFile struct {
	f    *os.File
	full *grains
}

// newSparseFile begins to write to an empty file.
func newSparseFile(f *os.File) sparseFile { return sparseFile{f, &grains{}} }

// grains tells which grains of a file were written. All others are holes, which are
// known without asking the system.
type grains struct {
	mu   sync.Mutex
	bits []uint64
}

// add notes that the grains that n bytes at off touch were written.
func (g *grains) add(off, n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := off / grain; i*grain < off+n; i++ {
		for int64(len(g.bits)) <= i/64 {
			g.bits = append(g.bits, make([]uint64, len(g.bits)+64)...)
		}
		g.bits[i/64] |= 1 << (i % 64)
	}
}

// run returns how many of the n bytes at off are all in holes, or all not.
func (g *grains) run(off, n int64) (length int64, hole bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for length < n {
		i := (off + length) / grain
		empty := i/64 >= int64(len(g.bits)) || g.bits[i/64]>>(i%64)&1 == 0
		if length > 0 && empty != hole {
			break
		}
		hole = empty
		length = min(n, (i+1)*grain-off)
	}
	return length, hole
}

// ReadAt reads what is there, and zeros where nothing was written.
func (s sparseFile) ReadAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		n, hole := s.full.run(off+int64(done), int64(len(p)-done))
		part := p[done : done+int(n)]
		if done += len(part); hole {
			clear(part)
			continue
		}
		// The last grain of the file may be short.
		if n, err := s.f.ReadAt(part, off+int64(done-len(part))); err == io.EOF {
			clear(part[n:])
		} else if err != nil {
			return done - len(part) + n, err
		}
	}
	return len(p), nil
}

// grain is the size of the smallest hole: the block size of common file systems.
const grain = 4096

var zeros [grain]byte

// WriteAt writes what is not zero. Ranges that were never written read as zeros,
// so a range must not be written twice.
func (s sparseFile) WriteAt(p []byte, off int64) (int, error) {
	for done := 0; done < len(p); {
		n := pieceLen(p[done:], off+int64(done))
		if isZero(p[done : done+n]) {
			done += n
			continue
		}
		start := done
		for done < len(p) {
			n := pieceLen(p[done:], off+int64(done))
			if isZero(p[done : done+n]) {
				break
			}
			done += n
		}
		if n, err := s.f.WriteAt(p[start:done], off+int64(start)); err != nil {
			return start + n, err
		}
		s.full.add(off+int64(start), int64(done-start))
	}
	return len(p), nil
}

// pieceLen is how much of p, which starts at off, lies in one grain of the file.
func pieceLen(p []byte, off int64) int {
	return min(len(p), int(grain-off%grain))
}

func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }

// readFull fills p if it can. Unlike io.ReadFull it does not call a good end
// unexpected, so that an input that is cut off can be told from one that is not.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// readError is an error that reading the input gave.
type readError struct{ error }

func (e readError) Unwrap() error { return e.error }
