package card

import (
	"fmt"
	"io"
	"os"
	"unsafe"
)

// disk is a device, or a file that stands for one, opened for writing or reading
// back. Transfers are whole blocks from aligned memory, as direct I/O demands.
type disk struct {
	file   medium
	path   string
	size   int64
	sector int // bytes; 0: a regular file, which has no rules
}

// medium is what a disk is read from and written to: an *os.File, but in tests of
// broken cards.
type medium interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Close() error
}

// blockSize is the grain of all transfers: the largest sector of any disk.
const blockSize = 4096

// aligned returns n bytes that direct I/O takes.
func aligned(n int) []byte {
	b := make([]byte, n+blockSize)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (blockSize - 1))
	return b[skip : skip+n : skip+n]
}

// openFile opens a regular file in the place of a disk of size bytes; a new one,
// readable by its owner alone, where there is none.
func openFile(path string, size int64, forWriting bool) (*disk, error) {
	flags := os.O_RDONLY
	if forWriting {
		flags = os.O_RDWR | os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open card file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() < size && forWriting {
		if info.Size() == 0 {
			err = f.Truncate(size)
		} else {
			err = fmt.Errorf("it has become smaller: %d bytes", info.Size())
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open card file: %w", err)
	}
	return &disk{file: f, path: path, size: max(info.Size(), size)}, nil
}

func (o *disk) Close() error { return o.file.Close() }

// readAt reads all of p. Where that fails, the error names the first block that is
// not to be read.
func (o *disk) readAt(p []byte, off int64) error {
	if err := o.read(p, off); err == nil || len(p) <= blockSize {
		return err
	}
	for at := 0; at < len(p); at += blockSize {
		if err := o.read(p[at:min(at+blockSize, len(p))], off+int64(at)); err != nil {
			return err
		}
	}
	return nil
}

func (o *disk) read(p []byte, off int64) error {
	n, err := o.file.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %s at byte %d: %w", o.path, off+int64(n), err)
}

func (o *disk) writeAt(p []byte, off int64) error {
	n, err := o.file.WriteAt(p, off)
	if n == len(p) && err == nil {
		return nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	return fmt.Errorf("write %s at byte %d: %w", o.path, off+int64(n), err)
}

// sync waits until the disk says that it has stored everything.
func (o *disk) sync() error {
	if err := o.file.Sync(); err != nil {
		return fmt.Errorf("flush %s: %w", o.path, err)
	}
	if f, ok := o.file.(*os.File); ok && o.sector == 0 {
		dropCache(f)
	}
	return nil
}

// ReleaseError says that a volume could not be taken out of use.
type ReleaseError struct {
	err  error
	Hint string // what the person can do, or ""
}

func (e *ReleaseError) Error() string { return e.err.Error() }
func (e *ReleaseError) Unwrap() error { return e.err }
