package baseimage

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
)

// BenchmarkGet measures a first run with a local file: hash, decompress, sync,
// hash. Bytes are those of the image, 96 MiB of which a good third is zeros.
func BenchmarkGet(b *testing.B) {
	img := newImage(90, 96<<20)
	for _, name := range []string{"xz", "xz of one block", "gzip", "zstd", "zip"} {
		path := write(b, filepath.Join(b.TempDir(), "os"), packingOf(b, name, img))
		b.Run(name, func(b *testing.B) {
			o := options(b)
			b.SetBytes(int64(len(img)))
			for b.Loop() {
				if _, err := o.Cache.Clear(); err != nil {
					b.Fatal(err)
				}
				got, err := Get(context.Background(), Source{Location: path}, o)
				if err != nil {
					b.Fatal(err)
				}
				got.hold.Close()
			}
		})
	}
}

// BenchmarkDecode measures decompression alone, to a file.
func BenchmarkDecode(b *testing.B) {
	img := newImage(91, 96<<20)
	for _, name := range []string{"raw", "xz", "xz of one block", "gzip", "zstd", "zip"} {
		packed := packingOf(b, name, img)
		b.Run(name, func(b *testing.B) {
			g := &getter{Options: options(b)}
			b.SetBytes(int64(len(img)))
			for b.Loop() {
				s, d, err := g.open(bytes.NewReader(packed), int64(len(packed)), &origin{shown: name})
				if err != nil {
					b.Fatal(err)
				}
				work, err := g.Cache.work()
				if err != nil {
					b.Fatal(err)
				}
				s.file.meter = g.meter(StageDecompress, 0, s.size)
				if _, err := d.decode(context.Background(), newGrowing(newSparseFile(work), d.sizes())); err != nil {
					b.Fatal(err)
				}
				work.Close()
				if err := g.Cache.trim(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
