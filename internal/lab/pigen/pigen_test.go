package pigen_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"picluster/internal/lab/pigen"
	"picluster/internal/lab/tool"
)

func TestBuild_givesTheSameBytesTwice(t *testing.T) {
	for _, l := range []pigen.Layout{{Release: "stretch", Arch: "armhf"}, {Release: "trixie"}} {
		t.Run(l.Release, func(t *testing.T) {
			t.Parallel()
			l, err := l.Resolve()
			if err != nil {
				t.Fatal(err)
			}
			first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
			if err := pigen.Build(context.Background(), l, first); err != nil {
				t.Fatal(err)
			}
			// FAT times have a resolution of two seconds.
			time.Sleep(2100 * time.Millisecond)
			if err := pigen.Build(context.Background(), l, second); err != nil {
				t.Fatal(err)
			}
			if err := tool.Run(context.Background(), "cmp", first, second); err != nil {
				t.Errorf("two builds differ: %v", err)
			}
		})
	}
}

func TestBuild_leavesNothingBehindWhenItFails(t *testing.T) {
	l, err := pigen.Layout{Release: "trixie"}.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := pigen.Build(ctx, l, filepath.Join(dir, "image")); err == nil {
		t.Fatal("a cancelled build succeeds")
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
