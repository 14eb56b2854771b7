package baseimage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxImage is the largest image that is taken for one: a few kilobytes can
	// decompress to as much as one likes, and no stock image has a quarter of it.
	maxImage = 64 << 30

	// maxMemory is what one file may make its decoder use. zstd --long=30 needs as
	// much, xz at its highest level a sixteenth of it.
	maxMemory = 1 << 30
)

// decoder takes the image out of a file.
type decoder interface {
	// imageSize is the size of the image in bytes as the file has it, or a part
	// of it, or 0.
	imageSize() int64
	// sizes are those of the parts that are made side by side, or nil if not even
	// the size of the whole is certain.
	sizes() []int64
	// decode makes all parts and returns the size of the image.
	decode(ctx context.Context, out *growing) (int64, error)
}

// source is a file that an image is taken from.
type source struct {
	shown   string // path or address, for people
	format  string // for people
	file    counter
	size    int64
	workers int // for the blocks of xz
}

// counter passes on reads, and tells how much was read and how far.
type counter struct {
	io.ReaderAt
	meter    *meter // nil until decoding starts
	furthest atomic.Int64
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	if c.meter != nil {
		c.meter.add(int64(n))
	}
	// Only the streaming formats ask, and they read on one goroutine.
	c.furthest.Store(max(c.furthest.Load(), off+int64(n)))
	return n, err
}

// formats by what a file begins with. Endings lie: browsers and people rename.
var formats = []struct {
	name  string
	magic string
	open  func(*source) (decoder, error)
}{
	{"xz", "\xfd7zXZ\x00", openXZ},
	{"gzip", "\x1f\x8b", openGzip},
	{"Zstandard", "\x28\xb5\x2f\xfd", openZstd},
	{"zip", "PK\x03\x04", openZip},
	{"zip", "PK\x05\x06", openZip}, // an empty one
}

// raw is the format of an image as it is.
const raw = "raw"

// open recognises the format of a file.
func (s *source) open() (decoder, error) {
	head := make([]byte, 512)
	n, err := s.file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", s.shown, err)
	}
	head = head[:n]
	for _, f := range formats {
		if strings.HasPrefix(string(head), f.magic) {
			s.format = f.name
			return f.open(s)
		}
	}
	// Skippable frames, which parallel compressors begin with: 184D2A50 to 5F.
	if n >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		s.format = "Zstandard"
		return openZstd(s)
	}
	// A disk with a partition table of either kind: the boot signature.
	if n == 512 && head[510] == 0x55 && head[511] == 0xaa {
		s.format = raw
		return &stream{s, s.size, true, func() (io.ReadCloser, error) { return io.NopCloser(s.section()), nil }}, nil
	}
	return nil, &FormatError{s.shown, "it is no disk image, nor one in xz, gzip, Zstandard or zip form"}
}

func (s *source) section() io.Reader { return io.NewSectionReader(&s.file, 0, s.size) }

// buffered is for decoders that read in small steps. A small buffer keeps the
// place of an error near.
func (s *source) buffered() io.Reader { return bufio.NewReaderSize(s.section(), 64<<10) }

// damage makes an error of a decoder, at that byte of the file, one for people.
func (s *source) damage(off int64, err error) error {
	var path *fs.PathError
	var size *SizeError
	var format *FormatError
	switch {
	case errors.As(err, &size), errors.As(err, &format):
		return err
	case errors.As(err, &path):
		return fmt.Errorf("read %s: %w", s.shown, err)
	}
	cut := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
	return &CorruptError{Source: s.shown, Format: s.format, Offset: off, Truncated: cut, Err: err}
}

// stream is a file that is decoded from start to end.
type stream struct {
	*source
	known   int64
	certain bool // known is the size: otherwise decoding fails
	start   func() (io.ReadCloser, error)
}

func (d *stream) imageSize() int64 { return d.known }

func (d *stream) sizes() []int64 {
	if !d.certain {
		return nil
	}
	return []int64{d.known}
}

func (d *stream) decode(ctx context.Context, out *growing) (int64, error) {
	r, err := d.start()
	if err != nil {
		return 0, d.damage(0, err)
	}
	defer r.Close()
	limit := &bounded{r, maxImage, &SizeError{Source: d.shown, Size: maxImage + 1, Limit: true}}
	if d.certain {
		limit = &bounded{r, d.known, errors.New("there is more than it says")}
	}
	out.next()
	n, err := d.fill(ctx, out, limit)
	if bad := (readError{}); errors.As(err, &bad) {
		return n, d.damage(d.file.furthest.Load(), bad.error)
	}
	if err == nil && d.certain && n < d.known {
		return n, d.damage(d.file.furthest.Load(), io.ErrUnexpectedEOF)
	}
	return n, err
}

