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
func (d *xzFile) decode(ctx context.Context, out *growing) (int64, error) {
	workers, err := d.affordable()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(d.blocks))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			z := &lzma2.Decoder{}
			for ctx.Err() == nil {
				i, ok := out.next()
				if !ok {
					return
				}
				errs[i] = d.block(ctx, z, d.blocks[i], func(p []byte) error { return out.add(i, p) })
				if errs[i] != nil {
					cancel()
				}
			}
		})
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

// affordable is how many workers there is memory for. It looks at the first
// block: all blocks of a file are made with the same settings.
func (d *xzFile) affordable() (int, error) {
	if len(d.blocks) == 0 {
		return 0, nil
	}
	head, err := d.head(d.blocks[0])
	if err != nil {
		return 0, err
	}
	each := lzma2.Memory(head.dictionary, d.blocks[0].size)
	return max(1, min(d.workers, len(d.blocks), int(xzMemory/max(1, each)))), nil
}
