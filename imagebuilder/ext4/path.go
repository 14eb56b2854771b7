package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// maxSymlinks is how many symbolic links one path may lead through, as in the
// kernel.
const maxSymlinks = 40

// ReadFile returns the content of a regular file of at most MaxFile bytes. path
// starts at the file system's root, with or without a leading slash; symbolic
// links on the way and at its end are followed within the file system.
//
// The error wraps fs.ErrNotExist if there is no such file.
func (f *FS) ReadFile(path string) ([]byte, error) {
	data, err := f.readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read %s from ext4: %w", path, err)
	}
	return data, nil
}

func (f *FS) readFile(path string) ([]byte, error) {
	n, err := f.resolve(path)
	if err != nil {
		return nil, err
	}
	if !n.is(modeRegular) {
		return nil, errors.New("not a regular file")
	}
	return f.content(n)
}

// resolve walks the path from the root directory. A symbolic link's target is
// put in front of what is left to walk.
func (f *FS) resolve(path string) (*inode, error) {
	root, err := f.inode(rootInode)
	if err != nil {
		return nil, err
	}
	trail := []*inode{root} // directories from the root to where we are
	links := 0
	for left := strings.Split(path, "/"); len(left) > 0; {
		name := left[0]
		left = left[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			trail = trail[:max(1, len(trail)-1)]
			continue
		}
		n, err := f.lookup(trail[len(trail)-1], name)
		if err != nil {
			return nil, err
		}
		if !n.is(modeSymlink) {
			trail = append(trail, n)
			continue
		}
		if links++; links > maxSymlinks {
			return nil, fmt.Errorf("more than %d symbolic links", maxSymlinks)
		}
		target, err := f.content(n)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(string(target), "/") {
			trail = trail[:1]
		}
		left = append(strings.Split(string(target), "/"), left...)
	}
	return trail[len(trail)-1], nil
}

// lookup finds a name in a directory.
func (f *FS) lookup(dir *inode, name string) (*inode, error) {
	if !dir.is(modeDir) {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist) // below something that is no directory
	}
	data, err := f.content(dir)
	if err != nil {
		return nil, err
	}
	areas := [][]byte{}
	if dir.hasFlag(flagInline) {
		// The first four bytes are the parent's inode number. Entries in i_block and
		// those in the attribute behind it are two lists.
		split := min(len(dir.block), len(data))
		areas = append(areas, data[min(4, split):split], data[split:])
	} else {
		for ; len(data) >= int(f.blockSize); data = data[f.blockSize:] {
			areas = append(areas, data[:f.blockSize])
		}
	}
	for _, area := range areas {
		number, err := findEntry(area, name)
		if err != nil {
			return nil, fmt.Errorf("directory in inode %d: %w", dir.number, err)
		}
		if number != 0 {
			return f.inode(number)
		}
	}
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// findEntry looks through one list of directory entries and returns an inode
// number, 0 if the name is not there. Index blocks of hashed directories and
// checksums look like entries that are not in use.
func findEntry(area []byte, name string) (int64, error) {
	const headerSize = 8
	for len(area) >= headerSize {
		number := binary.LittleEndian.Uint32(area)
		length := int(binary.LittleEndian.Uint16(area[4:]))
		nameLength := int(area[6])
		if length == 0xffff || length == 0 { // of a block of 64 KiB
			length = 1 << 16
		}
		if length < headerSize || length > len(area) || headerSize+nameLength > length {
			return 0, fmt.Errorf("entry of %d bytes with a name of %d: %w", length, nameLength, ErrDamaged)
		}
		if number != 0 && string(area[headerSize:headerSize+nameLength]) == name {
			return int64(number), nil
		}
		area = area[length:]
	}
	return 0, nil
}
