package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// licenceFile is what authors call the text that has to travel with their work.
var licenceFile = regexp.MustCompile(`(?i)^((un)?licen[cs]es?|copying|notices?|patents|authors)([-_][^.]*)?(\.(txt|md|rst|mit|bsd|apache))?$`)

// linked are the modules in the programs of a directory, by their path, and what is
// in which program. A module has one version in all of them: they are built from one
// go.mod.
func linked(bin string) (modules []*debug.Module, in map[string][]string, goVersion string, err error) {
	files, err := os.ReadDir(bin)
	if err != nil {
		return nil, nil, "", err
	}
	in = map[string][]string{}
	for _, f := range files {
		info, err := buildinfo.ReadFile(filepath.Join(bin, f.Name()))
		if err != nil {
			return nil, nil, "", fmt.Errorf("read what is in %s: %w", f.Name(), err)
		}
		goVersion = info.GoVersion
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			if len(in[m.Path]) == 0 {
				modules = append(modules, m)
			}
			in[m.Path] = append(in[m.Path], f.Name())
		}
	}
	slices.SortFunc(modules, func(a, b *debug.Module) int { return strings.Compare(a.Path, b.Path) })
	return modules, in, goVersion, nil
}

// copyLicences copies the licences of Go and of each module that is linked in. A
// module without one stops the release: it may not be given away.
func (r release) copyLicences(ctx context.Context, tree string) error {
	modules, _, _, err := linked(filepath.Join(tree, "bin"))
	if err != nil {
		return err
	}
	root, err := r.goCommand(ctx, "env", "GOROOT")
	if err != nil {
		return err
	}
	dirs := map[string]string{"go": strings.TrimSpace(root)}
	args := []string{"list", "-m", "-f", "{{.Path}}\t{{.Dir}}"}
	for _, m := range modules {
		args = append(args, m.Path)
	}
	list, err := r.goCommand(ctx, args...)
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[path] = dir
	}
	for path, dir := range dirs {
		// Of Go itself the first level will do: below it are its tests.
		if err := copyLicencesOf(filepath.Join(tree, "licences", path), dir, path != "go"); err != nil {
			return fmt.Errorf("copy licence of %s: %w", path, err)
		}
	}
	return nil
}

func copyLicencesOf(to, from string, deep bool) error {
	found := 0
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != from && (!deep || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir(), !licenceFile.MatchString(entry.Name()):
			return nil
		}
		found++
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
	if err == nil && found == 0 {
		err = fmt.Errorf("there is none in %s", from)
	}
	return err
}

func (r release) goCommand(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = r.source
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", args[0], err, complaints.String())
	}
	return string(out), nil
}
