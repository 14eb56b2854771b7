package card

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// tried is a disk of the kind that is tried before it is written.
func tried(t *testing.T) (*disk, *broken) {
	target, b := breakable(t, plainSize)
	target.sector = 512
	return target, b
}

func TestWrite_stoppedBeforeItBeganTriesNothing(t *testing.T) {
	target, b := tried(t)
	written := 0
	b.write = func([]byte, int64) (int, error, bool) {
		written++
		return 0, nil, false
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := write(ctx, target, plainImage(1), Options{}); !errors.Is(err, context.Canceled) || written > 0 {
		t.Errorf("error %v after %d writes", err, written)
	}
}

// A card that forgets, and then fails: what stood there is lost, and that is said.
func TestProbe_saysWhatIsNotPutBack(t *testing.T) {
	for _, fails := range []bool{false, true} {
		target, b := tried(t)
		marked := false
		b.write = func([]byte, int64) (int, error, bool) {
			again := marked
			marked = true
			return 0, syscall.EIO, again && fails
		}
		b.read = func(p []byte, _ int64) (error, bool) {
			if marked {
				p[0] ^= 1
			}
			return nil, false
		}
		err := probe(target)
		var liar *LiarError
		if !errors.As(err, &liar) || errors.Is(err, syscall.EIO) != fails || (liar.NotRestored != nil) != fails ||
			strings.Contains(err.Error(), "is not put back: write "+target.path) != fails {
			t.Errorf("restoring fails: %v: error %v", fails, err)
		}
	}
}

func TestProbe_aFailedRestoreIsAnErrorToo(t *testing.T) {
	target, b := tried(t)
	writes := 0
	b.write = func([]byte, int64) (int, error, bool) {
		writes++
		return 0, syscall.ENOSPC, writes > 1
	}
	b.sync = func() error { return syscall.EIO }
	if err := probe(target); !errors.Is(err, syscall.EIO) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v, want that of flushing and that of putting back", err)
	}
}
