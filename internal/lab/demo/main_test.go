package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStartOver_removesOnlyTheDemosOwn(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := startOver(); err != nil {
		t.Errorf("with nothing there: %v", err)
	}
	make := func(name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	make("secrets")
	make("card-0.img")
	make("mine")
	if err := startOver(); err == nil || !strings.Contains(err.Error(), "demo/mine") {
		t.Errorf("with somebody's directory in it: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("it removed something: %v", left)
	}
	if err := os.Remove(filepath.Join(dir, "mine")); err != nil {
		t.Fatal(err)
	}
	if err := startOver(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}
