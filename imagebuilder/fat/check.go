package fat

import (
	"bytes"
	"fmt"
	"strings"
)

// Check reads all directories and reports the first thing in the volume that
// makes an edit unsafe; Open has done so already. The error wraps ErrDirty or
// ErrDamaged, or is the device's.
//
// What only wastes space or is nowhere relied on is let pass: clusters that
// belong to nobody, a wrong free count, parts of long names that lead nowhere.
func (v *Volume) Check() error {
	if err := v.check(); err != nil {
		return fmt.Errorf("check FAT32 volume: %w", err)
	}
	return nil
}

func (v *Volume) check() error {
	if flags := v.next(1); v.dirty || flags&cleanShutdown == 0 {
		return ErrDirty
	} else if flags&noHardErrors == 0 {
		return fmt.Errorf("a driver met bad sectors: %w", ErrDirty)
	}
	if err := v.compareCopies(); err != nil {
		return err
	}
	if _, err := v.readInfo(); err != nil {
		return err
	}
	c := checker{volume: v, owned: make([]byte, v.clusters/8+1)}
	if _, err := c.own(v.rootCluster); err != nil {
		return fmt.Errorf("root directory: %w", err)
	}
	return c.directory(rootPath, v.rootCluster, 0)
}

// compareCopies compares all copies of the table on disk with the one in memory.
func (v *Volume) compareCopies() error {
	buf := make([]byte, min(1<<20, len(v.entries)))
	for copied := range v.copies {
		for at := 0; at < len(v.entries); at += len(buf) {
			part := buf[:min(len(buf), len(v.entries)-at)]
			if err := v.readAt(part, v.tableStart+copied*v.tableSize+int64(at)); err != nil {
				return fmt.Errorf("read copy %d of allocation table: %w", copied, err)
			}
			if !bytes.Equal(part, v.entries[at:][:len(part)]) {
				return fmt.Errorf("copies of allocation table differ: %w", ErrDamaged)
			}
		}
	}
	return nil
}

// checker walks through a volume and notes which clusters belong to something.
type checker struct {
	volume *Volume
	owned  []byte // a bit for each cluster
}

// own notes a chain and returns its length.
func (c *checker) own(first uint32) (int, error) {
	chain, err := c.volume.chain(first)
	if err != nil {
		return 0, err
	}
	for _, n := range chain {
		at, bit := (n-2)/8, byte(1)<<((n-2)%8)
		if c.owned[at]&bit != 0 {
			return 0, fmt.Errorf("cluster %d belongs to another file too: %w", n, ErrDamaged)
		}
		c.owned[at] |= bit
	}
	return len(chain), nil
}

// directory checks a directory whose clusters are noted, and all below it.
func (c *checker) directory(path string, cluster uint32, depth int) error {
	d, err := c.volume.openDirectory(path, cluster)
	if err == nil && depth > maxDepth {
		err = fmt.Errorf("more than %d levels: %w", maxDepth, ErrDamaged)
	}
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	for _, e := range d.entries {
		if err := c.entry(e); err != nil {
			return fmt.Errorf("%s: %w", d.child(e), err)
		}
		if !e.isDir() {
			continue
		}
		if err := c.directory(d.child(e), e.cluster(), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// entry checks the clusters of a file or directory.
func (c *checker) entry(e *entry) error {
	n, err := c.own(e.cluster())
	if err != nil {
		return err
	}
	if want := c.volume.clustersFor(e.size()); !e.isDir() && n != want {
		return fmt.Errorf("%d bytes in %d clusters: %w", e.size(), n, ErrDamaged)
	}
	return nil
}

// check looks for what would make drivers disagree about what is in a directory.
func (d *directory) check() error {
	ended := false
	for _, s := range d.slots {
		ended = ended || s[0] == slotEnd
		// Linux reads on behind the end mark, the specification says to stop.
		if ended && !s.free() {
			return fmt.Errorf("entries behind the end: %w", ErrDamaged)
		}
	}
	seen := map[shortName]bool{}
	for _, e := range d.entries {
		if seen[e.name()] {
			return fmt.Errorf("short name %q twice: %w", e.name(), ErrDamaged)
		}
		seen[e.name()] = true
		if e.display == "" || e.display == "." || e.display == ".." || strings.ContainsAny(e.display, "/\x00") {
			return fmt.Errorf("name %q: %w", e.display, ErrDamaged)
		}
	}
	return nil
}
