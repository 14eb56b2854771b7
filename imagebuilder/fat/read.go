package fat

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// maxDepth is how deep directories may be nested. The specification ends paths
// at 260 characters; without an end, damage could make them endless.
const maxDepth = 130

// Stat returns what is known of a file or directory. A path has slashes; one in
// front, and the case of letters, make no difference. The error wraps
// fs.ErrNotExist if there is no such file.
func (v *Volume) Stat(path string) (Info, error) {
	names, err := split(path)
	if err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", path, err)
	}
	if len(names) == 0 {
		return Info{Path: ".", Name: ".", Dir: true, Attributes: attrDirectory}, nil
	}
	d, e, err := v.lookup(path)
	if err != nil {
		return Info{}, fmt.Errorf("stat %s: %w", path, err)
	}
	return d.info(e), nil
}

// ReadDir returns what is in a directory, sorted by name in byte order.
func (v *Volume) ReadDir(path string) ([]Info, error) {
	names, err := split(path)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", path, err)
	}
	d, err := v.descend(names)
	if err != nil {
		return nil, fmt.Errorf("read directory %s: %w", path, err)
	}
	var infos []Info
	for _, e := range d.sorted() {
		infos = append(infos, d.info(e))
	}
	return infos, nil
}

// ReadFile returns the content of a file.
func (v *Volume) ReadFile(path string) ([]byte, error) {
	data, err := v.readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

func (v *Volume) readFile(path string) ([]byte, error) {
	_, e, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	if e.isDir() {
		return nil, errDirectory
	}
	chain, err := v.chain(e.cluster())
	if err != nil {
		return nil, err
	}
	n := v.clustersFor(e.size())
	if n > len(chain) {
		return nil, fmt.Errorf("%d bytes in %d clusters: %w", e.size(), len(chain), ErrDamaged)
	}
	data, err := v.readChain(chain[:n])
	if err != nil {
		return nil, err
	}
	return data[:e.size()], nil
}

// Walk calls f for every file and directory but the root, directories before
// what is in them, each directory's content sorted by name. It ends with the
// first error, f's own as it is; on a volume opened for reading only, also with
// ErrDamaged at a directory that is met a second time.
func (v *Volume) Walk(f func(Info) error) error {
	return v.walk(rootPath, v.rootCluster, map[uint32]bool{}, f)
}

// walk walks through the directory that starts at a cluster. On a damaged volume
// directories can lead back to others in so many ways that no depth would be an
// end: each is entered once, seen by its cluster.
func (v *Volume) walk(path string, cluster uint32, seen map[uint32]bool, f func(Info) error) error {
	d, err := v.openDirectory(path, cluster)
	switch {
	case err != nil:
	case seen[cluster]:
		err = fmt.Errorf("it is in two places: %w", ErrDamaged)
	case strings.Count(path, "/") >= maxDepth:
		err = fmt.Errorf("more than %d levels: %w", maxDepth, ErrDamaged)
	}
	if err != nil {
		return fmt.Errorf("read directory %s: %w", path, err)
	}
	seen[cluster] = true
	for _, e := range d.sorted() {
		info := d.info(e)
		if err := f(info); err != nil {
			return err
		}
		if !info.Dir {
			continue
		}
		if err := v.walk(info.Path, e.cluster(), seen, f); err != nil {
			return err
		}
	}
	return nil
}

// split returns the names in a path, none for the root.
func split(path string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch name {
		case "", ".":
		case "..":
			return nil, fmt.Errorf("path leads upwards: %w", fs.ErrInvalid)
		default:
			names = append(names, name)
		}
	}
	if len(names) > maxDepth {
		return nil, fmt.Errorf("path has more than %d levels: %w", maxDepth, fs.ErrInvalid)
	}
	return names, nil
}

// descend opens the directory that the names lead to.
func (v *Volume) descend(names []string) (*directory, error) {
	d, err := v.openDirectory(rootPath, v.rootCluster)
	for _, name := range names {
		if err != nil {
			return nil, err
		}
		e := d.find(name)
		switch {
		case e == nil:
			return nil, fs.ErrNotExist
		case !e.isDir():
			return nil, errNotDirectory
		}
		d, err = v.openDirectory(d.child(e), e.cluster())
	}
	return d, err
}

// parent opens the directory of a path, and returns the path's last name.
func (v *Volume) parent(path string) (*directory, string, error) {
	names, err := split(path)
	if err != nil {
		return nil, "", err
	}
	if len(names) == 0 {
		return nil, "", errDirectory
	}
	last := len(names) - 1
	d, err := v.descend(names[:last])
	return d, names[last], err
}

// lookup finds an entry and its directory.
func (v *Volume) lookup(path string) (*directory, *entry, error) {
	d, name, err := v.parent(path)
	if err != nil {
		return nil, nil, err
	}
	e := d.find(name)
	if e == nil {
		return nil, nil, fs.ErrNotExist
	}
	return d, e, nil
}

// child is the path of an entry.
func (d *directory) child(e *entry) string {
	if d.path == rootPath {
		return e.display
	}
	return d.path + "/" + e.display
}

// sorted returns the entries in the byte order of their names.
func (d *directory) sorted() []*entry {
	return slices.SortedStableFunc(slices.Values(d.entries), func(a, b *entry) int { return strings.Compare(a.display, b.display) })
}

func (d *directory) info(e *entry) Info {
	i := Info{
		Path:       d.child(e),
		Name:       e.display,
		Dir:        e.isDir(),
		Modified:   e.modified(),
		Attributes: e.slot[11] & attrMask,
	}
	if !i.Dir {
		i.Size = e.size()
	}
	return i
}
