package card

import (
	"bytes"
	"crypto/rand"
	"errors"
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
	var saved [][]byte
	for _, at := range places {
		old := aligned(blockSize)
		if err := o.readAt(old, at); err != nil {
			return err
		}
		saved = append(saved, old)
	}
	written, err := mark(o, places)
	notRestored := restore(o, places[:written], saved)
	if liar := (*LiarError)(nil); errors.As(err, &liar) {
		liar.NotRestored = notRestored
		return liar
	}
	return errors.Join(err, notRestored)
}

// mark writes marks and reads them back. It returns how many were written.
func mark(o *disk, places []int64) (written int, err error) {
	var marks [][]byte
	for _, at := range places {
		m := aligned(blockSize)
		rand.Read(m)
		if err := o.writeAt(m, at); err != nil {
			return len(marks), err
		}
		marks = append(marks, m)
	}
	if err := o.sync(); err != nil {
		return len(marks), err
	}
	got := aligned(blockSize)
	for i, at := range places {
		if err := o.readAt(got, at); err != nil {
			return len(marks), err
		}
		if !bytes.Equal(got, marks[i]) {
			return len(marks), &LiarError{Path: o.path, Size: o.size, Beyond: lie(places, i, marks, got)}
		}
	}
	return len(marks), nil
}

// restore puts back what stood at the places: as much of it as goes.
func restore(o *disk, places []int64, saved [][]byte) error {
	var failed []error
	for i, at := range places {
		failed = append(failed, o.writeAt(saved[i], at))
	}
	return errors.Join(append(failed, o.sync())...)
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
