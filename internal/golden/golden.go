// Package golden compares what a test produced with a file that a reviewer has read.
//
// Set UPDATE_GOLDEN=1 (or run `make golden`) to rewrite the files; the diff is
// then the review. An environment variable, not a flag: a flag would fail in
// every package that does not define it.
package golden

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/diff"
)

// Updating reports whether this run rewrites golden files instead of comparing.
func Updating() bool { return os.Getenv("UPDATE_GOLDEN") == "1" }

// Equal fails the test with a unified diff unless got equals the content of file.
func Equal(t testing.TB, file string, got []byte) {
	t.Helper()
	if Updating() {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("read golden file: %v (UPDATE_GOLDEN=1 writes it)", err)
	}
	if d := diff.Diff(file, want, "got", got); d != nil {
		t.Errorf("%s differs (UPDATE_GOLDEN=1 accepts the new form):\n%s", file, d)
	}
}
