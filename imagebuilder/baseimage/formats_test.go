package baseimage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGet_takesTheImageOutOfEveryPacking also wants the name of the file to play
// no part, and the second call to do no work.
func TestGet_takesTheImageOutOfEveryPacking(t *testing.T) {
	t.Parallel()
	want := newImage(1, 5<<20+512)
	for _, p := range packings {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			packed := p.pack(t, want)
			for _, name := range []string{"os" + p.ending, "renamed.bin"} {
				path := write(t, filepath.Join(t.TempDir(), name), packed)
				img := get(t, Source{Location: path}, o, want)
				if img.SourceSHA256 != digestOf(packed) || img.Verified || img.InPlace != (p.name == "raw") {
					t.Errorf("%+v: want source %s, not verified", img, digestOf(packed))
				}
				if !strings.HasPrefix(img.Name, strings.TrimSuffix(name, filepath.Ext(p.ending))) {
					t.Errorf("image is called %s in file %s", img.Name, name)
				}
			}
			var stages []string
			o.Progress = func(p Progress) { stages = append(stages, p.Stage) }
			get(t, Source{Location: write(t, filepath.Join(t.TempDir(), "again"+p.ending), packed), SHA256: strings.ToUpper(digestOf(packed))}, o, want)
			for _, s := range stages {
				if s == StageDecompress {
					t.Fatal("the image is decompressed once more")
				}
			}
			wantEmpty(t, o.Cache, imageFile)
		})
	}
}

// TestGet_zerosTakeNoRoom looks at the blocks of the file.
func TestGet_zerosTakeNoRoom(t *testing.T) {
	t.Parallel()
	want := make([]byte, 40<<20)
	copy(want, newImage(2, 1<<20))
	copy(want[30<<20:], newImage(3, 1<<20))
	for _, name := range []string{"xz", "gzip", "raw"} {
		o := options(t)
		packed := packingOf(t, name, want)
		src := Source{Location: write(t, filepath.Join(t.TempDir(), "os.img"), packed)}
		if name == "raw" {
			// In place otherwise.
			s := newSite(t, map[string][]byte{"/os.img": packed})
			src.Location = s.URL + "/os.img"
		}
		get(t, src, o, want)
		entries, err := o.Cache.List()
		if err != nil || len(entries) != 1 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		if e := entries[0]; e.OnDisk > 3<<20 || e.Size != int64(len(want)) || e.SHA256 != digestOf(want) || e.Name != "os.img" {
			t.Errorf("%s: %+v: want at most 3 MiB on disk", name, e)
		}
	}
}

func packingOf(t testing.TB, name string, img []byte) []byte {
	t.Helper()
	for _, p := range packings {
		if p.name == name {
			return p.pack(t, img)
		}
	}
	t.Fatalf("no packing is called %s", name)
	return nil
}

// TestGet_cutFileIsCorrupt cuts each packing at many places.
func TestGet_cutFileIsCorrupt(t *testing.T) {
	t.Parallel()
	want := newImage(4, 3<<20)
	for _, p := range packings[1:] {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			packed := p.pack(t, want)
			dir := t.TempDir()
			for _, n := range []int{16, 100, len(packed) / 3, len(packed) / 2, len(packed) - 30, len(packed) - 3, len(packed) - 1} {
				path := write(t, filepath.Join(dir, "cut"), packed[:n])
				img, err := Get(t.Context(), Source{Location: path}, o)
				if err == nil {
					// Padding or whole members may go and leave a good file; none is
					// cut off here that way, but padding at the very end is.
					if p.name != "xz of two streams with padding" || n < len(packed)-4 {
						t.Fatalf("cut at %d of %d: image of %d bytes", n, len(packed), img.Size)
					}
					continue
				}
				var corrupt *CorruptError
				if !errors.As(err, &corrupt) || !corrupt.Truncated || corrupt.Source != path ||
					corrupt.Offset > int64(n) || corrupt.Offset < int64(n/2) {
					t.Errorf("cut at %d of %d: %v", n, len(packed), err)
				}
				wantEmpty(t, o.Cache)
			}
		})
	}
}

// TestGet_flippedBitNeverGivesAnotherImage flips bits all over each packing that
// has a check. What the format does not look at may stay unnoticed.
func TestGet_flippedBitNeverGivesAnotherImage(t *testing.T) {
	t.Parallel()
	want := newImage(5, 1<<20)
	for _, p := range packings[1:] {
		if p.name == "xz without check" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			packed := p.pack(t, want[:len(want)])
			dir := t.TempDir()
			harmless := 0
			for i := range 60 {
				o := options(t)
				at := len(packed) * i / 60
				if i < 20 {
					at = i
				} else if i < 40 {
					at = len(packed) - 1 - (i - 20)
				}
				damaged := append([]byte(nil), packed...)
				damaged[at] ^= 1 << (i % 8)
				img, err := Get(t.Context(), Source{Location: write(t, filepath.Join(dir, "damaged"), damaged)}, o)
				if err == nil {
					harmless++
					same(t, img, want)
					continue
				}
				if !isWrong(err) {
					t.Errorf("bit in byte %d of %d: %v", at, len(packed), err)
				}
				wantEmpty(t, o.Cache)
			}
			// Padding of xz; names, times and attributes of the others.
			if harmless > 30 {
				t.Errorf("%d of 60 flipped bits did no harm", harmless)
			}
		})
	}
}

