package ext4

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkFiles reads every regular file of a mounted file system with our own
// code too.
func checkFiles(t *testing.T, f *FS, mounted string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(mounted, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, mounted)
		got, err := f.ReadFile(name)
		switch {
		case len(want) > MaxFile:
			if !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: error %v", name, err)
			}
		case err != nil:
			t.Error(err)
		case !bytes.Equal(got, want):
			t.Errorf("%s: %d bytes that differ from the kernel's %d", name, len(got), len(want))
		}
		files++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 600 {
		t.Errorf("only %d files were compared", files)
	}
	checkPaths(t, f)
}

// checkPaths reads through symbolic links, and what cannot be read.
func checkPaths(t *testing.T, f *FS) {
	t.Helper()
	for _, path := range []string{
		"etc/os-release", "/etc/os-release", "//etc//./os-release", "etc/absolute", "lib/os-release", "long",
		"etc/above-the-root", "etc/../usr/lib/os-release", "../etc/os-release",
	} {
		if got, err := f.ReadFile(path); string(got) != osRelease {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for path, want := range map[string]string{
		"etc/none":        "file does not exist",
		"etc/fstab/x":     "file does not exist",
		"many/n":          "file does not exist",
		"dangling":        "file does not exist",
		"circle":          "more than 40 symbolic links",
		"etc":             "not a regular file",
		"":                "not a regular file",
		"fifo":            "not a regular file",
		"etc/fst\x00ab":   "file does not exist",
		"etc/os-release/": "",
	} {
		_, err := f.ReadFile(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: error %v, want %q", path, err, want)
		}
		if errors.Is(err, fs.ErrNotExist) != strings.Contains(want, "not exist") {
			t.Errorf("%q: errors.Is(%v, fs.ErrNotExist) is wrong", path, err)
		}
	}
}
