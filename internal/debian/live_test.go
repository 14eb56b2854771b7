package debian

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"picluster/internal/lab/raspios"
	"picluster/internal/lab/tool"
)

// liveSources are the sources that this machine's own apt uses, for another release:
// the suite, then its security updates.
func liveSources(t *testing.T, release string) []Source {
	t.Helper()
	lines, err := raspios.Sources(context.Background(), release)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ArchiveKeys()
	if err != nil {
		t.Fatal(err)
	}
	var all []Source
	for _, line := range lines {
		f := strings.Fields(line)
		all = append(all, Source{URI: f[1], Suite: f[2], Components: f[3:], Keyring: keys})
	}
	return all
}

// TestDebian_signsAndOffersWhatWeRead takes a package out of Debian's own archive of
// security updates, which is small. dpkg-deb says what is in it.
func TestDebian_signsAndOffersWhatWeRead(t *testing.T) {
	sources := liveSources(t, "trixie")
	r := &Reader{Arch: "arm64", Dir: t.TempDir()}
	x, err := r.Open(t.Context(), sources[len(sources)-1])
	if err != nil {
		t.Fatal(err)
	}
	smallest := slices.MinFunc(x.Packages, func(a, b *Package) int { return int(a.File.Size - b.File.Size) })
	path, err := r.Fetch(t.Context(), smallest)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []string
	for e, err := range Contents(f) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Name)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	control, err := Control(f)
	if err != nil || control.Get("Package") != smallest.Name || control.Get("Version") != smallest.Version {
		t.Errorf("%s says of itself %v, %v", smallest, control, err)
	}
	listing, err := tool.Output(context.Background(), "dpkg-deb", "--fsys-tarfile", path)
	if err != nil {
		t.Fatal(err)
	}
	names, err := tool.Cmd{Args: []string{"tar", "--list"}, Stdin: strings.NewReader(string(listing))}.Output(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Count(string(names), "\n"); len(got) != want || want == 0 {
		t.Errorf("%s: %d files %v, dpkg-deb has %d", smallest, len(got), got, want)
	}
}
