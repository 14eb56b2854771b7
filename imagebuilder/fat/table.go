package fat

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// An entry of the table has 32 bits. The upper four are reserved: they are left
// as they are, and mean nothing when reading.
const (
	entrySize   = 4
	entryMask   = 0x0fffffff
	endOfChain  = 0x0ffffff8 // and above
	maxClusters = 0x0ffffff0 // above are marks: 0x0ffffff7 is a bad cluster, never free

	// Bits of entry 1, set as long as all is well. Windows and macOS use them,
	// Linux has a flag of its own in the boot sector.
	cleanShutdown = 0x08000000
	noHardErrors  = 0x04000000
)

// table is the file allocation table: for each cluster the next one of its
// chain, or 0 if it is free. It is changed in memory, then written by saveTable.
type table struct {
	entries []byte             // as on disk, whole sectors
	changed map[int64]struct{} // sectors that are not on disk yet
	free    uint32             // how many clusters are
	lowest  uint32             // no cluster below this one is free
}

func (t *table) next(n uint32) uint32 {
	return binary.LittleEndian.Uint32(t.entries[n*entrySize:]) & entryMask
}

// readTable reads the first copy of the table and counts the free clusters.
func (v *Volume) readTable() (table, error) {
	used := (int64(v.clusters) + 2) * entrySize
	t := table{
		entries: make([]byte, (used+v.sectorSize-1)/v.sectorSize*v.sectorSize),
		changed: map[int64]struct{}{},
		lowest:  v.clusters + 2,
	}
	if err := v.readAt(t.entries, v.tableStart); err != nil {
		return t, fmt.Errorf("read allocation table: %w", err)
	}
	for n := v.clusters + 1; n >= 2; n-- {
		if t.next(n) == 0 {
			t.free++
			t.lowest = n
		}
	}
	return t, nil
}

// link makes next the entry of cluster n.
func (v *Volume) link(n, next uint32) {
	b := v.entries[n*entrySize:]
	binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)&^entryMask|next)
	v.changed[int64(n)*entrySize/v.sectorSize] = struct{}{}
}

// chain returns the clusters of the chain that starts at first; it is empty for
// an empty file, whose first cluster is 0.
func (v *Volume) chain(first uint32) ([]uint32, error) {
	if first == 0 {
		return nil, nil
	}
	var chain []uint32
	for n := first; ; {
		if !v.isCluster(n) {
			return nil, fmt.Errorf("chain of cluster %d goes to %d of %d clusters: %w", first, n, v.clusters, ErrDamaged)
		}
		if len(chain) == int(v.clusters) {
			return nil, fmt.Errorf("chain of cluster %d has no end: %w", first, ErrDamaged)
		}
		chain = append(chain, n)
		next := v.next(n)
		if next >= endOfChain {
			return chain, nil
		}
		n = next
	}
}

// allocate takes the n lowest free clusters and makes a chain of them. The
// caller has checked that there are as many. Lowest first, wherever the last
// driver left off: that makes it repeatable, keeps the used part of the volume
// small, and gives a replaced file its old place.
func (v *Volume) allocate(n int) []uint32 {
	chain := make([]uint32, 0, n)
	for ; len(chain) < n; v.lowest++ {
		if v.next(v.lowest) == 0 {
			chain = append(chain, v.lowest)
		}
	}
	for i, c := range chain {
		next := uint32(entryMask)
		if i+1 < n {
			next = chain[i+1]
		}
		v.link(c, next)
	}
	v.free -= uint32(n)
	return chain
}

// release makes the clusters of a chain free.
func (v *Volume) release(chain []uint32) {
	for _, n := range chain {
		v.link(n, 0)
		v.lowest = min(v.lowest, n)
	}
	v.free += uint32(len(chain))
}

// saveTable writes the changed sectors to every copy of the table.
func (v *Volume) saveTable() error {
	sectors := slices.Sorted(maps.Keys(v.changed))
	for copied := range v.copies {
		start := v.tableStart + copied*v.tableSize
		for i, end := 0, 0; i < len(sectors); i = end {
			for end = i + 1; end < len(sectors) && sectors[end] == sectors[end-1]+1; end++ {
			}
			from, to := sectors[i]*v.sectorSize, (sectors[end-1]+1)*v.sectorSize
			if err := v.writeAt(v.entries[from:to], start+from); err != nil {
				return fmt.Errorf("write copy %d of allocation table: %w", copied, err)
			}
		}
	}
	clear(v.changed)
	return nil
}

// readChain returns the content of the clusters.
func (v *Volume) readChain(chain []uint32) ([]byte, error) {
	data := make([]byte, int64(len(chain))*v.clusterSize)
	err := v.eachRun(chain, func(at, from, to int64) error { return v.readAt(data[from:to], at) })
	return data, err
}

// writeChain fills the clusters with data, and with zeros behind it: what stood
// there may have been a secret of the file before.
func (v *Volume) writeChain(chain []uint32, data []byte) error {
	whole := int64(len(data)) / v.clusterSize * v.clusterSize
	last := make([]byte, v.clusterSize)
	copy(last, data[whole:])
	return v.eachRun(chain, func(at, from, to int64) error {
		if end := min(to, whole); from < end {
			if err := v.writeAt(data[from:end], at); err != nil {
				return err
			}
		}
		if to > whole {
			return v.writeAt(last, at+whole-from)
		}
		return nil
	})
}

// eachRun calls f for each run of neighbouring clusters of the chain: it is at
// this place of the volume, and holds these bytes of the file.
func (v *Volume) eachRun(chain []uint32, f func(at, from, to int64) error) error {
	for i, end := 0, 0; i < len(chain); i = end {
		for end = i + 1; end < len(chain) && chain[end] == chain[end-1]+1; end++ {
		}
		if err := f(v.clusterStart(chain[i]), int64(i)*v.clusterSize, int64(end)*v.clusterSize); err != nil {
			return err
		}
	}
	return nil
}
