package baseimage

import (
	"context"
	"errors"
	"sync"

	"picluster/imagebuilder/lzma2"
)

// xzMemory is what the windows of all workers may take together, in bytes. What
// xz -6 makes, as the vendor's files are, takes 12 MiB for each.
const xzMemory = 192 << 20

// sizes are those of the blocks.
func (d *xzFile) sizes() []int64 {
	sizes := make([]int64, len(d.blocks))
	for i, b := range d.blocks {
		sizes[i] = b.size
	}
	return sizes
}

// decode decompresses blocks side by side, each straight to its place in the
// image. xz --threads and Raspberry Pi's own files have a block for every 24 MiB
// or so; a file of one block keeps one worker busy.
//
// One worker more makes only what somebody waits for: the boot partition, the
// bitmaps and os-release lie far apart, and behind the blocks that the others have
// just begun each of them would wait for most of a second while no card is written.
func (d *xzFile) decode(ctx context.Context, out *growing) (int64, error) {
	workers, hurried, err := d.affordable()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(d.blocks))
	var wg sync.WaitGroup
	work := func(next func() (int, bool)) {
		z := &lzma2.Decoder{}
		for ctx.Err() == nil {
			i, ok := next()
			if !ok {
				return
			}
			errs[i] = d.block(ctx, z, d.blocks[i], func(p []byte) error { return out.add(i, p) })
			if errs[i] != nil {
				cancel()
			}
		}
	}
	for range workers {
		wg.Go(func() { work(out.next) })
	}
	if hurried {
		wg.Go(func() { work(func() (int, bool) { return out.nextWanted(ctx) }) })
	}
	wg.Wait()
	if err := firstOf(errs); err != nil {
		return 0, err
	}
	// Given up before a block was begun.
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return d.total, nil
}

// firstOf returns the error of the first damaged block. Blocks that were given up
// because of it only say that the context ended.
func firstOf(errs []error) error {
	var first error
	for _, err := range errs {
		if err == nil {
			continue
		}
		if !errors.Is(err, context.Canceled) {
			return err
		}
		first = err
	}
	return first
}

// affordable is how many workers there is memory for, and whether for one more. It
// looks at the first block: all blocks of a file are made with the same settings.
func (d *xzFile) affordable() (workers int, hurried bool, err error) {
	if len(d.blocks) == 0 {
		return 0, false, nil
	}
	head, err := d.head(d.blocks[0])
	if err != nil {
		return 0, false, err
	}
	memory := int(xzMemory / max(1, lzma2.Memory(head.dictionary, d.blocks[0].size)))
	workers = max(1, min(d.workers, len(d.blocks), memory))
	return workers, min(memory, len(d.blocks)) > workers, nil
}
