package card

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"picluster/imagebuilder/image"
)

// Stages of Write, as Options.Progress names them.
const (
	StageWrite  = "write"
	StageVerify = "verify"
)

// Options are what Write works with.
type Options struct {
	Verify   bool                                  // read everything back and compare
	Progress func(stage string, done, total int64) // bytes; may be nil
}

// Report is what Write did.
type Report struct {
	Written  int64 // bytes; less than the image, whose free space is left out
	Verified bool
	Elapsed  time.Duration
	SHA256   string // of the sums: two cards with the same one are the same
	Sums     Sums
}

// Write writes the image to the disk that Examine described and Release freed.
//
// The first mebibyte is cleared first and the partition table is written last,
// after everything else was flushed and, with Verify, read back: whatever stops
// Write, even the power, leaves a card that no Pi boots instead of one that half
// works. The error is a *LiarError when the disk has less room than it says,
// a *MismatchError when it does not give back what was written, an
// *InterruptedError when ctx ended after the first byte was written.
func Write(ctx context.Context, shown *Device, img image.Disk, o Options) (*Report, error) {
	began := time.Now()
	target, err := openTarget(shown, img.Size())
	if err != nil {
		return nil, err
	}
	defer target.Close()
	if target.sector > 0 {
		if err := probe(target); err != nil {
			return nil, err
		}
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	j := &job{img: img, target: target, options: o, sums: Sums{chunks(used(img))}}
	if err := j.run(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, &InterruptedError{shown.Path, ctx.Err()}
		}
		return nil, err
	}
	target.reread()
	text, err := j.sums.MarshalText()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(text)
	return &Report{Written: j.sums.Bytes(), Verified: o.Verify, Elapsed: time.Since(began), SHA256: hex.EncodeToString(digest[:]), Sums: j.sums}, nil
}

// openTarget opens the disk and makes sure that it still is the one shown.
func openTarget(shown *Device, size int64) (*disk, error) {
	if shown.IsFile() {
		return openFile(shown.Path, size, true)
	}
	target, err := shown.open(true)
	if err != nil {
		return nil, err
	}
	now, err := Find(shown.Path)
	if err == nil {
		if changed := now.sameAs(shown); changed != "" {
			err = fmt.Errorf("open %s: it is not the disk that was shown: %s", shown.Path, changed)
		}
	}
	if err == nil && size%int64(max(target.sector, 1)) != 0 {
		err = fmt.Errorf("open %s: its sectors have %d bytes, which an image of %d bytes does not fill", shown.Path, target.sector, size)
	}
	if err != nil {
		target.Close()
		return nil, err
	}
	return target, nil
}

// job is one call of Write, past all questions.
type job struct {
	img     image.Disk
	target  *disk
	options Options
	sums    Sums
}

// run lists what happens, in order.
func (j *job) run(ctx context.Context) error {
	first, rest := j.sums.Chunks[:1], j.sums.Chunks[1:]
	if err := j.clearStart(); err != nil {
		return err
	}
	if err := j.write(ctx, rest); err != nil {
		return err
	}
	if err := j.clearEnd(); err != nil {
		return err
	}
	if err := j.verify(ctx, rest); err != nil {
		return err
	}
	if err := j.write(ctx, first); err != nil {
		return err
	}
	return j.verify(ctx, first)
}

// tableRoom is how much at both ends of a disk can hold partition tables, with
// their backups, and boot loaders.
const tableRoom = 1 << 20

// clearStart makes the disk one without partitions.
func (j *job) clearStart() error {
	if err := j.target.writeAt(aligned(int(min(tableRoom, j.img.Size()))), 0); err != nil {
		return err
	}
	return j.target.sync()
}

// clearEnd removes what an older GPT left at the end of the disk.
func (j *job) clearEnd() error {
	start := max(j.target.size-tableRoom, roundUp(j.img.Size()))
	if start >= j.target.size {
		return nil
	}
	return j.target.writeAt(aligned(int(j.target.size-start)), start)
}

// filled is a chunk with its bytes.
type filled struct {
	chunk *Chunk
	data  []byte
	err   error
}

// write writes the chunks in order and flushes. Reading and hashing the image
// goes on while the disk is busy.
func (j *job) write(ctx context.Context, chunks []Chunk) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free := make(chan []byte, 3)
	for range cap(free) {
		free <- aligned(chunkSize)
	}
	ready := make(chan filled)
	go j.fill(ctx, chunks, free, ready)
	progress := j.meter(StageWrite, chunks)
	for f := range ready {
		if f.err != nil {
			return f.err
		}
		if err := j.target.writeAt(f.data, f.chunk.Start); err != nil {
			return err
		}
		free <- f.data[:chunkSize]
		progress.add(f.chunk.Length)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return j.target.sync()
}

// meter shows how far a stage is, in bytes.
type meter struct {
	stage       string
	done, total int64
	show        func(stage string, done, total int64)
}

// meter makes one for all chunks but the first block, for which it shows nothing:
// that one is written and verified in a moment, when a person believes it done.
func (j *job) meter(stage string, chunks []Chunk) *meter {
	m := &meter{stage: stage, show: j.options.Progress}
	for _, c := range chunks {
		m.total += c.Length
	}
	if len(chunks) > 0 && chunks[0].Start == 0 {
		m.show = func(string, int64, int64) {}
	}
	return m
}

func (m *meter) add(n int64) {
	m.done += n
	m.show(m.stage, m.done, m.total)
}

// fill reads the chunks of the image and hashes them, into buffers from free.
func (j *job) fill(ctx context.Context, chunks []Chunk, free <-chan []byte, ready chan<- filled) {
	defer close(ready)
	for i := range chunks {
		c := &chunks[i]
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return
		}
		f := filled{chunk: c, data: buf[:c.Length]}
		if n, err := j.img.ReadAt(f.data, c.Start); int64(n) < c.Length {
			f.err = fmt.Errorf("read image at byte %d: %w", c.Start, err)
		}
		c.SHA256 = sha256.Sum256(f.data)
		select {
		case ready <- f:
		case <-ctx.Done():
			return
		}
	}
}
