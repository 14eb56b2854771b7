package baseimage

import (
	"bytes"
	"context"
	"io"
	"os"
)

// sparseFile is a new file in which zeros become holes: about a third of a stock
// image is free space, which then takes no room on the disk. Several goroutines
// may write different parts at once.
type sparseFile struct {
	f *os.File

	// room, where set, is asked before each further roomStep that fill writes.
	room func() error
}

// roomStep is how far an image of unknown size grows between two looks at the
// free space of the disk.
const roomStep = 64 << 20

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
	}
	return len(p), nil
}

// pieceLen is how much of p, which starts at off, lies in one grain of the file.
func pieceLen(p []byte, off int64) int {
	return min(len(p), int(grain-off%grain))
}

func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }

// fill copies r to the file from offset off on and returns how much it was. Errors
// of r come back as readError: the input is at fault, not the disk.
func (s sparseFile) fill(ctx context.Context, off int64, r io.Reader) (int64, error) {
	buf := make([]byte, 1<<20)
	var size int64
	for {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		if s.room != nil && size%roomStep == 0 {
			if err := s.room(); err != nil {
				return size, err
			}
		}
		n, readErr := readFull(r, buf)
		if _, err := s.WriteAt(buf[:n], off+size); err != nil {
			return size, err
		}
		size += int64(n)
		if readErr == io.EOF {
			return size, nil
		}
		if readErr != nil {
			return size, readError{readErr}
		}
	}
}

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
