package ext4

import (
	"errors"
	"fmt"
	"math/bits"
)

// Extent is a range of the partition, in bytes.
type Extent struct{ Start, Length int64 }

// Used returns the ranges of the partition that must be written for the file
// system to be complete, sorted and merged. All other bytes are in blocks that
// the block bitmaps call free, where anything may stand. The space behind the
// file system, if the partition is larger, counts as used.
//
// The error wraps ErrUnclean or ErrDamaged, or is the reader's: then nothing is
// known, and everything has to be written. Every descriptor and bitmap that has
// a checksum is checked against it, and every bitmap against its count of free
// blocks.
func (f *FS) Used() ([]Extent, error) {
	used, err := f.allocation()
	if err != nil {
		return nil, fmt.Errorf("map used blocks of ext4: %w", err)
	}
	var extents []Extent
	add := func(start, end int64) {
		if n := len(extents); n > 0 && extents[n-1].Start+extents[n-1].Length == start {
			extents[n-1].Length += end - start
		} else if end > start {
			extents = append(extents, Extent{start, end - start})
		}
	}
	add(0, f.firstBlock*f.blockSize) // the boot sector's block
	for i := range f.blocks - f.firstBlock {
		if used.get(i) {
			block := f.firstBlock + i
			add(block*f.blockSize, (block+1)*f.blockSize)
		}
	}
	add(f.blocks*f.blockSize, f.size)
	return extents, nil
}

// bitmap has a bit for each block, in the order and form of ext4's own bitmaps:
// bit 0 is the file system's first block.
type bitmap []byte

func (b bitmap) get(i int64) bool { return b[i/8]>>(i%8)&1 != 0 }
func (b bitmap) set(i int64)      { b[i/8] |= 1 << (i % 8) }

// free counts the zero bits among n from start on, a multiple of 8.
func (b bitmap) free(start, n int64) int64 {
	var free int64
	for _, whole := range b[start/8 : (start+n)/8] {
		free += int64(8 - bits.OnesCount8(whole))
	}
	for i := start + n - n%8; i < start+n; i++ {
		if !b.get(i) {
			free++
		}
	}
	return free
}

// allocation puts the bitmaps of all groups together.
func (f *FS) allocation() (bitmap, error) {
	if err := f.CheckClean(); err != nil {
		return nil, err
	}
	used := make(bitmap, ceilDiv(f.groups*f.blocksPerGroup, 8))
	for n := range f.groups {
		g := f.group(n)
		if err := f.checkDescriptor(g); err != nil {
			return nil, fmt.Errorf("group %d: %w", n, err)
		}
		if err := f.addGroup(used, g); err != nil {
			return nil, fmt.Errorf("group %d: %w", n, err)
		}
	}
	// With flex_bg a group's metadata may lie in another group, so that only now
	// all that is in use is known.
	for n := range f.groups {
		free, want := used.free(n*f.blocksPerGroup, f.groupBlocks(n)), f.group(n).freeBlocks
		if free != want {
			return nil, fmt.Errorf("group %d: %d blocks are free, its descriptor says %d: %w", n, free, want, ErrDamaged)
		}
	}
	return used, nil
}

// addGroup marks the group's blocks that are in use, and its metadata wherever
// that lies.
func (f *FS) addGroup(used bitmap, g group) error {
	err := errors.Join(
		f.mark(used, g.blockBitmap, 1),
		f.mark(used, g.inodeBitmap, 1),
		f.mark(used, g.inodeTable, f.inodeTableBlocks()),
	)
	if err != nil {
		return err
	}
	first := g.number * f.blocksPerGroup
	if f.bitmapUninit(g) {
		// The bitmap was never written. The kernel, too, takes it for one in which
		// only metadata is marked.
		if !f.hasSuperblock(g.number) {
			return nil
		}
		return f.mark(used, f.firstBlock+first, min(1+f.descriptorBlocks()+f.reservedGDT, f.groupBlocks(g.number)))
	}
	block, err := f.readBlock(g.blockBitmap)
	if err != nil {
		return fmt.Errorf("read block bitmap: %w", err)
	}
	own := block[:f.blocksPerGroup/8]
	if err := f.checkBitmap(g, own); err != nil {
		return err
	}
	for i, b := range own {
		used[first/8+int64(i)] |= b
	}
	return nil
}

// mark marks count blocks as being in use.
func (f *FS) mark(used bitmap, block, count int64) error {
	if block < f.firstBlock || block > f.blocks-count {
		return fmt.Errorf("%d blocks of metadata at %d of %d: %w", count, block, f.blocks, ErrDamaged)
	}
	for i := range count {
		used.set(block - f.firstBlock + i)
	}
	return nil
}

// bitmapUninit reports whether the group's block bitmap was never written. The
// flag means something only where a checksum protects the descriptor.
func (f *FS) bitmapUninit(g group) bool {
	const blockUninit = 0x2
	return g.flags&blockUninit != 0 && (f.roCompat.has(roDescriptorChecksum) || f.roCompat.has(roMetadataChecksum))
}
