package fat

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// maxSlots is where Linux and Windows end a directory: 2 MiB.
const maxSlots = 65536

// directory is a directory's content in memory. It is changed there, then
// written by saveDirectory; one that is not wanted after all is simply dropped.
type directory struct {
	path       string   // as in Info, but "" for the root
	perCluster int      // slots
	chain      []uint32 // clusters that it has on disk
	stored     []byte   // what is in them
	slots      []slot   // of the content as it shall be, which may be longer
	entries    []*entry // in the order of their slots
}

// entry is a file or directory as its directory knows it.
type entry struct {
	slot           // the short entry, a part of the directory's content
	first   int    // slot where its long name begins; last if it has none
	last    int    // slot of the short entry
	display string // its name: the long one if it has one
}

func (e *entry) isDir() bool { return e.slot[11]&attrDirectory != 0 }

const rootPath = ""

// openDirectory reads the directory that starts at a cluster.
func (v *Volume) openDirectory(path string, cluster uint32) (*directory, error) {
	if cluster == 0 {
		return nil, fmt.Errorf("directory without a cluster: %w", ErrDamaged)
	}
	chain, err := v.chain(cluster)
	if err != nil {
		return nil, err
	}
	if int64(len(chain))*v.clusterSize > maxSlots*slotSize {
		return nil, fmt.Errorf("directory of %d clusters: %w", len(chain), ErrDamaged)
	}
	d := &directory{path: path, perCluster: int(v.clusterSize / slotSize), chain: chain}
	if d.stored, err = v.readChain(chain); err != nil {
		return nil, err
	}
	d.extend(bytes.Clone(d.stored))
	for i, s := range d.slots {
		if s[0] == slotEnd {
			break
		}
		if s.free() || s.longName() || s.label() || s.dots() {
			continue
		}
		d.entries = append(d.entries, d.parse(i))
	}
	return d, nil
}

// extend adds the slots in content, which the directory then owns.
func (d *directory) extend(content []byte) {
	for s := range slices.Chunk(content, slotSize) {
		d.slots = append(d.slots, slot(s))
	}
}

// parse returns the entry whose short slot is i.
func (d *directory) parse(i int) *entry {
	s := d.slots[i]
	name, first, err := parseLongName(d.slots, i)
	if err != nil {
		name = s.name().display(s[12])
	}
	return &entry{slot: s, first: first, last: i, display: name}
}

// dots reports whether it is the "." or ".." of a subdirectory.
func (s slot) dots() bool {
	return s[0] == '.' && (string(s[1:11]) == "          " || string(s[1:11]) == ".         ")
}

// label returns the volume's label if this is the root directory.
func (d *directory) label() string {
	for _, s := range d.slots {
		switch {
		case s[0] == slotEnd:
			return ""
		case !s.free() && s.label():
			return strings.TrimRight(decodeOEM(s[:11]), " ")
		}
	}
	return ""
}

// find returns the entry of that name, nil if there is none. FAT names have no
// case, but a driver with another idea of what the same letter is may have made
// two files of them: the exact one is better.
func (d *directory) find(name string) *entry {
	var found *entry
	for _, e := range d.entries {
		if e.display == name {
			return e
		}
		if found == nil && strings.EqualFold(e.display, name) {
			found = e
		}
	}
	return found
}

// add makes an entry in memory, in the first free slots that are enough, or else
// at the end.
func (d *directory) add(name string, attributes byte, modified time.Time) (*entry, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	short, long, err := d.shortName(name)
	if err != nil {
		return nil, err
	}
	s := make(slot, slotSize)
	copy(s, short[:])
	s[11] = attributes
	s.setCreated(modified)
	s.setModified(modified)
	slots := []slot{s}
	if long {
		slots = append(longSlots(name, short), s)
	}
	at := d.place(len(slots))
	if missing := at + len(slots) - len(d.slots); missing > 0 {
		clusters := (missing + d.perCluster - 1) / d.perCluster
		d.extend(make([]byte, clusters*d.perCluster*slotSize))
	}
	if len(d.slots) > maxSlots {
		return nil, fmt.Errorf("directory has %d slots already, the most there can be: %w", maxSlots, ErrFull)
	}
	for i, s := range slots {
		copy(d.slots[at+i], s)
	}
	return d.parse(at + len(slots) - 1), nil
}

// place returns the first slot of the first run of n free ones; it may go
// beyond the end. All slots behind the end mark are free: check has seen to it.
func (d *directory) place(n int) int {
	run := 0
	for i, s := range d.slots {
		if !s.free() {
			run = 0
		} else if run++; run == n {
			return i + 1 - n
		}
	}
	return len(d.slots) - d.tail()
}

// tail is how many slots at the end are free.
func (d *directory) tail() int {
	n := 0
	for n < len(d.slots) && d.slots[len(d.slots)-1-n].free() {
		n++
	}
	return n
}

// shortName finds a short name for a new entry. Long and short names are one
// set: firmware that looks for CONFIG.TXT takes whichever comes first.
func (d *directory) shortName(name string) (shortName, bool, error) {
	used := map[string]string{}
	for _, e := range d.entries {
		used[e.name().String()] = e.display
		used[strings.ToUpper(e.display)] = e.display
	}
	if other, ok := used[strings.ToUpper(name)]; ok {
		return shortName{}, false, fmt.Errorf("it is the short name of %q: %w", other, fs.ErrExist)
	}
	return makeShortName(name, func(n shortName) bool { return used[n.String()] != "" })
}

// remove frees the slots of an entry.
func (d *directory) remove(e *entry) {
	for i := e.first; i <= e.last; i++ {
		d.slots[i][0] = slotDeleted
	}
}

// missing is how many more clusters the content needs than the directory has.
func (d *directory) missing() int { return len(d.slots)/d.perCluster - len(d.chain) }

// saveDirectory writes those clusters of the directory that changed. New ones
// have been linked to its chain.
func (v *Volume) saveDirectory(d *directory) error {
	content := make([]byte, 0, len(d.slots)*slotSize)
	for _, s := range d.slots {
		content = append(content, s...)
	}
	size := int(v.clusterSize)
	for i, n := range d.chain {
		at, now := i*size, content[i*size:][:size]
		if at < len(d.stored) && bytes.Equal(now, d.stored[at:][:size]) {
			continue
		}
		if err := v.writeAt(now, v.clusterStart(n)); err != nil {
			return fmt.Errorf("write directory: %w", err)
		}
	}
	return nil
}
