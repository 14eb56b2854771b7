package main

import (
	"os"
	"path/filepath"
	"testing"

	"picluster/internal/cli"
)

// docker save writes to a pipe, and an archive is read back and forth.
func TestFindImages_fromStandardInput(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	file, err := os.Open(archive(t, "arm64"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	images, done, err := findImages(t.Context(), cli.Env{Stdin: file}, "-", "other:2", []string{"arm64"})
	if err != nil || len(images) != 1 || images[0].Name != "other:2" {
		t.Errorf("found %v, %v", images, err)
	}
	done()
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "clusterctl-image-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := file.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := findImages(t.Context(), cli.Env{Stdin: file}, "-", "", []string{"riscv64"}); cli.CodeOf(err) != cli.Refused {
		t.Errorf("for no node: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "clusterctl-image-*")); len(left) > 0 {
		t.Errorf("left behind after a refusal: %v", left)
	}
}
