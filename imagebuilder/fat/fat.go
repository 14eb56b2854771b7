// Package fat edits FAT32 volumes: the boot partitions of Raspberry Pi OS images
// and of the cards made from them. It looks up, reads, creates, replaces and
// removes whole files and directories, and keeps everything right that another
// driver relies on: both copies of the table, the free count, long names and
// their unique 8.3 forms.
//
// It is strict rather than helpful. A volume that was not unmounted, or that
// contradicts itself anywhere, is refused before a byte is written, because an
// edit could make it worse: that is a case for fsck.vfat. What is known not to
// fit is refused too, and changes nothing. The same calls on the same bytes give
// the same bytes: no clock, no random numbers.
//
// It leaves to others where on a disk the volume is (package image), what to
// write (packages plan and patch), making and repairing volumes (dosfstools),
// changing part of a file, renaming, and FAT12, FAT16 and exFAT.
//
// The format is described in Microsoft's "FAT32 File System Specification"
// (fatgen103) and in the Linux kernel's Documentation/filesystems/vfat.rst;
// where the two differ, the code says so.
package fat

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

var (
	// ErrUnsupported says that the volume is not FAT32, or a form of it that no
	// current formatter makes.
	ErrUnsupported = errors.New("not supported")
	// ErrDirty says that the volume was not unmounted cleanly: what is on it may
	// be half of what its last user meant to write.
	ErrDirty = errors.New("not unmounted cleanly")
	// ErrDamaged says that the volume contradicts itself.
	ErrDamaged = errors.New("damaged")
	// ErrFull says that there is no room; nothing was changed.
	ErrFull = errors.New("volume is full")
)

var (
	errReadOnly     = errors.New("the volume was opened for reading only")
	errDirectory    = errors.New("is a directory")
	errNotDirectory = errors.New("is not a directory")
	errNotEmpty     = errors.New("directory is not empty")
)

// Device is the disk that a volume lies on. All transfers are whole sectors at
// multiples of the sector size from the start of the volume, so that a raw
// device is as good as a file.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// Volume is an opened FAT32 volume. Its table is kept in memory, its directories
// are read when they are needed. Concurrent reading is safe; writing is not safe
// together with anything else, also not through a second Volume.
type Volume struct {
	window
	layout
	table
	stopped error // why nothing can be written
}

// Open opens the volume in the size bytes at offset of the device, for reading
// and writing. Nothing outside of them is ever read or written. Directories and
// all chains of clusters are checked; the error wraps ErrUnsupported, ErrDirty
// or ErrDamaged, or is the device's.
func Open(d Device, offset, size int64) (*Volume, error) {
	v, err := open(window{r: d, w: d, offset: offset, size: size})
	if err == nil {
		err = v.check()
	}
	if err != nil {
		return nil, fmt.Errorf("open FAT32 volume: %w", err)
	}
	return v, nil
}

// OpenReadOnly opens a volume to look at. It also takes one that Open refuses as
// dirty or damaged, as far as it can be read: Check tells. Writing is an error.
func OpenReadOnly(r io.ReaderAt, offset, size int64) (*Volume, error) {
	v, err := open(window{r: r, offset: offset, size: size})
	if err != nil {
		return nil, fmt.Errorf("open FAT32 volume: %w", err)
	}
	v.stopped = errReadOnly
	return v, nil
}

func open(w window) (*Volume, error) {
	if w.offset < 0 || w.size < 0 || w.offset > math.MaxInt64-w.size {
		return nil, fmt.Errorf("%d bytes at offset %d are no part of a disk: %w", w.size, w.offset, ErrUnsupported)
	}
	v := &Volume{window: w}
	boot := make([]byte, bootSectorSize)
	if w.size < bootSectorSize {
		return nil, fmt.Errorf("partition of %d bytes: %w", w.size, ErrUnsupported)
	}
	if err := v.readAt(boot, 0); err != nil {
		return nil, fmt.Errorf("read boot sector: %w", err)
	}
	var err error
	if v.layout, err = parseBootSector(boot, w.size); err != nil {
		return nil, err
	}
	if v.table, err = v.readTable(); err != nil {
		return nil, err
	}
	return v, nil
}

// Geometry is what a volume says about itself. Sizes are in bytes.
type Geometry struct {
	Label        string `json:"label"`    // of the root directory, or else of the boot sector
	VolumeID     string `json:"volumeID"` // as blkid shows it: "1A2B-3C4D"
	SectorSize   int64  `json:"sectorSize"`
	ClusterSize  int64  `json:"clusterSize"`
	Clusters     int64  `json:"clusters"`
	FreeClusters int64  `json:"freeClusters"`
}

// Geometry returns the volume's figures as they are now.
func (v *Volume) Geometry() Geometry {
	g := Geometry{
		Label:        v.label,
		VolumeID:     fmt.Sprintf("%04X-%04X", v.volumeID>>16, v.volumeID&0xffff),
		SectorSize:   v.sectorSize,
		ClusterSize:  v.clusterSize,
		Clusters:     int64(v.clusters),
		FreeClusters: int64(v.free),
	}
	if root, err := v.openDirectory(rootPath, v.rootCluster); err == nil {
		if label := root.label(); label != "" {
			g.Label = label
		}
	}
	return g
}

// Free returns how many bytes are in free clusters.
func (v *Volume) Free() int64 { return int64(v.free) * v.clusterSize }

// Info is one file or directory.
type Info struct {
	Path       string    // from the root, with slashes and without one in front; "." is the root
	Name       string    // last part of Path
	Size       int64     // bytes; 0 for a directory
	Dir        bool      // is a directory
	Modified   time.Time // UTC, to 2 seconds; the zero time where the volume has none
	Attributes uint8     // as on disk: 1 read-only, 2 hidden, 4 system, 16 directory, 32 archive
}