// TestGet_refusesWhatIsNoImage wants a clear word and nothing kept.
func TestGet_refusesWhatIsNoImage(t *testing.T) {
	t.Parallel()
	img := newImage(6, 2<<20)
	odd := append(append([]byte(nil), img...), 'x')
	encrypted := func() []byte {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "os.img"), img)
		run(t, dir, nil, "zip", "-q", "-P", "secret", "out.zip", "os.img")
		data, err := os.ReadFile(filepath.Join(dir, "out.zip"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	cases := []struct {
		name string
		data []byte
		says string
	}{
		{"a web page", []byte("<!doctype html><title>Sign in</title>" + strings.Repeat(" ", 600)), "no disk image"},
		{"nothing", nil, "no disk image"},
		{"a raw image of odd size", odd, "2097153 bytes, want a multiple of 512"},
		{"xz of odd size", packingOf(t, "xz", odd), "2097153 bytes, want a multiple of 512"},
		{"gzip of odd size", packingOf(t, "gzip", odd), "2097153 bytes, want a multiple of 512"},
		{"xz of nothing", packingOf(t, "xz", nil), "it is 0 bytes"},
		{"gzip of nothing", packingOf(t, "gzip", nil), "it is 0 bytes"},
		{"zip of two images", zipped(t, map[string][]byte{"a.img": img, "b.img": img}), "2 images in it (a.img, b.img), want one"},
		{"zip of no image", zipped(t, map[string][]byte{"a.iso": img}), "no .img file in it"},
		{"an encrypted zip", encrypted(), "encrypted"},
		{"zip by bzip2", zipped(t, map[string][]byte{"a.img": img}, "-Z", "bzip2"), "method 12, want deflate"},
		{"xz with a filter", run(t, "", img, "xz", "--x86", "--lzma2=preset=1", "-c"), "filter other than LZMA2"},
		{"bzip2", []byte("BZh91AY&SY" + strings.Repeat("x", 600)), "no disk image"},
		{"zstd of huge window", hugeWindow(t), "more than 1024 MB of memory"},
		{"xz of huge dictionary", hugeDictionary(t, img), "more than 1024 MB of memory"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			_, err := Get(t.Context(), Source{Location: write(t, filepath.Join(t.TempDir(), "file"), c.data)}, o)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
			wantEmpty(t, o.Cache)
		})
	}
}

// hugeWindow is a Zstandard frame that asks for a window of 2 GiB.
func hugeWindow(t *testing.T) []byte {
	t.Helper()
	const size = 64 << 20
	zeros := run(t, "", nil, "sh", "-c", fmt.Sprintf("head -c %d /dev/zero | zstd -q --ultra -1 --long=31 -c", size))
	return zeros
}

// hugeDictionary gives each block header of an xz file a dictionary of 4 GiB.
func hugeDictionary(t *testing.T, img []byte) []byte {
	t.Helper()
	// Needs as much memory to make honestly.
	packed := run(t, "", img, "xz", "-T1", "-1", "-c")
	header := packed[xzHeaderSize : xzHeaderSize+12]
	if header[2] != xzLZMA2 {
		t.Fatalf("block header % x is not as expected", header)
	}
	header[4] = 40
	putCRC(header)
	return packed
}

// A small file may claim any size.
func TestGet_givesUpBombsAtTheLimit(t *testing.T) {
	t.Parallel()
	zero := make([]byte, 1<<20)
	xz := packingOf(t, "xz of one block", zero)
	// Many streams: 70,000 times a megabyte.
	bomb := []byte(strings.Repeat(string(xz), 70_000))
	zip := packingOf(t, "zip without compression", newImage(7, 1<<20))
	zip = claimZipSize(t, zip, 100<<30)
	for name, data := range map[string][]byte{"xz": bomb, "zip": zip, "zstd": zstdClaim(1 << 40)} {
		o := options(t)
		_, err := Get(t.Context(), Source{Location: write(t, filepath.Join(t.TempDir(), "bomb"), data)}, o)
		var size *SizeError
		if !errors.As(err, &size) || !size.Limit || !strings.Contains(err.Error(), "more than 64 GB") {
			t.Errorf("%s: %v", name, err)
		}
		wantEmpty(t, o.Cache)
	}
}
