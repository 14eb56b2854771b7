package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// place makes files below a new directory called name.
func place(t *testing.T, name string, files map[string]string, mode os.FileMode) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), name)
	for path, text := range files {
		path = filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// A file's own date, permissions and place are accidents of the machine that packs.
func TestWriteArchive_packsTheSameBytesFromOtherFiles(t *testing.T) {
	files := map[string]string{"bin/tool": "program", "docs/a.md": "a", "README.md": "read me"}
	date := time.Unix(1700000000, 0)
	var packed [2][]byte
	for i, mode := range []os.FileMode{0o600, 0o777} {
		tree := place(t, "tool-1.0", files, mode)
		if err := os.Chtimes(filepath.Join(tree, "README.md"), date, date.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "tool.tar.gz")
		if err := writeArchive(path, tree, date); err != nil {
			t.Fatal(err)
		}
		var err error
		if packed[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(packed[0], packed[1]) {
		t.Error("the archives differ")
	}
}

func TestWriteArchive_leavesNothingHalf(t *testing.T) {
	tree := place(t, "tool-1.0", map[string]string{"a": "a"}, 0o644)
	if err := os.Symlink("a", filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	err := writeArchive(filepath.Join(out, "tool.tar.gz"), tree, time.Unix(0, 0))
	if err == nil || !strings.Contains(err.Error(), "link is no regular file") {
		t.Errorf("a link gives %v", err)
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("it has left %s", left[0].Name())
	}
}

func TestCopyLicences_findsEveryText(t *testing.T) {
	from := place(t, "module", map[string]string{
		"LICENSE": "a", "sub/LICENSE-APACHE": "b", "sub/license.go": "package sub", "COPYING.txt": "c", "Notice.md": "d",
		"sub/testdata/LICENSE": "e", "licenses.json": "f", "UNLICENSE": "g",
	}, 0o644)
	to := t.TempDir()
	if err := copyLicencesOf(to, from, true); err != nil {
		t.Fatal(err)
	}
	for name, wanted := range map[string]bool{
		"LICENSE": true, "sub/LICENSE-APACHE": true, "COPYING.txt": true, "Notice.md": true, "UNLICENSE": true,
		"sub/license.go": false, "sub/testdata": false, "licenses.json": false,
	} {
		if _, err := os.Stat(filepath.Join(to, name)); (err == nil) != wanted {
			t.Errorf("%s: %v, wanted: %t", name, err, wanted)
		}
	}
}

// What nobody has given leave to pass on is not passed on.
func TestCopyLicences_stopsWithoutOne(t *testing.T) {
	from := place(t, "module", map[string]string{"main.go": "package main"}, 0o644)
	if err := copyLicencesOf(t.TempDir(), from, true); err == nil || !strings.Contains(err.Error(), "there is none in "+from) {
		t.Errorf("it gives %v", err)
	}
}

func TestRun_wantsItsDate(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if err := run(t.Context(), []string{"-version", "v1", t.TempDir()}); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("without a date: %v", err)
	}
	if err := run(t.Context(), []string{"-version", "v1"}); err == nil || !strings.Contains(err.Error(), "DIR") {
		t.Errorf("without a directory: %v", err)
	}
}
