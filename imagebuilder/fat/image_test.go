package fat_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/internal/lab"
	"picluster/internal/lab/tool"
)

// TestEdits_areCleanOnEveryImage edits the boot partition of an image of each
// generation, filled as pi-gen fills it. After each edit fsck.vfat has nothing to
// say and every other file has the same bytes, for mtools and for our own code.
func TestEdits_areCleanOnEveryImage(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range lab.Layouts() {
		if seen[l.Date] { // one architecture of each date: the volumes are alike
			continue
		}
		seen[l.Date] = true
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			f := open(t, bootPartition(t, l))
			want := f.tree()
			if len(want) < 150 {
				t.Fatalf("only %d files on the boot partition", len(want))
			}
			for _, e := range imageEdits {
				e.do(f, want)
				f.fsck()
				diffTrees(f, "this volume", ownTree(f, f.Volume), want)
				if t.Failed() {
					t.Fatalf("after: %s", e.name)
				}
			}
			f.expect(want)
		})
	}
}

// imageEdits are the edits of a card, and what undoes them. The 8 MB agent is
// what stretch has room for.
var imageEdits = []struct {
	name string
	do   func(f *fixture, want tree)
}{
	{"replace cmdline.txt by a longer one", put("cmdline.txt", 700)},
	{"replace config.txt by a longer one", put("config.txt", 9_000)},
	{"replace it by a shorter one", put("config.txt", 100)},
	{"create an empty file", put("ssh", 0)},
	{"fill it", put("ssh", 600)},
	{"make a directory", func(f *fixture, want tree) {
		f.mkdir("picluster")
		want["picluster"] = file{dir: true}
	}},
	{"create a small file in it", put("picluster/start.sh", 1_500)},
	{"create a large file in it", put("picluster/firstboot", 8_000_001)},
	{"replace it", put("picluster/firstboot", 7_900_000)},
	{"replace a file in a directory full of deleted entries", put("overlays/README", 250_000)},
	{"create files with long names", func(f *fixture, want tree) {
		for i := range 40 {
			put(fmt.Sprintf("overlays/a-name-of-more-than-13-characters-%d.dtbo", i), 100*i)(f, want)
		}
	}},
	{"remove files", func(f *fixture, want tree) {
		for _, path := range []string{"bootcode.bin", "ssh", "overlays/a-name-of-more-than-13-characters-7.dtbo", "picluster/start.sh"} {
			f.remove(path)
			delete(want, path)
		}
	}},
}

// bootPartition returns a copy of the boot partition of a lab image.
func bootPartition(t testing.TB, l lab.Layout) string {
	t.Helper()
	image := lab.Image(t, l)
	_, fields, ok := strings.Cut(run(t, "sfdisk", "--dump", image), "start=")
	var start, size int64
	if _, err := fmt.Sscanf(fields, "%d, size=%d", &start, &size); !ok || err != nil {
		t.Fatalf("read partition table of %s: %v", image, err)
	}
	path := filepath.Join(t.TempDir(), "boot.fat")
	err := tool.Run(t.Context(), "dd", "if="+image, "of="+path, "bs=64K", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none",
		fmt.Sprint("skip=", start*512), fmt.Sprint("count=", size*512))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size*512); err != nil {
		t.Fatal(err)
	}
	return path
}
