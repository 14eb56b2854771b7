package fat

import (
	"errors"
	"fmt"
	"io"
)

var errOutside = errors.New("outside the volume")

// window is the part of a disk that is the volume. Every transfer goes through
// it, so that no mistake further up can touch the next partition.
type window struct {
	r            io.ReaderAt
	w            io.WriterAt // nil if opened for reading only
	offset, size int64
}

func (w window) readAt(p []byte, at int64) error {
	if !w.contains(at, len(p)) {
		return fmt.Errorf("read %d bytes at %d: %w", len(p), at, errOutside)
	}
	n, err := w.r.ReadAt(p, w.offset+at)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d: %w", len(p), at, err)
}

func (w window) writeAt(p []byte, at int64) error {
	if !w.contains(at, len(p)) {
		return fmt.Errorf("write %d bytes at %d: %w", len(p), at, errOutside)
	}
	if _, err := w.w.WriteAt(p, w.offset+at); err != nil {
		return fmt.Errorf("write %d bytes at %d: %w", len(p), at, err)
	}
	return nil
}

func (w window) contains(at int64, n int) bool {
	return at >= 0 && at <= w.size && int64(n) <= w.size-at
}
