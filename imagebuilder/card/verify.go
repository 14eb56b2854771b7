package card

import (
	"context"
	"fmt"
	"io"
)

// verify reads the chunks back from the disk and compares every block.
func (j *job) verify(ctx context.Context, chunks []Chunk) error {
	if !j.options.Verify {
		return nil
	}
	progress := j.meter(StageVerify, chunks)
	return flow(ctx, chunks, j.readBack, func(p *piece) error {
		if bad := p.chunk.differing(digests(p.data)); bad != nil {
			at := p.chunk.Start + bad[0].start
			return &MismatchError{j.target.path, at + j.firstDifference(p.data[bad[0].start:bad[0].end], at)}
		}
		progress.add(p.chunk.Length)
		return nil
	})
}

func (j *job) readBack(p *piece) error { return j.target.readAt(p.data, p.chunk.Start) }

// firstDifference finds the byte, to show whether it is one sector or the card.
func (j *job) firstDifference(got []byte, start int64) int64 {
	want := make([]byte, len(got))
	if _, err := j.img.ReadAt(want, start); err != nil && err != io.EOF {
		return 0
	}
	for i := range got {
		if got[i] != want[i] {
			return int64(i)
		}
	}
	return 0
}

// Compare reads from the disk at path everything that the sums speak of and
// returns the chunks that differ. The disk needs not to be out of use.
func Compare(ctx context.Context, d *Device, sums *Sums, progress func(done, total int64)) ([]Chunk, error) {
	source, err := openSource(d)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	if last := len(sums.Chunks) - 1; last >= 0 {
		if end := sums.Chunks[last].Start + sums.Chunks[last].Length; end > source.size {
			return nil, fmt.Errorf("compare %s: it ends at byte %d, the card had %d at least", d.Path, source.size, end)
		}
	}
	var differ []Chunk
	done, total := int64(0), sums.Bytes()
	j := &job{target: source}
	err = flow(ctx, sums.Chunks, j.readBack, func(p *piece) error {
		if p.chunk.differing(digests(p.data)) != nil {
			differ = append(differ, *p.chunk)
		}
		done += p.chunk.Length
		progress(done, total)
		return nil
	})
	return differ, err
}

func openSource(d *Device) (*disk, error) {
	if d.IsFile() {
		return openFile(d.Path, 0, false)
	}
	return d.open(false)
}

// SourceError says that the image could not be had as a whole: the card is not at
// fault, and has no partition table.
type SourceError struct {
	Offset int64 // of the image, in bytes
	err    error
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("read image at byte %d: %v", e.Offset, e.err)
}
func (e *SourceError) Unwrap() error { return e.err }

// MismatchError says that a card does not give back what was written to it.
type MismatchError struct {
	Path   string
	Offset int64 // first byte that differs
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("verify %s: byte %d is not what was written", e.Path, e.Offset)
}

// LiarError says that a disk has less room than it says.
type LiarError struct {
	Path   string
	Size   int64 // what it says
	Beyond int64 // the first byte tried that is not there

	NotRestored error // why what stood at the places tried is not back; usually nil
}

func (e *LiarError) Error() string {
	text := fmt.Sprintf("try %s: it says that it has %.1f GB, but does not keep what is written at %.1f GB: "+
		"a counterfeit or broken card", e.Path, float64(e.Size)/1e9, float64(e.Beyond)/1e9)
	if e.NotRestored != nil {
		text += fmt.Sprintf("; what stood there is not put back: %v", e.NotRestored)
	}
	return text
}

func (e *LiarError) Unwrap() error { return e.NotRestored }

// InterruptedError says that writing was stopped in the middle.
type InterruptedError struct {
	Path string
	err  error
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("write %s: stopped in the middle; it has no partition table now, so no Pi boots from it", e.Path)
}

func (e *InterruptedError) Unwrap() error { return e.err }
