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

// digest identifies a block: the first half of its SHA-256.
type digest [sha256.Size / 2]byte

// Chunk is a piece of a card and its digest: SHA-256 over the digests of its blocks,
// which says the same about its bytes and lets one block be changed or blamed
// without reading the others.
type Chunk struct {
	Start, Length int64 // bytes
	SHA256        [sha256.Size]byte

	blocks []digest // nil where only SHA256 is known
}

// digests hashes each block of data.
func digests(data []byte) []digest {
	blocks := make([]digest, 0, (len(data)+blockSize-1)/blockSize)
	for ; len(data) > 0; data = data[min(blockSize, len(data)):] {
		sum := sha256.Sum256(data[:min(blockSize, len(data))])
		blocks = append(blocks, digest(sum[:]))
	}
	return blocks
}

// set takes over what the chunk's blocks are.
func (c *Chunk) set(blocks []digest) {
	h := sha256.New()
	for i := range blocks {
		h.Write(blocks[i][:])
	}
	c.blocks, c.SHA256 = blocks, [sha256.Size]byte(h.Sum(nil))
}

// differing returns the runs of blocks that are not the chunk's. Where only the
// chunk's own digest is known, that is all of it or nothing.
func (c *Chunk) differing(blocks []digest) []run {
	if c.blocks == nil {
		other := Chunk{}
		if other.set(blocks); other.SHA256 == c.SHA256 {
			return nil
		}
		return []run{{0, c.Length}}
	}
	var runs []run
	for i := range blocks {
		if blocks[i] == c.blocks[i] {
			continue
		}
		start := int64(i) * blockSize
		end := min(start+blockSize, c.Length)
		if last := len(runs) - 1; last >= 0 && runs[last].end == start {
			runs[last].end = end
			continue
		}
		runs = append(runs, run{start, end})
	}
	return runs
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

const sumsHead = "picluster card sums 2\n"

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
