// Package lab makes the machines that tests run on: small disk images of every
// Raspberry Pi OS generation, a bootable one, and an emulated Pi to boot it.
//
// Images are made from Debian packages and kept in a cache (see CacheDir), which
// test processes may use at the same time. A missing program or package fails the
// test with its name; nothing here skips.
//
// The parts: pigen knows how pi-gen lays out a card, raspios how to make Debian
// look and start like Raspberry Pi OS, tool runs their programs. What is asserted
// about a booted machine is the tests' own business.
package lab

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"picluster/internal/lab/tool"
)

// Image returns the path of a small image of that layout: raw, read-only, shared.
// It can be read and patched (a copy of it), but not booted. An empty Date is the
// newest of the release, an empty Arch arm64.
func Image(t testing.TB, l Layout) string {
	t.Helper()
	path, err := MakeImage(l)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Bootable returns the path of a bootable arm64 image of "bookworm" or "trixie":
// raw, read-only, shared, about 1.3 GB. The first call makes it, which needs root
// and takes minutes.
func Bootable(t testing.TB, release string) string {
	t.Helper()
	path, err := MakeBootable(release)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// BootableXZ is Bootable compressed by xz in many blocks, as the vendor's files.
func BootableXZ(t testing.TB, release string) string {
	t.Helper()
	path, err := MakeBootableXZ(release)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Card returns the path of a writable copy of an image in the test's directory,
// enlarged with zeroes to size bytes, as if it had been written to a card of that
// size. A size smaller than the image, like 0, leaves it as it is.
func Card(t testing.TB, image string, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "card.img")
	if err := tool.Run(context.Background(), "cp", "--sparse=always", "--reflink=auto", image, path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if size > info.Size() {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
