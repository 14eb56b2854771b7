// Package allocator decides on which devices the bricks of a volume go.
//
// It is arithmetic: the same devices and the same request give the same answer,
// in whatever order the devices come.
package allocator

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Device is a place for bricks.
type Device struct {
	ID   string
	Node string
	Zone int   // failure domain of the node; all devices of a node have the same
	Free int64 // bytes
	Role Role
}

// Role says for what a device may be used.
type Role int

const (
	Any         Role = iota
	DataOnly         // never for an arbiter
	ArbiterOnly      // never for data
)

func (r Role) fits(arbiter bool) bool {
	return r == Any || arbiter == (r == ArbiterOnly)
}

// Request is what a volume needs.
type Request struct {
	Bytes    int64 // of the volume: what can be written to it
	Replicas int   // full copies, at least 1

	// ArbiterBytes, if not 0, adds to each set a brick of that size that holds names
	// and no data. It counts as a vote, so two copies with it survive what three do.
	ArbiterBytes int64

	// Footprint is what a brick of a size takes of its device; nil: just that.
	Footprint func(bytes int64) int64

	// MaxSets is into how many sets the volume may be split where no set of devices
	// has room for all of it; 0 is 1. A file never spans sets.
	MaxSets int

	// Beside are devices whose bricks are to be in the one set too: of a set that
	// has lost bricks, those that it has still.
	Beside []Device
}

// Brick is a place that has been found.
type Brick struct {
	Device  string
	Node    string
	Bytes   int64 // what it is to hold; its footprint may be larger
	Arbiter bool
}

// ErrNoSpace is in every error that more or larger devices would have prevented.
var ErrNoSpace = errors.New("not enough space")

// Place returns sets of bricks: each with Replicas copies on different nodes, the
// arbiter last. It takes as few sets as possible. Within a set as many zones as
// possible are used, and as evenly as possible; then nodes and devices with the
// most free space.
func Place(devices []Device, r Request) ([][]Brick, error) {
	if r.Bytes <= 0 || r.Replicas < 1 || r.ArbiterBytes < 0 {
		return nil, fmt.Errorf("place bricks: %d copies of %d bytes is no volume", r.Replicas, r.Bytes)
	}
	for sets := 1; sets <= max(1, r.MaxSets); sets++ {
		if placed := place(devices, r, int64(sets)); placed != nil {
			return placed, nil
		}
	}
	return nil, noSpace(devices, r)
}

// place returns nil if that many sets do not fit.
func place(devices []Device, r Request, sets int64) [][]Brick {
	left := slices.Clone(devices)
	size, arbiter := part(r.Bytes, sets), part(r.ArbiterBytes, sets)
	var placed [][]Brick
	for range sets {
		set := placeSet(left, size, arbiter, r)
		if set == nil {
			return nil
		}
		placed = append(placed, set)
		for _, b := range set {
			i := slices.IndexFunc(left, func(d Device) bool { return d.ID == b.Device && d.Node == b.Node })
			left[i].Free -= r.takes(b.Bytes)
		}
	}
	return placed
}

func (r Request) takes(bytes int64) int64 {
	if r.Footprint == nil {
		return bytes
	}
	return r.Footprint(bytes)
}

// part is an equal share, rounded up.
func part(bytes, of int64) int64 {
	if bytes%of != 0 {
		return bytes/of + 1
	}
	return bytes / of
}

// placeSet tries every node for the arbiter, because the best one for data may be
// the only one for it, and takes the best set.
func placeSet(devices []Device, size, arbiter int64, r Request) []Brick {
	data := candidates(devices, r.takes(size), false)
	if arbiter == 0 {
		return bricks(choose(data, r.Replicas, r.Beside), nil, size, 0)
	}
	var best, bestArbiter []Device
	for _, a := range candidates(devices, r.takes(arbiter), true) {
		if holds(r.Beside, a.Node) {
			continue
		}
		chosen := choose(data, r.Replicas, append(slices.Clone(r.Beside), a))
		if chosen != nil && (best == nil || better(chosen, a, best, bestArbiter[0])) {
			best, bestArbiter = chosen, []Device{a}
		}
	}
	return bricks(best, bestArbiter, size, arbiter)
}

