package pigen

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"picluster/internal/lab/tool"
)

// fillFAT copies bootDir to the FAT partition at offset, so that its directories
// look as they do after pi-gen's rsync on a mounted vfat:
//
//   - rsync writes each file under a temporary name and renames it, so half of the
//     directory slots are deleted ones, and free clusters lie between the files;
//   - Linux gives a lower-case name like config.txt a long name entry, where mtools
//     would set two case bits in the short one.
func fillFAT(ctx context.Context, l Layout, img string, offset int64, bootDir string) error {
	entries, err := os.ReadDir(bootDir)
	if err != nil {
		return err
	}
	stage, err := os.MkdirTemp(filepath.Dir(img), "stage-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	f := fatFiller{ctx: ctx, layout: l, volume: fmt.Sprintf("%s@@%d", img, offset), stage: stage, capitals: map[string]string{}}
	if err := f.copyDir(bootDir, "::/"); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		target := "::/" + f.alias(e.Name())
		if err := f.mtools("mmd", target); err != nil {
			return err
		}
		if err := f.copyDir(filepath.Join(bootDir, e.Name()), target); err != nil {
			return err
		}
	}
	return restoreCase(img, offset, f.capitals)
}

type fatFiller struct {
	ctx      context.Context
	layout   Layout
	volume   string
	stage    string            // directory for temporary files and aliases
	capitals map[string]string // alias → true name
}

func (f *fatFiller) mtools(name string, args ...string) error {
	_, err := tool.Cmd{
		Args: append([]string{name, "-i", f.volume}, args...),
		Env:  []string{"MTOOLS_SKIP_CHECK=1", fmt.Sprintf("SOURCE_DATE_EPOCH=%d", f.layout.built().Unix())},
	}.Output(f.ctx)
	return err
}

// copyDir copies the files of one directory, each after a temporary one, and then
// deletes the temporary ones.
func (f *fatFiller) copyDir(dir, target string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	stage, err := os.MkdirTemp(f.stage, "dir-")
	if err != nil {
		return err
	}
	args := []string{"-m"}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		temp := filepath.Join(stage, fmt.Sprintf(".%s.%06x", e.Name(), seed(e.Name())&0xffffff))
		if err := writeFile(f.layout, temp, make([]byte, 512+seed(e.Name())%2048)); err != nil {
			return err
		}
		source := filepath.Join(dir, e.Name())
		if alias := f.alias(e.Name()); target == "::/" && alias != e.Name() {
			if err := os.Symlink(source, filepath.Join(stage, alias)); err != nil {
				return err
			}
			source = filepath.Join(stage, alias)
		}
		args = append(args, temp, source)
	}
	if len(args) == 1 {
		return nil
	}
	if err := f.mtools("mcopy", append(args, target)...); err != nil {
		return err
	}
	return f.mtools("mdel", strings.TrimSuffix(target, "/")+"/.*.??????")
}

// alias is the name under which mtools stores a long name entry too: for a
// lower-case name of the 8.3 form that is one with a capital.
func (f *fatFiller) alias(name string) string {
	stem, ext, _ := strings.Cut(name, ".")
	if len(stem) > 8 || len(ext) > 3 || strings.ContainsAny(name, " +,;=[]") || name != strings.ToLower(name) {
		return name
	}
	alias := strings.ToUpper(name[:1]) + name[1:]
	if alias != name {
		f.capitals[alias] = name
	}
	return alias
}

// restoreCase gives the aliased entries of the root directory their true names.
// The checksum in a long name entry is that of the short name, which has no case.
func restoreCase(img string, offset int64, capitals map[string]string) error {
	file, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	slots, err := rootSlots(io.NewSectionReader(file, offset, 1<<40))
	if err != nil {
		return fmt.Errorf("read root directory: %w", err)
	}
	restored := 0
	slot := make([]byte, 32)
	for _, at := range slots {
		if _, err := file.ReadAt(slot, offset+at); err != nil {
			return err
		}
		name, ok := capitals[singleLongName(slot)]
		if !ok {
			continue
		}
		if _, err := file.WriteAt([]byte{name[0]}, offset+at+1); err != nil {
			return err
		}
		restored++
	}
	if restored != len(capitals) {
		return fmt.Errorf("restore names: found %d of %d", restored, len(capitals))
	}
	return file.Close()
}

// rootSlots returns the offsets of all 32-byte slots of the root directory.
func rootSlots(volume io.ReaderAt) ([]int64, error) {
	boot := make([]byte, sector)
	if _, err := volume.ReadAt(boot, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	reserved, fats, fatSectors := int64(le.Uint16(boot[14:])), int64(boot[16]), int64(le.Uint32(boot[36:]))
	cluster := int64(boot[13]) * sector
	data := (reserved + fats*fatSectors) * sector
	var slots []int64
	entry := make([]byte, 4)
	for n := int64(le.Uint32(boot[44:])); n >= 2 && n < 0x0ffffff8; n = int64(le.Uint32(entry) & 0x0fffffff) {
		for at := int64(0); at < cluster; at += 32 {
			slots = append(slots, data+(n-2)*cluster+at)
		}
		if _, err := volume.ReadAt(entry, reserved*sector+4*n); err != nil {
			return nil, err
		}
	}
	return slots, nil
}

// singleLongName decodes a long name that fits one slot, "" if it is another kind.
func singleLongName(slot []byte) string {
	if slot[0] != 0x41 || slot[11] != 0x0f {
		return ""
	}
	var units []uint16
	for _, part := range [][]byte{slot[1:11], slot[14:26], slot[28:32]} {
		for i := 0; i < len(part); i += 2 {
			if u := binary.LittleEndian.Uint16(part[i:]); u != 0 && u != 0xffff {
				units = append(units, u)
			}
		}
	}
	return string(utf16.Decode(units))
}
