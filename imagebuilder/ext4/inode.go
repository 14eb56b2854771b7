package ext4

import (
	"encoding/binary"
	"fmt"
)

// MaxFile is the size in bytes of the largest file, directory or symbolic link
// that is read.
const MaxFile = 1 << 20

// rootInode is the number of the root directory.
const rootInode = 2

type inode struct {
	number int64
	mode   uint16
	flags  uint32
	size   int64
	block  []byte // i_block: the map of the file's blocks, or its first 60 bytes
	raw    []byte
}

// Values of inode.mode and inode.flags.
const (
	modeType    = 0xf000
	modeDir     = 0x4000
	modeRegular = 0x8000
	modeSymlink = 0xa000

	flagEncrypted = 0x800
	flagExtents   = 0x80000
	flagInline    = 0x10000000
)

func (n *inode) is(kind uint16) bool     { return n.mode&modeType == kind }
func (n *inode) hasFlag(bit uint32) bool { return n.flags&bit != 0 }

func (f *FS) inode(number int64) (*inode, error) {
	if number < 1 || number > f.inodes {
		return nil, fmt.Errorf("inode %d of %d: %w", number, f.inodes, ErrDamaged)
	}
	g := f.group((number - 1) / f.inodesPerGroup)
	offset := (number - 1) % f.inodesPerGroup * f.inodeSize
	block, err := f.readBlock(g.inodeTable + offset/f.blockSize)
	if err != nil {
		return nil, fmt.Errorf("read inode %d: %w", number, err)
	}
	raw := block[offset%f.blockSize:][:f.inodeSize]
	return &inode{
		number: number,
		mode:   binary.LittleEndian.Uint16(raw),
		flags:  binary.LittleEndian.Uint32(raw[0x20:]),
		size:   int64(binary.LittleEndian.Uint32(raw[0x04:])) | int64(binary.LittleEndian.Uint32(raw[0x6c:]))<<32,
		block:  raw[0x28:][:60],
		raw:    raw,
	}, nil
}

// content returns everything in a file, directory or symbolic link. Holes are
// zeros.
func (f *FS) content(n *inode) ([]byte, error) {
	switch {
	case n.size < 0 || n.size > MaxFile:
		return nil, fmt.Errorf("inode %d: %d bytes, at most %d are read: %w", n.number, n.size, MaxFile, ErrUnsupported)
	case n.hasFlag(flagEncrypted):
		return nil, fmt.Errorf("inode %d: encrypted: %w", n.number, ErrUnsupported)
	case n.hasFlag(flagInline):
		return n.inlineContent()
	case n.is(modeSymlink) && n.size < int64(len(n.block)) && !n.hasFlag(flagExtents):
		return n.block[:n.size], nil
	}
	w := fileReader{fs: f, inode: n, blocks: ceilDiv(n.size, f.blockSize)}
	w.data = make([]byte, w.blocks*f.blockSize)
	var err error
	if n.hasFlag(flagExtents) {
		err = w.extents(n.block, 0, w.blocks, maxExtentDepth)
	} else {
		err = w.blockMap()
	}
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", n.number, err)
	}
	return w.data[:n.size], nil
}

// fileReader collects a file's blocks into data.
type fileReader struct {
	fs     *FS
	inode  *inode
	blocks int64 // length of the file in blocks
	data   []byte
}

// put reads count blocks of the partition to their place in the file. What lies
// behind the file's end is left out: space may be allocated there.
func (w *fileReader) put(logical, physical, count int64) error {
	for i := range count {
		if logical+i >= w.blocks {
			break
		}
		block, err := w.fs.readBlock(physical + i)
		if err != nil {
			return err
		}
		copy(w.data[(logical+i)*w.fs.blockSize:], block)
	}
	return nil
}

// maxExtentDepth is the kernel's own limit.
const maxExtentDepth = 5

// extents reads a node of the extent tree and what hangs from it. The node
// covers the file's blocks from first up to but not including end; that its
// entries stay in there and ascend keeps a damaged tree from leading us round in
// circles.
func (w *fileReader) extents(node []byte, first, end int64, depth int) error {
	le16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(node[at:])) }
	le32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(node[at:])) }

	const entrySize, magic = 12, 0xf30a
	entries, level := int(le16(2)), int(le16(6))
	if le16(0) != magic || (entries+1)*entrySize > len(node) || level > depth {
		return fmt.Errorf("extent tree: %w", ErrDamaged)
	}
	for i := range entries {
		at := (i + 1) * entrySize
		logical := le32(at)
		if logical < first {
			return fmt.Errorf("extent tree out of order: %w", ErrDamaged)
		}
		if logical >= end { // behind the file's end, or not this node's
			break
		}
		first = logical + 1
		if level == 0 {
			if err := w.extent(logical, le16(at+4), le32(at+8)|le16(at+6)<<32); err != nil {
				return err
			}
			continue
		}
		until := end
		if i+1 < entries {
			until = min(end, le32(at+entrySize))
		}
		child, err := w.fs.readBlock(le32(at+4) | le16(at+8)<<32)
		if err != nil {
			return err
		}
		if err := w.extents(child, logical, until, level-1); err != nil {
			return err
		}
	}
	return nil
}

// extent reads one leaf of the tree. A length beyond maxLength marks space that
// is allocated but was never written, and reads as zeros.
func (w *fileReader) extent(logical, length, physical int64) error {
	const maxLength = 32768
	if length > maxLength {
		return nil
	}
	return w.put(logical, physical, length)
}

// blockMap reads a file of ext2's form: twelve blocks, then blocks of block
// numbers, then blocks of those. A third level is never needed up to MaxFile.
func (w *fileReader) blockMap() error {
	const direct = 12
	perBlock := w.fs.blockSize / 4
	if err := w.pointers(w.inode.block[:4*direct], 0, 1, 0); err != nil {
		return err
	}
	if err := w.pointers(w.inode.block[4*direct:][:4], direct, perBlock, 1); err != nil {
		return err
	}
	return w.pointers(w.inode.block[4*direct+4:][:4], direct+perBlock, perBlock*perBlock, 2)
}

// pointers follows block numbers, each of which stands for span blocks of the
// file from logical on. Zero is a hole.
func (w *fileReader) pointers(table []byte, logical, span int64, level int) error {
	for ; len(table) >= 4 && logical < w.blocks; table, logical = table[4:], logical+span {
		physical := int64(binary.LittleEndian.Uint32(table))
		switch {
		case physical == 0:
		case level == 0:
			if err := w.put(logical, physical, 1); err != nil {
				return err
			}
		default:
			block, err := w.fs.readBlock(physical)
			if err != nil {
				return err
			}
			if err := w.pointers(block, logical, span/(w.fs.blockSize/4), level-1); err != nil {
				return err
			}
		}
	}
	return nil
}
