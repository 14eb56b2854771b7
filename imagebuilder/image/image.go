// Package image looks at a disk image (or a card) as what it is: a partition
// table, a FAT boot volume and an ext4 root, and recognises which Raspberry Pi
// OS it holds. An Overlay makes any image editable without changing it.
//
// Partition tables are read with go-diskfs; FAT and ext4 are our own packages
// (docs/decisions/0003-own-fat.md says why). What to change is not decided
// here: that is package plan, and package patch does it.
package image

import (
	"fmt"
	"io"
	"sync"

	"picluster/imagebuilder/ext4"
	"picluster/imagebuilder/fat"
)

// Disk is anything with the bytes of a whole card: an Overlay, a file, a device.
// WriteAt is called only on a Boot volume that is edited.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Size() int64
}

// Image is a disk with pi-gen's layout: a FAT partition, then an ext4 one.
type Image struct {
	Disk          Disk
	Table         *Table
	BootPartition Partition
	RootPartition Partition

	look func() (*fat.Volume, error)
	boot func() (*fat.Volume, error)
	root func() (*ext4.FS, error)
}

// Open reads the partition table and finds the two partitions. File systems
// are opened when they are first asked for.
func Open(d Disk) (*Image, error) {
	t, err := ReadTable(d, d.Size())
	if err != nil {
		return nil, err
	}
	if len(t.Partitions) < 2 {
		return nil, UnknownError{fmt.Sprintf("it has %d partition(s), want a FAT and a root partition", len(t.Partitions))}
	}
	i := &Image{Disk: d, Table: t, BootPartition: t.Partitions[0], RootPartition: t.Partitions[1]}
	i.look = sync.OnceValues(func() (*fat.Volume, error) {
		return fat.OpenReadOnly(d, i.BootPartition.Start, i.BootPartition.Size)
	})
	i.boot = sync.OnceValues(func() (*fat.Volume, error) {
		return fat.Open(d, i.BootPartition.Start, i.BootPartition.Size)
	})
	i.root = sync.OnceValues(func() (*ext4.FS, error) {
		return ext4.Open(io.NewSectionReader(d, i.RootPartition.Start, i.RootPartition.Size), i.RootPartition.Size)
	})
	return i, nil
}

// OpenBoot opens the FAT volume in the partition of a disk for editing.
func OpenBoot(d Disk, p Partition) (*fat.Volume, error) {
	return bootError(fat.Open(d, p.Start, p.Size))
}

// Boot returns the FAT volume for editing, the same one at each call. It is
// refused when it is dirty or damaged.
func (i *Image) Boot() (*fat.Volume, error) { return bootError(i.boot()) }

// LookAtBoot returns the FAT volume for reading only, even one that was pulled
// out of a running Pi.
func (i *Image) LookAtBoot() (*fat.Volume, error) { return bootError(i.look()) }

func bootError(v *fat.Volume, err error) (*fat.Volume, error) {
	if err != nil {
		return nil, fmt.Errorf("open boot partition: %w", err)
	}
	return v, nil
}

// Root returns the root file system, for reading only.
func (i *Image) Root() (*ext4.FS, error) {
	fs, err := i.root()
	if err != nil {
		return nil, fmt.Errorf("open root partition: %w", err)
	}
	return fs, nil
}
