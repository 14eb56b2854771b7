package baseimage

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/ulikunitz/xz"
)

// decode decompresses blocks side by side, each straight to its place in the
// image. xz --threads and Raspberry Pi's own files have a block for every 24 MiB
// or so; a file of one block keeps one worker busy.
func (d *xzFile) decode(ctx context.Context, out sparseFile) (int64, error) {
	workers, err := d.affordable()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range d.blocks {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	}()
	errs := make([]error, len(d.blocks))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range next {
				if errs[i] = d.block(ctx, d.blocks[i], out); errs[i] != nil {
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
	dictionary, err := d.memory(d.blocks[0])
	if err != nil {
		return 0, err
	}
	return min(max(1, d.workers), len(d.blocks), int(maxMemory/dictionary)), nil
}

var errLonger = errors.New("block is longer than the index says")

func (d *xzFile) block(ctx context.Context, b xzBlock, out sparseFile) error {
	if _, err := d.memory(b); err != nil {
		return err
	}
	z, err := xz.NewReader(bufio.NewReaderSize(d.oneBlock(b), 64<<10))
	if err != nil {
		return d.damage(b.at, err)
	}
	// The reader checks sizes and check value at the end: read up to there.
	_, err = out.fill(ctx, b.to, &bounded{z, b.size, errLonger})
	if bad := (readError{}); errors.As(err, &bad) {
		// The index has shown that the block is there as a whole, so an early end
		// is damage.
		err = bad.error
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("block ends too early")
		}
		return d.damage(b.at, err)
	}
	return err
}
