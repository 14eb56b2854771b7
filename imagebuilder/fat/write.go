package fat

import (
	"fmt"
	"io/fs"
	"math"
	"time"
)

// maxFileSize is what the size in a directory entry can say, in bytes.
const maxFileSize = math.MaxUint32

var errTooLarge = fmt.Errorf("FAT has no files of 4 GiB or more: %w", fs.ErrInvalid)

// WriteFile creates a file or replaces its content; it keeps the name and the
// attributes of one that exists, whatever the case of path. Its directory must
// exist. The error wraps ErrFull if there is no room, fs.ErrInvalid if FAT
// forbids the name, fs.ErrNotExist if there is no directory, or fs.ErrExist if
// the name is the short name of another file: then nothing was changed.
func (v *Volume) WriteFile(path string, data []byte, modified time.Time) error {
	if err := v.writeFile(path, data, modified); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (v *Volume) writeFile(path string, data []byte, modified time.Time) error {
	if int64(len(data)) > maxFileSize {
		return errTooLarge
	}
	d, name, err := v.parent(path)
	if err != nil {
		return err
	}
	var old []uint32
	e := d.find(name)
	switch {
	case e == nil:
		e, err = d.add(name, attrArchive, modified)
	case e.isDir():
		err = errDirectory
	default:
		old, err = v.chain(e.cluster())
	}
	if err != nil {
		return err
	}
	return v.edit(d, old, v.clustersFor(int64(len(data))), func(chain []uint32) error {
		e.setContent(chain, int64(len(data)))
		e.setModified(modified)
		return v.writeChain(chain, data)
	})
}

// setContent makes the clusters the entry's. An empty file has none, and its
// first cluster is 0.
func (e *entry) setContent(chain []uint32, size int64) {
	first := uint32(0)
	if len(chain) > 0 {
		first = chain[0]
	}
	e.setCluster(first)
	e.setSize(size)
	if !e.isDir() {
		e.slot[11] |= attrArchive
	}
}

// Mkdir makes a directory; its parent must exist. That it exists already is no
// error and changes nothing. Errors are those of WriteFile.
func (v *Volume) Mkdir(path string, modified time.Time) error {
	if err := v.mkdir(path, modified); err != nil {
		return fmt.Errorf("make directory %s: %w", path, err)
	}
	return nil
}

func (v *Volume) mkdir(path string, modified time.Time) error {
	names, err := split(path)
	if err != nil || len(names) == 0 {
		return err
	}
	d, name, err := v.parent(path)
	if err != nil {
		return err
	}
	if e := d.find(name); e != nil {
		if !e.isDir() {
			return errNotDirectory
		}
		return nil
	}
	e, err := d.add(name, attrDirectory, modified)
	if err != nil {
		return err
	}
	return v.edit(d, nil, 1, func(chain []uint32) error {
		e.setContent(chain, 0)
		parent := d.chain[0]
		if d.path == rootPath {
			// The root is 0 here, whatever its cluster is.
			parent = 0
		}
		return v.writeChain(chain, append(dotEntry(e, ".", chain[0]), dotEntry(e, "..", parent)...))
	})
}

// dotEntry is the "." or ".." of the new directory e.
func dotEntry(e *entry, name string, cluster uint32) []byte {
	s := make(slot, slotSize)
	copy(s, e.slot)
	copy(s, fmt.Sprintf("%-11s", name))
	s.setCluster(cluster)
	return s
}

// Remove removes a file or an empty directory and frees its clusters.
func (v *Volume) Remove(path string) error {
	if err := v.remove(path); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

func (v *Volume) remove(path string) error {
	d, e, err := v.lookup(path)
	if err != nil {
		return err
	}
	if e.isDir() {
		content, err := v.openDirectory(d.child(e), e.cluster())
		if err != nil {
			return err
		}
		if len(content.entries) > 0 {
			return errNotEmpty
		}
	}
	chain, err := v.chain(e.cluster())
	if err != nil {
		return err
	}
	d.remove(e)
	return v.edit(d, chain, 0, func([]uint32) error { return nil })
}

// edit brings a changed directory to disk, and with it a file of it: the old
// clusters are freed, as many as wanted are allocated, and fill writes them.
// Nothing is changed if there are too few.
//
// The order is data, table, directory, free count: with a new file, a disk pulled in
// between has at worst clusters that belong to nobody. With one that is replaced or
// removed, the directory may still name clusters that are free or hold new data: freeing
// comes first, in memory, so that replacing a file needs room for one of the two.
func (v *Volume) edit(d *directory, old []uint32, wanted int, fill func(chain []uint32) error) error {
	if v.stopped != nil {
		return v.stopped
	}
	need, have := int64(wanted+d.missing()), int64(v.free)+int64(len(old))
	if need > have {
		return v.full(need, have)
	}
	err := func() error {
		v.release(old)
		if err := fill(v.allocate(wanted)); err != nil {
			return err
		}
		if grown := v.allocate(d.missing()); len(grown) > 0 {
			v.link(d.chain[len(d.chain)-1], grown[0])
			d.chain = append(d.chain, grown...)
		}
		if err := v.saveTable(); err != nil {
			return err
		}
		if err := v.saveDirectory(d); err != nil {
			return err
		}
		return v.saveInfo()
	}()
	if err != nil {
		// Memory and disk differ now, and nothing here could mend the disk.
		v.stopped = fmt.Errorf("an earlier write ended half-way: %w", err)
	}
	return err
}

// full says how many clusters are wanted and how many there are.
func (v *Volume) full(need, have int64) error {
	return fmt.Errorf("%d bytes needed, %d free: %w", need*v.clusterSize, have*v.clusterSize, ErrFull)
}