// better prefers more zones, then an arbiter where data cannot go or has the least
// room. What is equal in all of that is decided by the candidates' order.
func better(data []Device, arbiter Device, thanData []Device, thanArbiter Device) bool {
	return cmp.Or(
		cmp.Compare(zones(append(slices.Clone(thanData), thanArbiter)), zones(append(slices.Clone(data), arbiter))),
		cmp.Compare(thanArbiter.Role, arbiter.Role),
		cmp.Compare(arbiter.Free, thanArbiter.Free),
	) < 0
}

func zones(devices []Device) int {
	seen := map[int]bool{}
	for _, d := range devices {
		seen[d.Zone] = true
	}
	return len(seen)
}

// candidates returns of each node the device with the most free space that a brick
// of that kind and size fits on, the one with the most free space first.
func candidates(devices []Device, size int64, arbiter bool) []Device {
	fit := slices.DeleteFunc(slices.Clone(devices), func(d Device) bool { return d.Free < size || !d.Role.fits(arbiter) })
	slices.SortFunc(fit, func(a, b Device) int {
		return cmp.Or(cmp.Compare(b.Free, a.Free), cmp.Compare(a.Node, b.Node), cmp.Compare(a.ID, b.ID))
	})
	var of []Device
	for _, d := range fit {
		if !holds(of, d.Node) {
			of = append(of, d)
		}
	}
	return of
}

func holds(devices []Device, node string) bool {
	return slices.ContainsFunc(devices, func(d Device) bool { return d.Node == node })
}

// choose picks n candidates beside those that are in the set already, each from the
// zone that the set uses least so far. It returns nil if there are not enough.
func choose(from []Device, n int, beside []Device) []Device {
	used := map[int]int{}
	for _, d := range beside {
		used[d.Zone]++
	}
	left := slices.DeleteFunc(slices.Clone(from), func(d Device) bool { return holds(beside, d.Node) })
	if len(left) < n {
		return nil
	}
	chosen := make([]Device, 0, n)
	for range n {
		next := 0
		for i, d := range left {
			if used[d.Zone] < used[left[next].Zone] {
				next = i
			}
		}
		used[left[next].Zone]++
		chosen = append(chosen, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return chosen
}

func bricks(data, arbiter []Device, size, arbiterSize int64) []Brick {
	var set []Brick
	for _, d := range data {
		set = append(set, Brick{Device: d.ID, Node: d.Node, Bytes: size})
	}
	for _, d := range arbiter {
		set = append(set, Brick{Device: d.ID, Node: d.Node, Bytes: arbiterSize, Arbiter: true})
	}
	return set
}

// noSpace says what there is, so that the reader sees what is missing.
func noSpace(devices []Device, r Request) error {
	want := fmt.Sprintf("%d bricks of %s on as many nodes", r.Replicas, Size(r.takes(r.Bytes)))
	if r.ArbiterBytes > 0 {
		want += fmt.Sprintf(" and an arbiter of %s on one more", Size(r.takes(r.ArbiterBytes)))
	}
	if r.MaxSets > 1 {
		want += fmt.Sprintf(", or up to %d parts", r.MaxSets)
	}
	most := map[string]int64{}
	for _, d := range devices {
		if d.Free > 0 {
			most[d.Node] = max(most[d.Node], d.Free)
		}
	}
	var have []string
	for node, free := range most {
		have = append(have, node+" "+Size(free))
	}
	slices.Sort(have)
	return fmt.Errorf("place %s: %w: %s", want, ErrNoSpace, cmp.Or(strings.Join(have, ", "), "no node has any"))
}

// Size is a number of bytes for people.
func Size(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", bytes)
}
