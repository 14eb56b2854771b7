package image

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
)

// blockSize is the grain of the copy-on-write overlay and of verification: the
// block size of pi-gen's ext4 and a multiple of every FAT sector size.
const blockSize = 4096

// Overlay is a disk whose base is never written: changed blocks live in memory.
//
// All cards of a cluster share one base image; what makes a card its own is a
// few megabytes, so keeping them in memory costs nothing and needs neither a
// second copy of the image nor a mount. Safe for concurrent readers once
// writing has ended.
type Overlay struct {
	base    io.ReaderAt
	size    int64
	mu      sync.RWMutex
	changed map[int64][]byte // by block number
}

// NewOverlay lays an empty overlay over the first size bytes of base.
func NewOverlay(base io.ReaderAt, size int64) *Overlay {
	return &Overlay{base: base, size: size, changed: map[int64][]byte{}}
}

// Size returns the size of the disk in bytes, the same as the base's.
func (o *Overlay) Size() int64 { return o.size }

// ReadAt reads changed blocks from memory and all others from the base.
func (o *Overlay) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > o.size {
		return 0, fmt.Errorf("read image: offset %d is outside its %d bytes", off, o.size)
	}
	short := off+int64(len(p)) > o.size
	if short {
		p = p[:o.size-off]
	}
	if len(p) > 0 {
		if n, err := o.base.ReadAt(p, off); n < len(p) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	if len(o.changed) > 0 {
		o.eachBlock(off, len(p), func(block int64, inBlock, inP, n int) error {
			if data, ok := o.changed[block]; ok {
				copy(p[inP:inP+n], data[inBlock:])
			}
			return nil
		})
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// WriteAt keeps the blocks that p touches. Writing beyond the end is an error
// and changes nothing: a card image never grows.
func (o *Overlay) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > o.size {
		return 0, fmt.Errorf("write image: %d bytes at offset %d are outside its %d bytes", len(p), off, o.size)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.eachBlock(off, len(p), func(block int64, inBlock, inP, n int) error {
		data, ok := o.changed[block]
		if !ok {
			data = make([]byte, min(blockSize, o.size-block*blockSize))
			if n < len(data) {
				if _, err := o.base.ReadAt(data, block*blockSize); err != nil && err != io.EOF {
					return fmt.Errorf("read image block %d: %w", block, err)
				}
			}
			o.changed[block] = data
		}
		copy(data[inBlock:], p[inP:inP+n])
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Changed returns the number of bytes that differ in blocks from the base.
func (o *Overlay) Changed() int64 {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return int64(len(o.changed)) * blockSize
}

// ChangedExtents returns the changed ranges, sorted and merged.
func (o *Overlay) ChangedExtents() []Extent {
	o.mu.RLock()
	defer o.mu.RUnlock()
	blocks := make([]int64, 0, len(o.changed))
	for b := range o.changed {
		blocks = append(blocks, b)
	}
	var extents []Extent
	for _, b := range blocks {
		extents = append(extents, Extent{b * blockSize, min(blockSize, o.size-b*blockSize)})
	}
	return Merge(extents)
}

// Merge sorts extents and makes one of those that touch or overlap.
func Merge(extents []Extent) []Extent {
	slices.SortFunc(extents, func(a, b Extent) int { return cmp.Compare(a.Start, b.Start) })
	var merged []Extent
	for _, e := range extents {
		if last := len(merged) - 1; last >= 0 && e.Start <= merged[last].Start+merged[last].Length {
			merged[last].Length = max(merged[last].Length, e.Start+e.Length-merged[last].Start)
			continue
		}
		merged = append(merged, e)
	}
	return merged
}

// Extent is a range of bytes of a disk.
type Extent struct{ Start, Length int64 }

// eachBlock calls f for every block that the range touches, in order.
func (o *Overlay) eachBlock(off int64, length int, f func(block int64, inBlock, inP, n int) error) error {
	for inP := 0; inP < length; {
		block, inBlock := (off+int64(inP))/blockSize, int((off+int64(inP))%blockSize)
		n := min(blockSize-inBlock, length-inP)
		if err := f(block, inBlock, inP, n); err != nil {
			return err
		}
		inP += n
	}
	return nil
}
