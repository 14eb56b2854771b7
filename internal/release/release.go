package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// release is one version for some systems.
type release struct {
	source  string    // the repository's directory
	version string    // as the programs say it
	date    time.Time // of each file in an archive
	out     string    // directory of archives, lists and sums
	log     io.Writer // says what is being made
}

// make makes everything anew. Nothing is in the way of a second run.
func (r release) make(ctx context.Context, systems []system) error {
	work, err := os.MkdirTemp("", "picluster-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	pages := filepath.Join(work, "pages")
	if err := r.writePages(ctx, pages); err != nil {
		return err
	}
	var made []string
	for _, s := range systems {
		name := fmt.Sprintf("picluster-%s-%s-%s", r.version, s.os, s.arch)
		fmt.Fprintf(r.log, "make %s\n", name)
		tree := filepath.Join(work, name)
		if err := r.fill(ctx, tree, pages, s); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		list, err := r.list(name, tree)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.out, name+".spdx.json"), list, 0o644)
		}
		if err == nil {
			err = writeArchive(filepath.Join(r.out, name+".tar.gz"), tree, r.date)
		}
		if err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		made = append(made, name+".spdx.json", name+".tar.gz")
		// Four systems at once would take a gigabyte of the temporary directory.
		if err := os.RemoveAll(tree); err != nil {
			return err
		}
	}
	return writeSums(r.out, made)
}

// fill makes the tree that becomes an archive. Unpacked anywhere it works: programs
// look for the agents beside themselves, and links between pages hold.
func (r release) fill(ctx context.Context, tree, pages string, s system) error {
	if err := r.build(ctx, filepath.Join(tree, "bin"), s.programs()); err != nil {
		return err
	}
	if err := r.copyLicences(ctx, tree); err != nil {
		return err
	}
	if err := os.CopyFS(tree, os.DirFS(pages)); err != nil {
		return err
	}
	for _, name := range []string{"README.md", "LICENSE"} {
		data, err := os.ReadFile(filepath.Join(r.source, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(tree, name), data, 0o644)
		}
		if err != nil {
			return err
		}
	}
	return os.CopyFS(filepath.Join(tree, "docs"), os.DirFS(filepath.Join(r.source, "docs")))
}

// writeSums writes SHA256SUMS as sha256sum does, so that `sha256sum -c` reads it.
func writeSums(dir string, names []string) error {
	slices.Sort(names)
	var sums strings.Builder
	for _, name := range names {
		digest, err := digestOf(sha256.New(), filepath.Join(dir, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", digest, name)
	}
	return os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums.String()), 0o644)
}
