package baseimage

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
)

// putCRC puts the CRC32 of all but the last four bytes there.
func putCRC(p []byte) {
	binary.LittleEndian.PutUint32(p[len(p)-4:], crc32.ChecksumIEEE(p[:len(p)-4]))
}

// zstdClaim is a Zstandard frame whose header says that size; RFC 8878, 3.1.1.1.
func zstdClaim(size uint64) []byte {
	frame := []byte("\x28\xb5\x2f\xfd\xc0\x58") // 8 bytes of size, window of 2 MiB
	frame = binary.LittleEndian.AppendUint64(frame, size)
	return append(frame, 1, 0, 0) // an empty last block
}

// claimZipSize puts another size into the directory entry of a zip file, in the
// 64-bit extra field; APPNOTE.TXT 4.3.12 and 4.5.3.
func claimZipSize(t *testing.T, data []byte, size uint64) []byte {
	t.Helper()
	at := bytes.Index(data, []byte("PK\x01\x02"))
	end := bytes.Index(data, []byte("PK\x05\x06"))
	if at < 0 || end < at {
		t.Fatal("zip file is not as expected")
	}
	entry := append([]byte(nil), data[at:end]...)
	binary.LittleEndian.PutUint32(entry[24:], 0xffffffff)
	nameLen := int(binary.LittleEndian.Uint16(entry[28:]))
	extra := binary.LittleEndian.AppendUint64([]byte{1, 0, 8, 0}, size)
	binary.LittleEndian.PutUint16(entry[30:], uint16(len(extra)))
	entry = append(entry[:46+nameLen:46+nameLen], extra...)
	tail := append([]byte(nil), data[end:]...)
	binary.LittleEndian.PutUint32(tail[12:], uint32(len(entry)))
	return append(append(append([]byte(nil), data[:at]...), entry...), tail...)
}

// A block that gives more than the index says would overwrite its neighbour. Some
// say themselves how much they give.
func TestXZ_blockLongerThanTheIndexSays(t *testing.T) {
	t.Parallel()
	img := newImage(8, 4<<20)
	for packing, says := range map[string]string{
		"xz":                             "other sizes than the index says",
		"xz of two streams with padding": "longer than it should be",
	} {
		packed := packingOf(t, packing, img)
		s := &source{shown: "x", format: "xz", size: int64(len(packed)), workers: 2}
		s.file.ReaderAt = bytes.NewReader(packed)
		d, err := openXZ(s)
		if err != nil {
			t.Fatal(err)
		}
		blocks := d.(*xzFile).blocks
		if len(blocks) < 3 {
			t.Fatalf("%d blocks", len(blocks))
		}
		blocks[0].size -= 512
		o := options(t)
		work, err := o.Cache.work()
		if err != nil {
			t.Fatal(err)
		}
		defer work.Close()
		if _, err := d.decode(t.Context(), newGrowing(newSparseFile(work), d.sizes())); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", packing, err, says)
		}
	}
}

// FuzzOpen looks for panics and for memory out of proportion in what reads files
// that anyone can make.
func FuzzOpen(f *testing.F) {
	img := newImage(9, 64<<10)
	for _, p := range packings {
		f.Add(p.pack(f, img))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{shown: "x", size: int64(len(data)), workers: 2}
		s.file.ReaderAt = bytes.NewReader(data)
		d, err := s.open()
		if err != nil {
			return
		}
		if x, ok := d.(*xzFile); ok {
			for _, b := range x.blocks {
				if b.at < 0 || b.at+b.padded() > s.size || b.size < 0 {
					t.Errorf("block %+v leads out of a file of %d bytes", b, s.size)
				}
				_, _ = x.head(b)
			}
		}
	})
}
