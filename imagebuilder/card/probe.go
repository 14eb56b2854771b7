package card

import (
	"bytes"
	"crypto/rand"
	"slices"
)

// smallestLiar is the smallest real size that is looked for, in bytes.
const smallestLiar = 64 << 20

// probe finds out whether the disk really has its size, by writing marks and
// reading them back. Counterfeit cards say that they have 64 GB, keep 8, and
// either forget what is written beyond or let it overwrite the beginning.
//
// The mark at the end would come out at the same place modulo the real size, a
// power of two for cards that wrap around; so there is a mark at each of those
// places, written before it. What stood at the places is put back.
func probe(o *disk) error {
	places := probePlaces(o.size)
	var saved, marks [][]byte
	for _, at := range places {
		old := aligned(blockSize)
		if err := o.readAt(old, at); err != nil {
			return err
		}
		saved = append(saved, old)
	}
	written := 0
	err := func() error {
		for _, at := range places {
			mark := aligned(blockSize)
			rand.Read(mark)
			if err := o.writeAt(mark, at); err != nil {
				return err
			}
			marks = append(marks, mark)
			written++
		}
		if err := o.sync(); err != nil {
			return err
		}
		got := aligned(blockSize)
		for i, at := range places {
			if err := o.readAt(got, at); err != nil {
				return err
			}
			if !bytes.Equal(got, marks[i]) {
				return &LiarError{Path: o.path, Size: o.size, Beyond: lie(places, i, marks, got)}
			}
		}
		return nil
	}()
	for i := range written {
		if e := o.writeAt(saved[i], places[i]); err == nil {
			err = e
		}
	}
	if e := o.sync(); err == nil {
		err = e
	}
	return err
}

// lie returns the place that is not there: the one whose mark was found at place
// i, or i itself, which has forgotten its own.
func lie(places []int64, i int, marks [][]byte, got []byte) int64 {
	for j := range marks {
		if bytes.Equal(got, marks[j]) {
			return places[j]
		}
	}
	return places[i]
}

// probePlaces returns where marks go, ascending: the last block, and what it is
// modulo each power of two.
func probePlaces(size int64) []int64 {
	end := roundDown(size) - blockSize
	places := []int64{end}
	for real := int64(smallestLiar); real < size; real *= 2 {
		// Not the first block: it is the partition table, and the only one that
		// would be missed after a power cut.
		if at := end % real; at > 0 {
			places = append(places, at)
		}
	}
	slices.Sort(places)
	return slices.Compact(places)
}
