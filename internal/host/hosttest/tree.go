package hosttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// NewTree makes a directory tree that programs can run in after chroot(2), for
// host.Local with Chroot: the named ones of the test's own machine, with the shared
// libraries that they need. It goes away with the test.
func NewTree(t testing.TB, programs ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		files, err := libraries(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			copyInto(t, root, file, file)
		}
		copyInto(t, root, path, filepath.Join("/usr/bin", name))
	}
	for _, dir := range []string{"dev", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A shell opens this for its background jobs. A device would not open on a
	// file system that is mounted nodev; an empty file reads alike.
	if err := os.WriteFile(filepath.Join(root, "dev/null"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	return root
}

var library = regexp.MustCompile(`(?m)^\t(?:\S+ => )?(/\S+) \(0x`)

// libraries are the files that a program is put together from when it starts, as
// ldd(1) shows them: "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)".
func libraries(program string) ([]string, error) {
	out, err := exec.Command("ldd", program).CombinedOutput()
	if err != nil {
		if regexp.MustCompile("not a dynamic executable|statically linked").Match(out) {
			return nil, nil
		}
		return nil, fmt.Errorf("list libraries of %s: %w: %s", program, err, out)
	}
	var files []string
	for _, match := range library.FindAllStringSubmatch(string(out), -1) {
		files = append(files, match[1])
	}
	return files, nil
}

func copyInto(t testing.TB, root, from, to string) {
	t.Helper()
	to = filepath.Join(root, to)
	if _, err := os.Stat(to); err == nil {
		return
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}
