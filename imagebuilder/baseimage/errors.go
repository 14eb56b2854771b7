package baseimage

import (
	"fmt"
	"strings"

	"github.com/agnivade/levenshtein"

	"picluster/internal/blob"
	"picluster/internal/web"
)

// DigestError says that a file, or the image in it, is not the one that was asked
// for or published. It is not kept.
type DigestError = blob.DigestError

// CorruptError says that a compressed file is damaged or incomplete. A downloaded
// one is not kept.
type CorruptError struct {
	Source    string // path or address
	Format    string // xz, gzip, Zstandard or zip
	Offset    int64  // byte of the file near which it is wrong; for xz, where the damaged block starts
	Truncated bool   // the file ends too early
	Err       error
}

func (e *CorruptError) Error() string {
	what := "damaged"
	if e.Truncated {
		what = "cut off"
	}
	return fmt.Sprintf("decompress %s: %s data is %s near byte %d: %v", e.Source, e.Format, what, e.Offset, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// DownloadError says that a server was not reached or did not give what it should.
type DownloadError = web.Error

// SpaceError says that a disk has not enough room. Nothing that was written is kept.
type SpaceError struct {
	Dir        string
	For        string // what is to be written
	Need, Free int64  // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("make room in %s: %s needs %d MB, %d MB are free", e.Dir, e.For, megabytes(e.Need), e.Free/1e6)
}

// megabytes rounds up, so that a need never looks smaller than it is.
func megabytes(n int64) int64 { return (n + 1e6 - 1) / 1e6 }

// UnknownNameError says that a location is neither a file nor a known name.
type UnknownNameError struct {
	Name    string
	Nearest string // the known name most like it, or ""
}

func newUnknownName(name string) *UnknownNameError {
	e := &UnknownNameError{Name: name}
	best := len(name)/2 + 1
	for _, known := range Names() {
		if d := levenshtein.ComputeDistance(strings.ToLower(name), known); d < best {
			best, e.Nearest = d, known
		}
	}
	return e
}

func (e *UnknownNameError) Error() string {
	meant := ""
	if e.Nearest != "" {
		meant = fmt.Sprintf(", did you mean %s?", e.Nearest)
	}
	return fmt.Sprintf("find image %q: no such file, and no known name (%s)%s", e.Name, strings.Join(Names(), ", "), meant)
}

// FormatError says that an image cannot be taken from a file, though nothing of
// it is damaged as far as can be told.
type FormatError struct {
	Source string // path or address
	Reason string
}

func (e *FormatError) Error() string { return fmt.Sprintf("read %s: %s", e.Source, e.Reason) }

// SizeError says that an image has a size that no image can have. It is not kept.
type SizeError struct {
	Source string // path or address
	Size   int64  // bytes of the decompressed image; where it passes the limit, as far as it is known
	Limit  bool   // it is larger than what is taken for an image
}

func (e *SizeError) Error() string {
	if e.Limit {
		return fmt.Sprintf("check size of the image in %s: it is more than %d GB, the largest that is taken for an image", e.Source, int64(maxImage)>>30)
	}
	return fmt.Sprintf("check size of the image in %s: it is %d bytes, want a multiple of 512", e.Source, e.Size)
}

// checkSize returns a SizeError unless an image may have that size.
func checkSize(source string, size int64) error {
	if size > maxImage {
		return &SizeError{Source: source, Size: size, Limit: true}
	}
	if size == 0 || size%512 != 0 {
		return &SizeError{Source: source, Size: size}
	}
	return nil
}
