package debian

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"picluster/internal/debian/debiantest"
	"picluster/internal/lab/tool"
)

// TestContents_readsWhatDpkgMakes in each form of compression that Debian uses.
func TestContents_readsWhatDpkgMakes(t *testing.T) {
	tree := t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control": "Package: made\nVersion: 2:1.0-1\nArchitecture: arm64\nMaintainer: x <x@example.org>\nDescription: made\n by dpkg\n",
		"usr/bin/made":   "#!/bin/sh\n", "usr/share/doc/made/copyright": strings.Repeat("free\n", 9999),
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/usr/bin/made", filepath.Join(tree, "usr/bin/also")); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"xz", "zstd", "gzip", "none"} {
		deb := filepath.Join(t.TempDir(), "made.deb")
		if err := tool.Run(context.Background(), "dpkg-deb", "-Z"+form, "--build", tree, deb); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(deb)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for e, err := range Contents(bytes.NewReader(data)) {
			if err != nil {
				t.Fatalf("%s: %v", form, err)
			}
			n, err := io.Copy(io.Discard, e.Content)
			if err != nil {
				t.Fatal(err)
			}
			if e.Typeflag != tar.TypeDir {
				got = append(got, fmt.Sprintf("%s %s %d", e.Name, e.Linkname, n))
			}
		}
		slices.Sort(got) // dpkg-deb puts links last
		const want = "usr/bin/also /usr/bin/made 0, usr/bin/made  10, usr/share/doc/made/copyright  49995"
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: got %q, want %q", form, got, want)
		}
		control, err := Control(bytes.NewReader(data))
		if err != nil || control.Get("version") != "2:1.0-1" || control.Get("Description") != "made\nby dpkg" {
			t.Errorf("%s: %v, %v", form, control, err)
		}
	}
}

// TestDebs_areWhatDpkgReads: what tests are made of is judged by dpkg too.
func TestDebs_areWhatDpkgReads(t *testing.T) {
	deb := filepath.Join(t.TempDir(), "tool.deb")
	if err := os.WriteFile(deb, small.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := tool.Output(context.Background(), "dpkg-deb", "--contents", deb)
	if err != nil || !strings.Contains(string(out), "./usr/bin/tool\n") {
		t.Errorf("%s %v", out, err)
	}
}

var small = debiantest.Deb{Control: "Package: tool\nVersion: 1\nArchitecture: all\n", Files: map[string]string{"/usr/bin/tool": "x"}}

func TestContents_refusesWhatLeadsOut(t *testing.T) {
	for _, h := range []tar.Header{
		{Name: "../../etc/passwd", Typeflag: tar.TypeReg},
		{Name: "usr/../../etc/passwd", Typeflag: tar.TypeReg},
		{Name: "usr/bin/x", Linkname: "../../../etc/passwd", Typeflag: tar.TypeLink},
	} {
		err := lastError(pack(func(w *tar.Writer) { _ = w.WriteHeader(&h) }))
		if err == nil || !strings.Contains(err.Error(), "leads out") {
			t.Errorf("%s -> %s: %v", h.Name, h.Linkname, err)
		}
	}
}

func TestContents_saysWhatIsDamaged(t *testing.T) {
	whole := bytes.TrimSuffix(small.Bytes(), []byte("\n")) // which fills up to an even length
	for n := range len(whole) {
		if lastError(whole[:n]) == nil {
			t.Fatalf("%d of %d bytes are a whole package", n, len(whole))
		}
	}
}

// TestDecompress_stopsAtABomb: a small file that would fill the disk.
func TestDecompress_stopsAtABomb(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	zeros := make([]byte, 1<<20)
	for range 16 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int64]error{16 << 20: nil, 16<<20 - 1: errBomb, 0: errBomb} {
		plain, err := decompress(bytes.NewReader(packed.Bytes()), ".gz", most)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, plain)
		if !errors.Is(err, want) || n > most {
			t.Errorf("at most %d: %d bytes, %v", most, n, err)
		}
	}
}

func lastError(deb []byte) (last error) {
	for e, err := range Contents(bytes.NewReader(deb)) {
		last = err
		if err == nil {
			_, last = io.Copy(io.Discard, e.Content)
		}
	}
	return last
}

// pack makes a package with a data.tar of its own.
func pack(write func(*tar.Writer)) []byte {
	var data, out bytes.Buffer
	w := tar.NewWriter(&data)
	write(w)
	_ = w.Close()
	out.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"data.tar", data.Bytes()}} {
		fmt.Fprintf(&out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		out.Write(m.data)
	}
	return out.Bytes()
}
