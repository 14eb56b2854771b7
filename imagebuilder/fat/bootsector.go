package fat

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
)

const bootSectorSize = 512 // what counts of it, whatever the sector size

// layout is what the boot sector says: where things are on the volume, in bytes
// from its start, and in clusters.
type layout struct {
	sectorSize, clusterSize int64
	tableStart, tableSize   int64 // first copy; bytes of one copy
	copies                  int64
	dataStart               int64  // of cluster 2, the first one
	clusters                uint32 // how many; the last one has the number clusters+1
	rootCluster             uint32
	infoStart               int64 // of the FSInfo sector; 0 if there is none
	dirty                   bool  // as Linux marks it while the volume is mounted
	volumeID                uint32
	label                   string
}

// Offsets in the boot sector, named as in the specification.
const (
	bpbBytesPerSector    = 11
	bpbSectorsPerCluster = 13
	bpbReservedSectors   = 14
	bpbNumFATs           = 16
	bpbRootEntries       = 17 // FAT12 and FAT16 only
	bpbTotalSectors16    = 19
	bpbFATSize16         = 22 // FAT12 and FAT16 only
	bpbTotalSectors32    = 32
	bpbFATSize32         = 36
	bpbExtFlags          = 40
	bpbFSVersion         = 42
	bpbRootCluster       = 44
	bpbFSInfo            = 48
	bsState              = 65 // "reserved" in the specification; Linux's and Windows' dirty flag
	bsBootSignature      = 66
	bsVolumeID           = 67
	bsVolumeLabel        = 71
)

// parseBootSector understands the boot sector of a volume that may take up to
// size bytes. What is not FAT32 wraps ErrUnsupported, what is FAT32 and makes no
// sense ErrDamaged.
func parseBootSector(b []byte, size int64) (layout, error) {
	var l layout
	le16 := func(at int) int64 { return int64(binary.LittleEndian.Uint16(b[at:])) }
	le32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
	if err := recognise(b); err != nil {
		return l, err
	}
	damaged := func(format string, args ...any) (layout, error) {
		return l, fmt.Errorf("boot sector: "+format+": %w", append(args, ErrDamaged)...)
	}
	perCluster, reserved := int64(b[bpbSectorsPerCluster]), le16(bpbReservedSectors)
	l.sectorSize, l.copies = le16(bpbBytesPerSector), int64(b[bpbNumFATs])
	l.clusterSize, l.tableSize = perCluster*l.sectorSize, le32(bpbFATSize32)*l.sectorSize
	l.tableStart = reserved * l.sectorSize
	l.dataStart = l.tableStart + l.copies*l.tableSize
	sectors := le16(bpbTotalSectors16)
	if sectors == 0 {
		sectors = le32(bpbTotalSectors32)
	}
	switch {
	case perCluster == 0 || bits.OnesCount8(b[bpbSectorsPerCluster]) != 1:
		return damaged("%d sectors per cluster", perCluster)
	case reserved == 0:
		return damaged("no reserved sectors")
	case l.copies != 1 && l.copies != 2:
		return damaged("%d copies of the table", l.copies)
	case sectors*l.sectorSize > size:
		return damaged("volume of %d bytes in a partition of %d", sectors*l.sectorSize, size)
	case l.dataStart+l.clusterSize > sectors*l.sectorSize:
		return damaged("data starts at %d in a volume of %d bytes", l.dataStart, sectors*l.sectorSize)
	}
	// pi-gen asks for FAT32 on volumes so small that the specification wants
	// FAT16 there. Like mkfs.vfat and Linux, we do not tell the type by the number
	// of clusters, only by where the size of the table stands.
	clusters := (sectors*l.sectorSize - l.dataStart) / l.clusterSize
	if clusters+2 > l.tableSize/entrySize || clusters > maxClusters {
		return damaged("%d clusters and a table for %d", clusters, l.tableSize/entrySize-2)
	}
	l.clusters, l.rootCluster = uint32(clusters), uint32(le32(bpbRootCluster))
	if !l.isCluster(l.rootCluster) {
		return damaged("root directory in cluster %d of %d", l.rootCluster, clusters)
	}
	if info := le16(bpbFSInfo); info > 0 && info < reserved {
		l.infoStart = info * l.sectorSize
	}
	l.dirty = b[bsState]&1 != 0
	if b[bsBootSignature] == 0x29 {
		l.volumeID = uint32(le32(bsVolumeID))
		l.label = strings.TrimRight(decodeOEM(b[bsVolumeLabel:][:11]), " ")
		if l.label == "NO NAME" {
			l.label = ""
		}
	}
	return l, nil
}

// recognise tells a FAT32 boot sector from all else.
func recognise(b []byte) error {
	le16 := func(at int) int { return int(binary.LittleEndian.Uint16(b[at:])) }
	unsupported := func(format string, args ...any) error {
		return fmt.Errorf("boot sector: "+format+": %w", append(args, ErrUnsupported)...)
	}
	sectorSize := le16(bpbBytesPerSector)
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return unsupported("its signature is missing: no file system, or not FAT")
	case sectorSize != 512 && sectorSize != 1024 && sectorSize != 2048 && sectorSize != 4096:
		return unsupported("sectors of %d bytes: not FAT", sectorSize)
	case le16(bpbFATSize16) != 0 || le16(bpbRootEntries) != 0:
		return unsupported("FAT12 or FAT16")
	case binary.LittleEndian.Uint32(b[bpbFATSize32:]) == 0:
		return unsupported("no file allocation table: not FAT32")
	case le16(bpbFSVersion) != 0:
		return unsupported("FAT32 version %d.%d", b[bpbFSVersion+1], b[bpbFSVersion])
	case b[bpbExtFlags]&0x80 != 0:
		return unsupported("copies of the table that differ on purpose")
	}
	return nil
}

// isCluster reports whether n is the number of a cluster of this volume. The
// table usually has entries for a few more, which lie behind its end: in the
// next partition.
func (l layout) isCluster(n uint32) bool { return n >= 2 && n-2 < l.clusters }

// clusterStart is where cluster n is.
func (l layout) clusterStart(n uint32) int64 { return l.dataStart + int64(n-2)*l.clusterSize }

// clustersFor is how many clusters hold size bytes.
func (l layout) clustersFor(size int64) int {
	return int((size + l.clusterSize - 1) / l.clusterSize)
}
