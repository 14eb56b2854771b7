package fat

import "fmt"

// Extent is a range of the volume, in bytes from its start.
type Extent struct{ Start, Length int64 }

// Used returns the ranges that must be written for a copy of the volume to be
// complete, sorted and merged: all but the free clusters, where anything may
// stand. The space between the end of the file system and that of the partition
// counts as used.
//
// Before, the volume is checked; the error is Check's. Then nothing is known,
// and everything has to be written.
func (v *Volume) Used() ([]Extent, error) {
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("map used clusters of FAT32 volume: %w", err)
	}
	extents := []Extent{{0, v.dataStart}}
	add := func(start, end int64) {
		if last := &extents[len(extents)-1]; last.Start+last.Length == start {
			last.Length += end - start
		} else if start < end {
			extents = append(extents, Extent{start, end - start})
		}
	}
	end := v.clusters + 2
	for n := uint32(2); n < end; n++ {
		if v.next(n) != 0 {
			add(v.clusterStart(n), v.clusterStart(n+1))
		}
	}
	add(v.clusterStart(end), v.size)
	return extents, nil
}
