package baseimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The parts of an xz file that are read here: "The .xz File Format", version
// 1.2.1, sections 2.1 (stream header and footer), 3.1 (block header) and 4 (index).
const (
	xzHeaderSize = 12
	xzFooterSize = 12
	xzLZMA2      = 0x21
)

// xzBlock is a part of the image that can be decompressed without the others.
type xzBlock struct {
	at       int64   // offset in the file
	unpadded int64   // bytes there, without padding
	size     int64   // of what it makes
	flags    [2]byte // of its stream: which check the blocks end with
}

// padded is what the block takes in the file: always a multiple of four.
func (b xzBlock) padded() int64 { return (b.unpadded + 3) &^ 3 }

type xzFile struct {
	*source
	blocks []xzBlock
	total  int64
}

func (d *xzFile) imageSize() int64 { return d.total }

// openXZ reads the index of each stream, last stream first: only the end of a
// stream says where it begins.
func openXZ(s *source) (decoder, error) {
	d := &xzFile{source: s}
	var streams [][]xzBlock
	end := s.size
	for end > 0 {
		footer, err := s.xzFooter(&end)
		if err != nil {
			return nil, err
		}
		blocks, start, err := s.xzIndex(footer, end)
		if err != nil {
			return nil, err
		}
		streams = append(streams, blocks)
		end = start
	}
	for i := len(streams) - 1; i >= 0; i-- {
		for _, b := range streams[i] {
			d.total += b.size
			d.blocks = append(d.blocks, b)
			if d.total > maxImage {
				return nil, &SizeError{Source: s.shown, Size: d.total, Limit: true}
			}
		}
	}
	return d, nil
}

// read reads exactly size bytes at off.
func (s *source) read(off, size int64) ([]byte, error) {
	if off < 0 {
		return nil, s.damage(0, errors.New("sizes do not add up"))
	}
	p := make([]byte, size)
	if _, err := s.file.ReadAt(p, off); err != nil {
		return nil, s.damage(off, err)
	}
	return p, nil
}

// xzFooter reads the footer of the stream that ends at *end, or before it if
// there is padding: zeros, in fours.
func (s *source) xzFooter(end *int64) ([]byte, error) {
	for *end >= xzHeaderSize+xzFooterSize {
		footer, err := s.read(*end-xzFooterSize, xzFooterSize)
		if err != nil {
			return nil, err
		}
		if !isZero(footer[8:]) {
			if string(footer[10:]) != "YZ" {
				break
			}
			if crc32.ChecksumIEEE(footer[4:10]) != binary.LittleEndian.Uint32(footer) {
				return nil, s.damage(*end-xzFooterSize, errors.New("checksum of the footer is wrong"))
			}
			return footer, nil
		}
		*end -= 4
	}
	return nil, &CorruptError{Source: s.shown, Format: s.format, Offset: *end, Truncated: true, Err: errors.New("there is no footer")}
}

// xzIndex reads the index before a footer, and where the stream starts.
func (s *source) xzIndex(footer []byte, end int64) (blocks []xzBlock, start int64, err error) {
	indexSize := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	at := end - xzFooterSize - indexSize
	bad := func(format string, args ...any) ([]xzBlock, int64, error) {
		return nil, 0, s.damage(max(0, at), fmt.Errorf("index: "+format, args...))
	}
	if at < xzHeaderSize {
		return bad("it is longer than the file")
	}
	index, err := s.read(at, indexSize)
	if err != nil {
		return nil, 0, err
	}
	body := index[:indexSize-4]
	if body[0] != 0 || crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(index[indexSize-4:]) {
		return bad("checksum is wrong")
	}
	records, length, err := xzRecords(body[1:], at)
	if err != nil {
		return bad("%w", err)
	}
	start = at - length - xzHeaderSize
	if start < 0 || start%4 != 0 {
		return bad("blocks do not fit before it")
	}
	header, err := s.read(start, xzHeaderSize)
	if err != nil {
		return nil, 0, err
	}
	if string(header[:6]) != "\xfd7zXZ\x00" || !bytes.Equal(header[6:8], footer[8:10]) ||
		crc32.ChecksumIEEE(header[6:8]) != binary.LittleEndian.Uint32(header[8:]) {
		return nil, 0, s.damage(start, errors.New("stream header is wrong"))
	}
	if _, known := checks[header[7]]; !known || header[6] != 0 {
		return nil, 0, &FormatError{s.shown, fmt.Sprintf("its blocks end with a check of unknown kind %d", header[7])}
	}
	for i := range records {
		records[i].at += start + xzHeaderSize
		records[i].flags = [2]byte(header[6:8])
	}
	return records, start, nil
}

// xzRecords reads the records of an index whose blocks take less than room bytes.
// Their offsets start at 0; length is what they take together.
func xzRecords(p []byte, room int64) (blocks []xzBlock, length int64, err error) {
	r := bytes.NewReader(p)
	count, err := binary.ReadUvarint(r)
	// A record takes at least two bytes.
	if err != nil || count > uint64(len(p)/2) {
		return nil, 0, errors.New("number of blocks is wrong")
	}
	for range count {
		unpadded, err1 := binary.ReadUvarint(r)
		size, err2 := binary.ReadUvarint(r)
		if err1 != nil || err2 != nil || unpadded == 0 || unpadded > uint64(room) || size >= 1<<62 {
			return nil, 0, errors.New("size of a block is wrong")
		}
		b := xzBlock{at: length, unpadded: int64(unpadded), size: int64(size)}
		blocks = append(blocks, b)
		if length += b.padded(); length > room {
			return nil, 0, errors.New("blocks are longer than the file")
		}
	}
	rest := p[len(p)-r.Len():]
	if len(rest) > 3 || !isZero(rest) {
		return nil, 0, errors.New("there is more than it says")
	}
	return blocks, length, nil
}
