package bmap

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// made is an image with holes, and the map that bmaptool makes of it.
func made(t testing.TB, size int64) (image string, data []byte, text []byte) {
	t.Helper()
	image = filepath.Join(t.TempDir(), "os.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 100_000)
	rand.NewChaCha8([32]byte{5}).Read(noise)
	for _, at := range []int64{0, 1 << 20, 3<<20 + 4096, size - 100_000} {
		if _, err := f.WriteAt(noise, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("bmaptool", "create", "-o", image+".bmap", image).CombinedOutput()
	if err != nil {
		t.Fatalf("bmaptool: %v (Debian package bmap-tools)\n%s", err, out)
	}
	if data, err = os.ReadFile(image); err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(image + ".bmap"); err != nil {
		t.Fatal(err)
	}
	return image, data, text
}

func TestParse_whatBmaptoolMakes(t *testing.T) {
	// A whole number of blocks, and not.
	for _, size := range []int64{8 << 20, 8<<20 + 512} {
		image, data, _ := made(t, size)
		m, err := Beside(image + ".xz")
		if err != nil || m == nil {
			t.Fatalf("%v, %v", m, err)
		}
		if m.Size != size || len(m.Ranges) != 4 || m.Ranges[1].Start != 1<<20 || m.Ranges[1].Length != 25*4096 {
			t.Errorf("%+v", m)
		}
		if err := m.Check(context.Background(), bytes.NewReader(data)); err != nil {
			t.Error(err)
		}
		// Of each byte that is changed, one check or the other takes notice.
		for _, at := range []int64{0, 99_999, 200_000, 3<<20 + 5000, 5 << 20, size - 1} {
			data[at] ^= 1
			if err := m.Check(context.Background(), bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), image+".bmap") {
				t.Errorf("byte %d changed: %v", at, err)
			}
			data[at] ^= 1
		}
	}
}

func TestBeside_thereIsNone(t *testing.T) {
	if m, err := Beside(filepath.Join(t.TempDir(), "os.img.xz")); m != nil || err != nil {
		t.Errorf("%v, %v", m, err)
	}
}

func TestParse_refusesEveryFlippedByte(t *testing.T) {
	_, _, text := made(t, 8<<20)
	start := bytes.Index(text, []byte("<bmap "))
	for at := start; at < len(text); at += 7 {
		bad := bytes.Clone(text)
		bad[at] ^= 1
		if _, err := Parse(bad); err == nil {
			t.Errorf("byte %d of %q", at, bad[max(0, at-20):min(len(bad), at+20)])
		}
	}
}

func FuzzParse(f *testing.F) {
	_, _, text := made(f, 8<<20)
	f.Add(string(text[bytes.Index(text, []byte("<bmap ")):]))
	f.Add(fmt.Sprintf(`<bmap version="2.0"><ImageSize>1</ImageSize><ChecksumType>sha256</ChecksumType><BmapFileChecksum>%064d</BmapFileChecksum></bmap>`, 0))
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse([]byte(text))
		if err != nil {
			return
		}
		end := int64(0)
		for _, r := range m.Ranges {
			if r.Start < end || r.Length < 1 || r.Start+r.Length > m.Size {
				t.Fatalf("%+v", m)
			}
			end = r.Start + r.Length
		}
	})
}
