package card

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"picluster/imagebuilder/image"
)

// Find describes the disk at path as far as the system knows it. A regular file
// may stand for a disk; one that does not exist yet is an empty one of size 0.
func Find(path string) (*Device, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !strings.HasPrefix(filepath.Clean(path), "/dev/"):
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("find disk: %w", err)
		}
		return &Device{Path: path, Bus: fileBus, Removable: true}, nil
	case err != nil:
		return nil, fmt.Errorf("find disk: %w", err)
	case info.Mode().IsRegular():
		return &Device{Path: path, Bus: fileBus, Removable: true, Size: info.Size(), ReadOnly: info.Mode().Perm()&0o222 == 0}, nil
	case info.Mode()&fs.ModeDevice == 0 || (info.Mode()&fs.ModeCharDevice != 0 && !rawDisks):
		return nil, fmt.Errorf("find disk: %s is neither a disk nor a file", path)
	}
	// What desktops show as /dev/disk/by-id/… is a link to the disk.
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("find disk: %w", err)
	}
	return find(real)
}

// Examine looks at what is on the disk, which needs permission to read it.
func (d *Device) Examine() error {
	if d.Size == 0 || d.Whole != "" {
		return nil
	}
	f, err := os.Open(d.Path)
	if err != nil {
		return fmt.Errorf("look at disk: %w", err)
	}
	defer f.Close()
	d.examine(f)
	return nil
}

// examine adds to the system's word what is really on the disk: the system may
// have read no partition table yet, or may be no help with labels.
func (d *Device) examine(disk io.ReaderAt) {
	known := map[int64]*Volume{}
	for i := range d.Volumes {
		known[d.Volumes[i].Start] = &d.Volumes[i]
	}
	for _, found := range d.onDisk(disk) {
		v := known[found.Start]
		if v == nil {
			d.Volumes = append(d.Volumes, found)
			continue
		}
		v.Type, v.Label, v.Content = found.Type, found.Label, found.Content
	}
	for i := range d.Volumes {
		if v := &d.Volumes[i]; v.Content == NotExamined {
			v.Type, v.Label, v.Content = look(disk, v.Start, v.Size)
		}
	}
	// A Pi's second partition is the Pi's too, whatever its state.
	for i := range d.Volumes {
		if i > 0 && d.Volumes[i-1].Content == RaspberryPi && d.Volumes[i-1].Number == 1 && d.Volumes[i].Number == 2 && d.Volumes[i].Type == "ext4" {
			d.Volumes[i].Content = RaspberryPi
		}
	}
}

// onDisk reads the partition table, or recognises a file system without one.
func (d *Device) onDisk(disk io.ReaderAt) []Volume {
	kind, label, content := look(disk, 0, d.Size)
	if kind != "" {
		return []Volume{{Path: d.Path, Size: d.Size, Type: kind, Label: label, Content: content}}
	}
	table, err := image.ReadTable(disk, d.Size)
	if err != nil {
		if content == Empty {
			return nil
		}
		return []Volume{{Path: d.Path, Size: d.Size, Content: Foreign}}
	}
	var all []Volume
	for _, p := range table.Partitions {
		size := min(p.Size, d.Size-p.Start)
		if size <= 0 {
			continue
		}
		v := Volume{Path: volumeName(d.Path, p.Number), Number: p.Number, Start: p.Start, Size: size}
		v.Type, v.Label, v.Content = look(disk, p.Start, size)
		all = append(all, v)
	}
	return all
}
