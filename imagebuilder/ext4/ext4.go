// Package ext4 reads the root file system of an image, never writing a byte: it
// tells which parts of the partition are in use, so that a card writer can leave
// out the rest, and it reads small files by path, so that an image can be
// recognised.
//
// It takes every form that pi-gen has made (32-byte descriptors, with and
// without metadata checksums, orphan file and checksum seed) and most others.
// What it cannot be sure about it refuses; the caller then writes the partition
// whole. It does not replay journals, and it checks checksums only of what
// Used relies on. Repair and writing are for e2fsprogs and the Pi's own kernel.
//
// The layout is described in the Linux kernel's Documentation/filesystems/ext4.
package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrUnsupported says that the file system is not ext4, or has a feature that
	// this package does not know.
	ErrUnsupported = errors.New("not supported")
	// ErrDamaged says that the file system contradicts itself.
	ErrDamaged = errors.New("damaged")
	// ErrUnclean says that the file system was not unmounted: what is on disk is
	// not what is in its journal.
	ErrUnclean = errors.New("not unmounted cleanly")
)

// FS is a file system. It holds no state but what Open read, so it is safe for
// concurrent use if its reader is.
type FS struct {
	r    io.ReaderAt
	size int64 // of the partition, in bytes
	superblock
	descriptors []byte
}

// Open reads the superblock and the group descriptors of the file system that r
// begins with. size is the partition's, in bytes. The error wraps ErrUnsupported
// or ErrDamaged, or is the reader's.
//
// A file system that needs its journal replayed is opened; see CheckClean.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	f := &FS{r: r, size: size}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("open ext4: %w", err)
	}
	return f, nil
}

func (f *FS) open() error {
	const superblockStart, superblockSize = 1024, 1024
	if f.size < superblockStart+superblockSize {
		return fmt.Errorf("partition of %d bytes: %w", f.size, ErrUnsupported)
	}
	raw, err := f.read(superblockStart, superblockSize)
	if err != nil {
		return fmt.Errorf("read superblock: %w", err)
	}
	if f.superblock, err = parseSuperblock(raw); err != nil {
		return err
	}
	if f.blocks > f.size/f.blockSize {
		return fmt.Errorf("%d blocks of %d bytes in a partition of %d bytes: %w", f.blocks, f.blockSize, f.size, ErrDamaged)
	}
	if f.firstBlock+1+f.descriptorBlocks() > f.blocks {
		return fmt.Errorf("%d groups in %d blocks: %w", f.groups, f.blocks, ErrDamaged)
	}
	if f.descriptors, err = f.read((f.firstBlock+1)*f.blockSize, f.groups*f.descriptorSize); err != nil {
		return fmt.Errorf("read group descriptors: %w", err)
	}
	return nil
}

// read returns n bytes of the partition. The caller has checked that they lie
// in it.
func (f *FS) read(offset, n int64) ([]byte, error) {
	data := make([]byte, n)
	if k, err := f.r.ReadAt(data, offset); err != nil && (err != io.EOF || int64(k) < n) {
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, offset, err)
	}
	return data, nil
}

// readBlock returns one block of the file system.
func (f *FS) readBlock(block int64) ([]byte, error) {
	if block < 0 || block >= f.blocks {
		return nil, fmt.Errorf("block %d of %d: %w", block, f.blocks, ErrDamaged)
	}
	return f.read(block*f.blockSize, f.blockSize)
}

// group is one group descriptor.
type group struct {
	number                               int64
	blockBitmap, inodeBitmap, inodeTable int64 // block numbers
	freeBlocks                           int64
	flags, checksum                      uint16
	bitmapChecksum, bitmapChecksumMask   uint32 // 32-byte descriptors hold the low half
	raw                                  []byte
}

// group decodes descriptor n.
func (f *FS) group(n int64) group {
	d := f.descriptors[n*f.descriptorSize:][:f.descriptorSize]
	le16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(d[at:])) }
	le32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(d[at:])) }
	g := group{
		number:             n,
		blockBitmap:        le32(0x00),
		inodeBitmap:        le32(0x04),
		inodeTable:         le32(0x08),
		freeBlocks:         le16(0x0c),
		flags:              uint16(le16(0x12)),
		bitmapChecksum:     uint32(le16(0x18)),
		bitmapChecksumMask: 0xffff,
		checksum:           uint16(le16(checksumAt)),
		raw:                d,
	}
	if f.descriptorSize >= 64 {
		g.blockBitmap |= le32(0x20) << 32
		g.inodeBitmap |= le32(0x24) << 32
		g.inodeTable |= le32(0x28) << 32
		g.freeBlocks |= le16(0x2c) << 16
		g.bitmapChecksum |= uint32(le16(0x38)) << 16
		g.bitmapChecksumMask = 0xffffffff
	}
	return g
}
