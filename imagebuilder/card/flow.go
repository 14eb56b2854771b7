package card

import (
	"context"
	"sync"
)

// piece is a chunk under way, with its bytes.
type piece struct {
	chunk *Chunk
	data  []byte // chunk.Length bytes that direct I/O takes
	runs  []run  // what of it is to be written; nil: all
}

// run is a range of bytes within a chunk.
type run struct{ start, end int64 }

// underWay is how many chunks are in memory at once: one for each step, and one so
// that a step that is late for once holds up no other.
const underWay = 4

// flow passes the chunks through the steps, in order. Each step has a goroutine of
// its own, so that the disk is as busy as its slowest step lets it be. The first
// error ends all.
func flow(ctx context.Context, chunks []Chunk, steps ...func(*piece) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	free := make(chan []byte, underWay)
	for range min(underWay, len(chunks)) {
		free <- aligned(chunkSize)
	}
	var working sync.WaitGroup
	first := make(chan *piece)
	working.Go(func() {
		defer close(first)
		for i := range chunks {
			select {
			case buf := <-free:
				send(ctx, first, &piece{chunk: &chunks[i], data: buf[:chunks[i].Length]})
			case <-ctx.Done():
				return
			}
		}
	})
	in := first
	for _, step := range steps {
		from, to := in, make(chan *piece)
		working.Go(func() {
			defer close(to)
			for p := range from {
				if err := step(p); err != nil {
					stop(err)
				}
				if ctx.Err() != nil {
					return
				}
				send(ctx, to, p)
			}
		})
		in = to
	}
	for p := range in {
		free <- p.data[:chunkSize]
	}
	working.Wait()
	return context.Cause(ctx)
}

func send(ctx context.Context, to chan<- *piece, p *piece) {
	select {
	case to <- p:
	case <-ctx.Done():
	}
}
