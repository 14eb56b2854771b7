package baseimage

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"picluster/imagebuilder/lzma2"
)

// blockHead is the header of a block, as far as it is of use.
type blockHead struct {
	size       int64 // of the header itself
	dictionary int64 // bytes
}

// head reads the header of a block: section 3.1. Only LZMA2 is done here; the
// filters for machine code, which may come before it, are not used for disk images.
func (d *xzFile) head(b xzBlock) (blockHead, error) {
	first, err := d.read(b.at, 1)
	if err != nil {
		return blockHead{}, err
	}
	size := (int64(first[0]) + 1) * 4
	if size < 8 || size > b.padded() {
		return blockHead{}, d.damage(b.at, errBlockHeader)
	}
	header, err := d.read(b.at, size)
	if err != nil {
		return blockHead{}, err
	}
	body, sum := header[:size-4], header[size-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return blockHead{}, d.damage(b.at, errBlockHeader)
	}
	flags, rest := body[1], body[2:]
	const compressedSize, uncompressedSize = 0x40, 0x80
	for _, field := range []struct {
		flag byte
		want int64
	}{{compressedSize, b.unpadded - size - int64(d.checkSize(b))}, {uncompressedSize, b.size}} {
		if flags&field.flag == 0 {
			continue
		}
		value, n := binary.Uvarint(rest)
		if n <= 0 || value != uint64(field.want) {
			return blockHead{}, d.damage(b.at, errors.New("block has other sizes than the index says"))
		}
		rest = rest[n:]
	}
	if len(rest) < 3 {
		return blockHead{}, d.damage(b.at, errBlockHeader)
	}
	if flags&3 != 0 || rest[0] != xzLZMA2 {
		return blockHead{}, &FormatError{d.shown, "it is compressed with a filter other than LZMA2"}
	}
	if rest[1] != 1 || !isZero(rest[3:]) {
		return blockHead{}, d.damage(b.at, errBlockHeader)
	}
	dictionary, err := d.dictionary(rest[2])
	return blockHead{size, dictionary}, err
}

var errBlockHeader = errors.New("block header is wrong")

// dictionary is the size of the dictionary in the one byte that says it: section
// 5.3.1, mantissa of 2 or 3, exponent from 11 on.
func (d *xzFile) dictionary(b byte) (int64, error) {
	bits := int64(b)
	if size := (2 | bits&1) << (bits/2 + 11); bits <= 40 && size <= maxMemory {
		return size, nil
	}
	return 0, &FormatError{d.shown, fmt.Sprintf("decompressing it needs more than %d MB of memory", maxMemory>>20)}
}

// checkSum computes a check.
type checkSum interface {
	io.Writer
	Sum([]byte) []byte // as it stands in the file
}

// checks are what a block can end with, by the number in the stream's flags:
// section 2.1.1.2.
var checks = map[byte]struct {
	size int
	make func() checkSum
}{
	0:  {0, nil},
	1:  {4, func() checkSum { return littleEndian{crc32.NewIEEE()} }},
	4:  {8, func() checkSum { return new(crc64Sum) }},
	10: {sha256.Size, func() checkSum { return sha256.New() }},
}

type littleEndian struct{ hash.Hash32 }

func (l littleEndian) Sum(p []byte) []byte { return binary.LittleEndian.AppendUint32(p, l.Sum32()) }

func (d *xzFile) checkSize(b xzBlock) int { return checks[b.flags[1]].size }

// block decompresses a block and gives what it makes to emit, in order. The check
// at its end is compared when all of it was given.
func (d *xzFile) block(ctx context.Context, z *lzma2.Decoder, b xzBlock, emit func([]byte) error) error {
	head, err := d.head(b)
	if err != nil {
		return err
	}
	check := checks[b.flags[1]]
	size := b.unpadded - head.size - int64(check.size)
	if size < 1 {
		return d.damage(b.at, errBlockHeader)
	}
	var sum checkSum
	if check.make != nil {
		sum = check.make()
	}
	var emitErr error
	packed := &io.LimitedReader{R: io.NewSectionReader(&d.file, b.at+head.size, size), N: size}
	in := bufio.NewReaderSize(packed, 64<<10)
	err = z.Decode(in, head.dictionary, b.size, func(p []byte) error {
		if emitErr = ctx.Err(); emitErr != nil {
			return emitErr
		}
		if sum != nil {
			sum.Write(p)
		}
		emitErr = emit(p)
		return emitErr
	})
	switch {
	case emitErr != nil:
		return emitErr
	case errors.Is(err, io.ErrUnexpectedEOF):
		// The index has shown that the block is there as a whole.
		err = errors.New("block ends too early")
	case err == nil && packed.N+int64(in.Buffered()) > 0:
		err = errors.New("block is longer than its data")
	}
	if err != nil {
		return d.damage(b.at, err)
	}
	return d.blockEnd(b, sum)
}

// blockEnd compares a block's padding and check: section 3.3.
func (d *xzFile) blockEnd(b xzBlock, sum checkSum) error {
	size := int64(d.checkSize(b))
	at := b.at + b.unpadded - size
	// The padding lies before the check, but the index does not count it: it makes
	// the whole a multiple of four, as the check is one anyway.
	end, err := d.read(at, b.padded()-b.unpadded+size)
	if err != nil {
		return err
	}
	padding, stored := end[:len(end)-int(size)], end[len(end)-int(size):]
	if !isZero(padding) {
		return d.damage(b.at, errors.New("padding of a block is not zero"))
	}
	if sum == nil {
		return nil
	}
	if string(sum.Sum(nil)) != string(stored) {
		return d.damage(b.at, errors.New("check of a block is wrong"))
	}
	return nil
}
