package baseimage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The size that such a file begins with is that of its first frame: no image in the
// cache has it, and still the image is there.
func TestGet_aFileOfSeveralFramesIsDecompressedOnce(t *testing.T) {
	t.Parallel()
	want := newImage(80, 2<<20)
	// With the size in the header, which a pipe leaves out.
	dir := t.TempDir()
	var packed []byte
	for i, part := range [][]byte{want[:1<<20], want[1<<20:]} {
		name := write(t, filepath.Join(dir, string(rune('a'+i))), part)
		packed = append(packed, run(t, "", nil, "zstd", "-q", "-1", "-c", name)...)
	}
	path := write(t, filepath.Join(dir, "os.img.zst"), packed)
	o := options(t)
	decompressed := 0
	o.Progress = func(p Progress) {
		if p.Stage == StageDecompress && p.Done == 0 {
			decompressed++
		}
	}
	get(t, Source{Location: path}, o, want)
	get(t, Source{Location: path}, o, want)
	if decompressed != 1 {
		t.Errorf("it was decompressed %d times", decompressed)
	}
}

// Whoever has got an error must find neither the file nor the cache in use any more.
func TestBesideUnpacking_isOverWhenItIsStopped(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "os.img.xz"), noise(81, 48<<20))
	age(t, path, 1)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := &getter{Options: options(t)}
	digest, stop := g.besideUnpacking(t.Context(), f, &origin{shown: path})
	stop()
	if _, err := digest(); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := g.Cache.hashedFile(path, info); kept != "" || err != nil {
		t.Errorf("the cache has the digest %q, %v", kept, err)
	}
}