// fill copies r to the only part and returns how much it was. Errors of r come back
// as readError: the input is at fault, not the disk.
func (d *stream) fill(ctx context.Context, out *growing, r io.Reader) (int64, error) {
	buf := make([]byte, 1<<20)
	var size int64
	for {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		if out.room != nil && size%roomStep == 0 {
			if err := out.room(); err != nil {
				return size, err
			}
		}
		n, readErr := readFull(r, buf)
		if err := out.add(0, buf[:n]); err != nil {
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

// bounded fails with err when r gives more than left bytes.
type bounded struct {
	r    io.Reader
	left int64
	err  error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		var one [1]byte
		n, err := b.r.Read(one[:])
		if n > 0 {
			return 0, b.err
		}
		return 0, err
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// gzip says the size of an image only modulo 4 GiB, and of its last part only.
func openGzip(s *source) (decoder, error) {
	return &stream{s, 0, false, func() (io.ReadCloser, error) { return gzip.NewReader(s.buffered()) }}, nil
}

func openZstd(s *source) (decoder, error) {
	d := &stream{s, 0, false, func() (io.ReadCloser, error) {
		z, err := zstd.NewReader(s.buffered(), zstd.WithDecoderMaxWindow(maxMemory))
		return zstdReader{z, s}, err
	}}
	head := make([]byte, zstd.HeaderMaxSize)
	n, err := s.file.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", s.shown, err)
	}
	// Of the first frame only; there is rarely another.
	var h zstd.Header
	if h.Decode(head[:n]) == nil && h.HasFCS {
		if h.FrameContentSize > maxImage {
			return nil, &SizeError{Source: s.shown, Size: maxImage + 1, Limit: true}
		}
		d.known = int64(h.FrameContentSize)
	}
	return d, nil
}

// zstdReader tells what this decoder will not do from what no decoder can.
type zstdReader struct {
	*zstd.Decoder
	s *source
}

func (z zstdReader) Close() error {
	z.Decoder.Close()
	return nil
}

func (z zstdReader) Read(p []byte) (int, error) {
	n, err := z.Decoder.Read(p)
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		err = &FormatError{z.s.shown, fmt.Sprintf("decompressing it needs more than %d MB of memory", maxMemory>>20)}
	case errors.Is(err, zstd.ErrUnknownDictionary):
		err = &FormatError{z.s.shown, "decompressing it needs a dictionary"}
	}
	return n, err
}

func openZip(s *source) (decoder, error) {
	z, err := zip.NewReader(&s.file, s.size)
	if err != nil {
		// The directory is at the end: without it most likely the end is missing.
		return nil, &CorruptError{Source: s.shown, Format: s.format, Offset: s.size, Truncated: errors.Is(err, zip.ErrFormat), Err: err}
	}
	f, err := onlyImage(s.shown, z)
	if err != nil {
		return nil, err
	}
	if f.UncompressedSize64 > maxImage {
		return nil, &SizeError{Source: s.shown, Size: maxImage + 1, Limit: true}
	}
	return &stream{s, int64(f.UncompressedSize64), true, f.Open}, nil
}

// onlyImage returns the one image in a zip file. Notes beside it do no harm.
func onlyImage(shown string, z *zip.Reader) (*zip.File, error) {
	const encrypted = 1 // general purpose bit 0, APPNOTE.TXT 4.4.4
	var images []*zip.File
	var names []string
	for _, f := range z.File {
		base := path.Base(f.Name)
		// macOS packs a second file, with the attributes of the first.
		if !strings.EqualFold(path.Ext(base), ".img") || strings.HasPrefix(base, "._") || f.FileInfo().IsDir() {
			continue
		}
		images, names = append(images, f), append(names, f.Name)
	}
	switch {
	case len(images) == 0:
		return nil, &FormatError{shown, "there is no .img file in it"}
	case len(images) > 1:
		slices.Sort(names)
		return nil, &FormatError{shown, fmt.Sprintf("there are %d images in it (%s), want one", len(images), strings.Join(names, ", "))}
	case images[0].Flags&encrypted != 0:
		return nil, &FormatError{shown, "the image in it is encrypted"}
	case images[0].Method != zip.Store && images[0].Method != zip.Deflate:
		return nil, &FormatError{shown, fmt.Sprintf("the image in it is compressed with method %d, want deflate", images[0].Method)}
	}
	return images[0], nil
}
