package card

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
)

// verify reads the chunks back from the disk and compares them.
func (j *job) verify(ctx context.Context, chunks []Chunk) error {
	if !j.options.Verify {
		return nil
	}
	buf := aligned(chunkSize)
	progress := j.meter(StageVerify, chunks)
	for _, c := range chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		data := buf[:c.Length]
		if err := j.target.readAt(data, c.Start); err != nil {
			return err
		}
		if sha256.Sum256(data) != c.SHA256 {
			return &MismatchError{j.target.path, c.Start + j.firstDifference(data, c.Start)}
		}
		progress.add(c.Length)
	}
	return nil
}

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
	var differ []Chunk
	buf := aligned(chunkSize)
	done, total := int64(0), sums.Bytes()
	for _, c := range sums.Chunks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if c.Start+c.Length > source.size {
			return nil, fmt.Errorf("compare %s: it ends at byte %d, the card had more", d.Path, source.size)
		}
		if err := source.readAt(buf[:c.Length], c.Start); err != nil {
			return nil, err
		}
		if digest := sha256.Sum256(buf[:c.Length]); !bytes.Equal(digest[:], c.SHA256[:]) {
			differ = append(differ, c)
		}
		done += c.Length
		progress(done, total)
	}
	return differ, nil
}

func openSource(d *Device) (*disk, error) {
	if d.IsFile() {
		return openFile(d.Path, 0, false)
	}
	return d.open(false)
}

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
}

func (e *LiarError) Error() string {
	return fmt.Sprintf("try %s: it says that it has %.1f GB, but does not keep what is written at %.1f GB: "+
		"a counterfeit or broken card", e.Path, float64(e.Size)/1e9, float64(e.Beyond)/1e9)
}

// InterruptedError says that writing was stopped in the middle.
type InterruptedError struct {
	Path string
	err  error
}

func (e *InterruptedError) Error() string {
	return fmt.Sprintf("write %s: stopped in the middle; it has no partition table now, so no Pi boots from it", e.Path)
}

func (e *InterruptedError) Unwrap() error { return e.err }
