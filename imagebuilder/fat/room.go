package fat

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode/utf16"
)

// CheckRoom reports whether a whole batch of files, path to size in bytes, can
// be written with WriteFile, in any order, with the directories they need made
// by Mkdir before. It changes nothing. The error wraps ErrFull, or is one that
// writing would meet: a bad name, a directory where a file shall be, a volume
// that was opened for reading only.
//
// Because the order is open, a file that is replaced by a smaller one counts as
// no gain, and deleted slots of a directory as none either. So it may refuse
// what just fits, by the size of a shrunk file or a cluster per directory; what
// it lets pass fits.
func (v *Volume) CheckRoom(files map[string]int64) error {
	if v.stopped != nil {
		return fmt.Errorf("check room: %w", v.stopped)
	}
	r := room{volume: v, directories: map[string]*roomDirectory{}}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := r.add(path, files[path]); err != nil {
			return fmt.Errorf("check room for %s: %w", path, err)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(r.directories)) {
		if err := r.grow(r.directories[path]); err != nil {
			return fmt.Errorf("check room in directory %q: %w", path, err)
		}
	}
	if r.clusters > int64(v.free) {
		return fmt.Errorf("check room for %d files: %w", len(files), v.full(r.clusters, int64(v.free)))
	}
	return nil
}

// room adds up what a batch of files takes.
type room struct {
	volume      *Volume
	clusters    int64
	directories map[string]*roomDirectory // by path in lower case
}

// roomDirectory is a directory that files of the batch go to.
type roomDirectory struct {
	found    *directory // nil if it does not exist yet
	free     int        // slots at its end
	newSlots int        // that the batch adds
}

// add counts one file.
func (r *room) add(path string, size int64) error {
	if size < 0 || size > maxFileSize {
		return errTooLarge
	}
	names, err := split(path)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return errDirectory
	}
	last := len(names) - 1
	d, err := r.directory(names[:last])
	if err != nil {
		return err
	}
	e := d.find(names[last])
	if e == nil {
		r.clusters += int64(r.volume.clustersFor(size))
		return d.addEntry(names[last])
	}
	if e.isDir() {
		return errDirectory
	}
	r.clusters += max(0, int64(r.volume.clustersFor(size)-r.volume.clustersFor(e.size())))
	return nil
}

// directory returns the account of a directory, and enters it and its parents if
// they do not exist yet.
func (r *room) directory(names []string) (*roomDirectory, error) {
	key := strings.ToLower(strings.Join(names, "/"))
	if d := r.directories[key]; d != nil {
		return d, nil
	}
	d := &roomDirectory{}
	found, err := r.volume.descend(names)
	switch {
	case err == nil:
		d.found = found
		d.free = found.tail()
	case errors.Is(err, fs.ErrNotExist):
		last := len(names) - 1
		parent, err := r.directory(names[:last])
		if err != nil {
			return nil, err
		}
		if err := parent.addEntry(names[last]); err != nil {
			return nil, err
		}
		d.newSlots = 2 // "." and ".."
	default:
		return nil, err
	}
	r.directories[key] = d
	return d, nil
}

func (d *roomDirectory) find(name string) *entry {
	if d.found == nil {
		return nil
	}
	return d.found.find(name)
}

// addEntry counts the slots of a new entry. That it gets a long name is certain
// only once all short names are known: assume it.
func (d *roomDirectory) addEntry(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if d.found != nil {
		if _, _, err := d.found.shortName(name); err != nil {
			return err
		}
	}
	d.newSlots += (len(utf16.Encode([]rune(name)))+unitsPerSlot-1)/unitsPerSlot + 1
	return nil
}

// grow counts the clusters that a directory needs beyond those it has.
func (r *room) grow(d *roomDirectory) error {
	had := 0
	if d.found != nil {
		had = len(d.found.slots)
	}
	if had-d.free+d.newSlots > maxSlots {
		return fmt.Errorf("%d slots, there can be %d: %w", had-d.free+d.newSlots, maxSlots, ErrFull)
	}
	if more := int64(d.newSlots-d.free) * slotSize; more > 0 {
		r.clusters += int64(r.volume.clustersFor(more))
	}
	return nil
}
