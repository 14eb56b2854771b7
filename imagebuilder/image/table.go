package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/diskfs/go-diskfs/partition"
	"github.com/diskfs/go-diskfs/partition/mbr"
)

// sectorSize is the unit of partition tables on SD cards and in their images.
const sectorSize = 512

// Table is the partition table of a disk.
type Table struct {
	Scheme     string      `json:"scheme"` // "mbr" or "gpt"
	ID         string      `json:"id"`     // disk signature, 8 hex digits (mbr) or GUID (gpt)
	Partitions []Partition `json:"partitions"`
}

// Partition is one used entry of the table; Start and Size are in bytes.
type Partition struct {
	Number int    `json:"number"`
	Type   string `json:"type"` // "0c", "83" (mbr)
	UUID   string `json:"uuid"` // as in PARTUUID=
	Start  int64  `json:"start"`
	Size   int64  `json:"size"`
}

// ErrNoTable says that the disk has no partition table.
var ErrNoTable = errors.New("there is no partition table")

// ReadTable reads the partition table of a disk of size bytes.
func ReadTable(d io.ReaderAt, size int64) (*Table, error) {
	f := &diskFile{SectionReader: io.NewSectionReader(d, 0, size)}
	raw, err := partition.Read(f, sectorSize, sectorSize)
	if err != nil {
		if boot := make([]byte, sectorSize); readFull(d, boot) && boot[510] == 0x55 && boot[511] == 0xaa {
			return nil, fmt.Errorf("read partition table: %w", err)
		}
		return nil, fmt.Errorf("read partition table: %w", ErrNoTable)
	}
	t := &Table{Scheme: raw.Type(), ID: raw.UUID()}
	for i, p := range raw.GetPartitions() {
		// go-diskfs returns the empty slots of an MBR too.
		if p.GetSize() == 0 {
			continue
		}
		q := Partition{Number: i + 1, UUID: p.UUID(), Start: p.GetStart(), Size: p.GetSize()}
		if m, ok := p.(*mbr.Partition); ok {
			q.Type = fmt.Sprintf("%02x", byte(m.Type))
		}
		if q.Start+q.Size > size {
			return nil, fmt.Errorf("read partition table: partition %d ends at byte %d, the disk has %d: the image is cut short", q.Number, q.Start+q.Size, size)
		}
		t.Partitions = append(t.Partitions, q)
	}
	if len(t.Partitions) == 0 {
		return nil, fmt.Errorf("read partition table: %w", ErrNoTable)
	}
	return t, nil
}

func readFull(d io.ReaderAt, p []byte) bool {
	n, _ := d.ReadAt(p, 0)
	return n == len(p)
}

// diskFile gives go-diskfs, which wants a file, a view of any disk.
type diskFile struct{ *io.SectionReader }

func (d *diskFile) Close() error               { return nil }
func (d *diskFile) Stat() (fs.FileInfo, error) { return diskInfo(d.Size()), nil }

type diskInfo int64

func (i diskInfo) Name() string       { return "disk" }
func (i diskInfo) Size() int64        { return int64(i) }
func (i diskInfo) Mode() fs.FileMode  { return 0o400 }
func (i diskInfo) ModTime() time.Time { return time.Time{} }
func (i diskInfo) IsDir() bool        { return false }
func (i diskInfo) Sys() any           { return nil }
