package card

import (
	"cmp"
	"slices"

	"picluster/imagebuilder/ext4"
	"picluster/imagebuilder/fat"
	"picluster/imagebuilder/image"
)

// smallGap is the largest unused piece that is written all the same: one longer
// transfer is faster than two.
const smallGap = 64 << 10

// used returns what of an image has to be written, as ranges of whole blocks: all
// but the blocks that the FAT or the ext4 bitmaps call free. A stock image is a
// third free space. Where they are not understood, all but what is not in mapped,
// if that is not nil.
//
// Blocks of zeros are written like all others. To leave them out is the classic
// way to damage files on a card that was used before: zeros inside of a file are
// data, and no check of the file system would notice. Whatever is not understood
// is written.
func used(img image.Disk, mapped []image.Extent) []image.Extent {
	i, err := image.Open(img)
	if err != nil {
		return []image.Extent{{Start: 0, Length: img.Size()}}
	}
	var free []image.Extent
	for _, p := range i.Table.Partitions {
		extents := usedOf(i, p)
		if extents == nil && mapped != nil {
			extents = within(mapped, p)
		}
		free = append(free, freeOf(p, extents)...)
	}
	slices.SortFunc(free, func(a, b image.Extent) int { return cmp.Compare(a.Start, b.Start) })
	var all []image.Extent
	at := int64(0)
	for _, f := range free {
		// Only whole blocks may be left out, and the first block never.
		start, end := max(roundUp(f.Start), blockSize), roundDown(f.Start+f.Length)
		if end-start <= smallGap || start < at {
			continue
		}
		all = append(all, image.Extent{Start: at, Length: start - at})
		at = end
	}
	if at < img.Size() {
		all = append(all, image.Extent{Start: at, Length: img.Size() - at})
	}
	return all
}

// Understands reports whether the file systems themselves tell what of the image is
// in use. Otherwise Options.Mapped is of use.
func Understands(img image.Disk) bool {
	i, err := image.Open(img)
	return err == nil && !slices.ContainsFunc(i.Table.Partitions, func(p image.Partition) bool { return usedOf(i, p) == nil })
}

// usedOf returns what of a partition is in use, from its start, or nil if it is not
// known.
func usedOf(i *image.Image, p image.Partition) []image.Extent {
	switch p.Number {
	case i.BootPartition.Number:
		return bootUsed(i)
	case i.RootPartition.Number:
		return rootUsed(i)
	}
	return nil
}

// within returns what of the extents lies in the partition, from its start.
func within(extents []image.Extent, p image.Partition) []image.Extent {
	all := []image.Extent{}
	for _, e := range extents {
		start, end := max(e.Start, p.Start), min(e.Start+e.Length, p.Start+p.Size)
		if start < end {
			all = append(all, image.Extent{Start: start - p.Start, Length: end - start})
		}
	}
	return all
}

func roundUp(n int64) int64   { return (n + blockSize - 1) / blockSize * blockSize }
func roundDown(n int64) int64 { return n / blockSize * blockSize }

// freeOf is what a partition has between its used ranges, which are sorted and
// count from its start; nil means that nothing is known, so nothing is free.
func freeOf(p image.Partition, used []image.Extent) []image.Extent {
	if used == nil {
		return nil
	}
	var free []image.Extent
	at := int64(0)
	for _, u := range append(used, image.Extent{Start: p.Size}) {
		if u.Start > at {
			free = append(free, image.Extent{Start: p.Start + at, Length: u.Start - at})
		}
		at = u.Start + u.Length
	}
	return free
}

func bootUsed(i *image.Image) []image.Extent {
	v, err := i.LookAtBoot()
	if err != nil {
		return nil
	}
	extents, err := v.Used()
	if err != nil {
		return nil
	}
	return convert(extents)
}

func rootUsed(i *image.Image) []image.Extent {
	fs, err := i.Root()
	if err != nil {
		return nil
	}
	extents, err := fs.Used()
	if err != nil {
		return nil
	}
	return convert(extents)
}

func convert[E fat.Extent | ext4.Extent](extents []E) []image.Extent {
	all := make([]image.Extent, len(extents))
	for i, e := range extents {
		all[i] = image.Extent(e)
	}
	return all
}
