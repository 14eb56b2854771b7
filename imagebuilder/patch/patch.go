// Package patch applies a plan's edits to the boot volume of an image and reads
// each of them back.
//
// It works in two halves, so that what `plan` shows is by construction what
// `build` and `write` do: Preview computes every change without writing, Apply
// writes exactly those changes. Nothing is written unless all of it fits. What
// to change is package plan's business.
package patch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"picluster/imagebuilder/fat"
	"picluster/imagebuilder/plan"
)

// Change is one file of the boot volume before and after. Before is nil for a
// new file.
type Change struct {
	Path          string
	Before, After []byte
	Secret        bool
}

// Preview computes the changes that the edits make to the volume, sorted by
// path and without those that change nothing. Several edits of one file are
// applied in their order.
func Preview(v *fat.Volume, edits []plan.Edit) ([]Change, error) {
	var changes []*Change
	at := map[string]*Change{} // by lower-case path: FAT names have no case
	for _, e := range edits {
		c, ok := at[strings.ToLower(e.Path())]
		if !ok {
			before, err := v.ReadFile(e.Path())
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			c = &Change{Path: e.Path(), Before: before, After: before}
			at[strings.ToLower(e.Path())] = c
			changes = append(changes, c)
		}
		after, err := e.Apply(c.After)
		if err != nil {
			return nil, err
		}
		c.After = after
		c.Secret = c.Secret || e.Secret()
	}
	var real []Change
	for _, c := range changes {
		if c.Before == nil || !bytes.Equal(c.Before, c.After) {
			real = append(real, *c)
		}
	}
	slices.SortFunc(real, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return real, nil
}

// Apply writes the changes, giving every file the time modified, and reads each
// back. It checks first that all of them fit.
func Apply(v *fat.Volume, changes []Change, modified time.Time) error {
	need := map[string]int64{}
	for _, c := range changes {
		need[c.Path] = int64(len(c.After))
	}
	if err := v.CheckRoom(need); err != nil {
		return err
	}
	for _, c := range changes {
		if dir := path.Dir(c.Path); dir != "." {
			if err := v.Mkdir(dir, modified); err != nil {
				return err
			}
		}
		if err := v.WriteFile(c.Path, c.After, modified); err != nil {
			return err
		}
	}
	for _, c := range changes {
		got, err := v.ReadFile(c.Path)
		if err != nil {
			return fmt.Errorf("read back %s: %w", c.Path, err)
		}
		if !bytes.Equal(got, c.After) {
			return fmt.Errorf("read back %s: %d bytes differ from the %d written", c.Path, len(got), len(c.After))
		}
	}
	return nil
}
