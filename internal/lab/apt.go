package lab

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"picluster/internal/lab/raspios"
	"picluster/internal/lab/tool"
)

// AptRoot unpacks a small Debian of the release, for this machine's own processor,
// into a new directory below parent ("": the test's own): what apt and dpkg need to
// work after chroot(2), and no sources. It needs root; the first call makes the
// archive, which takes half a minute.
func AptRoot(t testing.TB, release, parent string) string {
	t.Helper()
	archive, err := Cached("apt-"+release+".tar", func(ctx context.Context, path string) error {
		sources, err := raspios.Sources(ctx, release)
		if err != nil {
			return err
		}
		args := []string{"mmdebstrap", "--variant=apt", "--mode=root", `--aptopt=Acquire::Languages "none"`}
		for _, dir := range []string{"doc", "man", "locale", "info"} {
			args = append(args, "--dpkgopt=path-exclude=/usr/share/"+dir+"/*")
		}
		return tool.Run(ctx, append(append(args, release, path), sources...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	if parent == "" {
		parent = t.TempDir()
	}
	dir, err := os.MkdirTemp(parent, "picluster-apt-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// Device nodes are in the archive; apt and dpkg need null.
	if err := tool.Run(context.Background(), "tar", "--extract", "--numeric-owner", "--file", archive, "--directory", dir); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"etc/apt/sources.list", "etc/apt/sources.list.d/*", "var/lib/apt/lists/*_*"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}
