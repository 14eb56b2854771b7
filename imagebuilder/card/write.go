package card

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
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
	Resume   bool                                  // write only what is not on the disk already
	Progress func(stage string, done, total int64) // bytes; may be nil

	// Mapped, unless nil, is what of the image holds data, for partitions whose file
	// systems do not tell.
	Mapped []image.Extent
	Settle Settle // may be nil
}

// Settle is called when all of an image but its first block is on the disk. It
// returns the image as it finally is, which may be another one only within the
// extents: no more than that has to be known before. Its error ends Write.
type Settle func(context.Context) (final image.Disk, changed []image.Extent, err error)

// Report is what Write did.
type Report struct {
	Used     int64 // bytes of the image that are in use, all of which are on the disk now
	Written  int64 // bytes that were written; fewer than Used after Resume
	Verified bool
	Elapsed  time.Duration
	SHA256   string // of the sums: two cards with the same one are the same
	Sums     Sums
}

// Write writes the image to the disk that Examine described and Release freed.
//
// First the disk is tried, which leaves it as it was unless the power goes meanwhile.
// Then the first mebibyte is cleared, and the partition table is written last, after
// everything else was flushed and, with Verify, read back: from the clearing on,
// whatever stops Write, even the power, leaves a card that no Pi boots instead of one
// that half works. The error is a *LiarError when the disk has less room than it says,
// a *MismatchError when it does not give back what was written, an
// *InterruptedError when ctx ended after the first byte was written.
func Write(ctx context.Context, shown *Device, img image.Disk, o Options) (*Report, error) {
	target, err := openTarget(shown, img.Size())
	if err != nil {
		return nil, err
	}
	defer target.Close()
	return write(ctx, target, img, o)
}

func write(ctx context.Context, target *disk, img image.Disk, o Options) (*Report, error) {
	began := time.Now()
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	// What is in use of the image comes first: reading it may fail.
	j := &job{img: img, target: target, options: o, sums: Sums{chunks(used(img, o.Mapped))}}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if target.sector > 0 {
		if err := probe(target); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := j.run(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, &InterruptedError{target.path, ctx.Err()}
		}
		return nil, err
	}
	target.reread()
	text, err := j.sums.MarshalText()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return &Report{Used: j.sums.Bytes(), Written: j.written, Verified: o.Verify, Elapsed: time.Since(began),
		SHA256: hex.EncodeToString(sum[:]), Sums: j.sums}, nil
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
	written int64 // bytes
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
	if err := j.settle(ctx, rest); err != nil {
		return err
	}
	if err := j.target.sync(); err != nil {
		return err
	}
	if err := j.verify(ctx, rest); err != nil {
		return err
	}
	if err := j.write(ctx, first); err != nil {
		return err
	}
	if err := j.target.sync(); err != nil {
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

// write writes the chunks in order.
func (j *job) write(ctx context.Context, chunks []Chunk) error {
	progress := j.meter(StageWrite, chunks)
	steps := []func(*piece) error{j.read, j.hash}
	if j.options.Resume {
		steps = append(steps, j.keep)
	}
	return flow(ctx, chunks, append(steps, func(p *piece) error {
		if err := j.put(p); err != nil {
			return err
		}
		progress.add(p.chunk.Length)
		return nil
	})...)
}

// read reads a chunk of the image.
func (j *job) read(p *piece) error {
	if n, err := j.img.ReadAt(p.data, p.chunk.Start); n < len(p.data) {
		return &SourceError{p.chunk.Start + int64(n), err}
	}
	return nil
}

func (j *job) hash(p *piece) error {
	p.chunk.set(digests(p.data))
	p.runs = []run{{0, p.chunk.Length}}
	return nil
}

// keep finds out which blocks of a chunk are on the disk already. What is not to be
// read counts as missing.
func (j *job) keep(p *piece) error {
	got := aligned(len(p.data))
	if err := j.target.readAt(got, p.chunk.Start); err == nil {
		p.runs = p.chunk.differing(digests(got))
	}
	return nil
}

func (j *job) put(p *piece) error {
	for _, r := range p.runs {
		if err := j.target.writeAt(p.data[r.start:r.end], p.chunk.Start+r.start); err != nil {
			return err
		}
		j.written += r.end - r.start
	}
	return nil
}

// settle writes what has become known of the image since.
func (j *job) settle(ctx context.Context, chunks []Chunk) error {
	if j.options.Settle == nil {
		return nil
	}
	img, extents, err := j.options.Settle(ctx)
	if err != nil {
		return &SourceError{j.img.Size(), err}
	}
	j.img = img
	for i := range chunks {
		c := &chunks[i]
		if !slices.ContainsFunc(extents, func(e image.Extent) bool {
			return e.Start < c.Start+c.Length && c.Start < e.Start+e.Length
		}) {
			continue
		}
		p := &piece{chunk: c, data: aligned(int(c.Length))}
		if err := j.read(p); err != nil {
			return err
		}
		now := digests(p.data)
		p.runs = c.differing(now)
		c.set(now)
		if err := j.put(p); err != nil {
			return err
		}
	}
	return nil
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
