package card

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"picluster/imagebuilder/image"
)

// chunkSize is the largest piece that is written, hashed and compared at once:
// the usual erase unit of an SD card.
const chunkSize = 4 << 20

// Chunk is a piece of a card and its digest.
type Chunk struct {
	Start, Length int64 // bytes
	SHA256        [sha256.Size]byte
}

// Sums is everything that was written to a card, piece by piece, in the order of
// their places. Its text form has a line "start length sha256" for each.
type Sums struct{ Chunks []Chunk }

// chunks cuts ranges into pieces that end at multiples of chunkSize. The first
// block of the disk, which is written last, is a piece of its own.
func chunks(extents []image.Extent) []Chunk {
	var all []Chunk
	for _, e := range extents {
		for at, end := e.Start, e.Start+e.Length; at < end; {
			next := min(end, (at/chunkSize+1)*chunkSize)
			if at == 0 {
				next = min(end, blockSize)
			}
			all = append(all, Chunk{Start: at, Length: next - at})
			at = next
		}
	}
	return all
}

// Bytes is how much the sums speak of.
func (s *Sums) Bytes() int64 {
	var n int64
	for _, c := range s.Chunks {
		n += c.Length
	}
	return n
}

const sumsHead = "picluster card sums 1\n"

// MarshalText implements encoding.TextMarshaler.
func (s *Sums) MarshalText() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(sumsHead)
	for _, c := range s.Chunks {
		fmt.Fprintf(&b, "%d %d %x\n", c.Start, c.Length, c.SHA256)
	}
	return b.Bytes(), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Sums) UnmarshalText(text []byte) error {
	body, ok := strings.CutPrefix(string(text), sumsHead)
	if !ok {
		return fmt.Errorf("read sums: the first line is not %q", strings.TrimSpace(sumsHead))
	}
	s.Chunks = nil
	number, end := 1, int64(0)
	for line := range strings.Lines(body) {
		number++
		var c Chunk
		var digest string
		if _, err := fmt.Sscanf(line, "%d %d %s\n", &c.Start, &c.Length, &digest); err != nil {
			return fmt.Errorf("read sums line %d: want start, length and digest", number)
		}
		n, err := hex.Decode(c.SHA256[:], []byte(digest[:min(len(digest), 2*sha256.Size)]))
		if err != nil || n != sha256.Size || len(digest) != 2*sha256.Size {
			return fmt.Errorf("read sums line %d: want a digest of 64 hexadecimal digits", number)
		}
		if c.Start < end || c.Length < 1 || c.Length > chunkSize {
			return fmt.Errorf("read sums line %d: %d bytes at %d do not follow the line before", number, c.Length, c.Start)
		}
		end = c.Start + c.Length
		s.Chunks = append(s.Chunks, c)
	}
	return nil
}
