package card

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"picluster/imagebuilder/image"
)

// plainSize is that of an image without file systems, all of which is in use.
const plainSize = 21<<20 + 5*blockSize

// plainImage is one of noise.
func plainImage(seed byte) *image.Overlay {
	data := make([]byte, plainSize)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return image.NewOverlay(bytes.NewReader(data), plainSize)
}

// broken is a disk with a fault. Each function may be nil, and gives what the disk
// then does instead.
type broken struct {
	*os.File
	mu    sync.Mutex // reading and writing go on side by side
	write func(p []byte, off int64) (done int, err error, fault bool)
	read  func(p []byte, off int64) (err error, fault bool)
	sync  func() error
}

func (b *broken) WriteAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.write != nil {
		if n, err, fault := b.write(p, off); fault {
			if _, err := b.File.WriteAt(p[:n], off); err != nil {
				return 0, err
			}
			return n, err
		}
	}
	return b.File.WriteAt(p, off)
}

func (b *broken) ReadAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.File.ReadAt(p, off)
	if b.read != nil {
		if err, fault := b.read(p, off); fault {
			return 0, err
		}
	}
	return n, err
}

func (b *broken) Sync() error {
	if b.sync != nil {
		return b.sync()
	}
	return b.File.Sync()
}

// breakable is a used disk of size bytes that can be given faults.
func breakable(t *testing.T, size int64) (*disk, *broken) {
	t.Helper()
	d := staleFile(t, size)
	f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b := &broken{File: f}
	return &disk{file: b, path: d.Path, size: size}, b
}

// covers reports whether a transfer of p at off touches the byte at place.
func covers(p []byte, off, place int64) bool { return off <= place && place < off+int64(len(p)) }

// failAt makes writing fail at a place, after what comes before it.
func failAt(place int64, err error) func([]byte, int64) (int, error, bool) {
	return func(p []byte, off int64) (int, error, bool) {
		return int(place - off), err, covers(p, off, place)
	}
}

// A fault anywhere, whatever it is, ends in an error that says on which card and
// where, and in a card that no Pi boots.
func TestWrite_everyFaultIsAnErrorWithCardAndPlace(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	img := plainImage(1)
	for i := range 4 {
		// Behind the first mebibyte, which is cleared before the rest is written.
		block := tableRoom + random.Int64N((plainSize-tableRoom)/blockSize)*blockSize
		at := fmt.Sprintf("at byte %d: ", block)
		flipped := block + random.Int64N(blockSize)
		for _, tc := range []struct {
			name  string
			fault func(*broken)
			says  string
			is    error
		}{
			{"write error", func(b *broken) { b.write = failAt(block, syscall.EIO) }, "write %s " + at, syscall.EIO},
			{"no space", func(b *broken) { b.write = failAt(block, syscall.ENOSPC) }, "write %s " + at, syscall.ENOSPC},
			{"short write", func(b *broken) { b.write = failAt(block, nil) }, "write %s " + at, nil},
			{"read error", func(b *broken) {
				b.read = func(p []byte, off int64) (error, bool) { return syscall.EIO, covers(p, off, block) }
			}, "read %s " + at, syscall.EIO},
			{"flipped bit", func(b *broken) {
				b.read = func(p []byte, off int64) (error, bool) {
					if covers(p, off, flipped) {
						p[flipped-off] ^= 1 << (flipped % 8)
					}
					return nil, false
				}
			}, fmt.Sprintf("verify %%s: byte %d ", flipped), nil},
			{"old data", func(b *broken) {
				// A worn card acknowledges writing and keeps what it had.
				b.write = func(p []byte, off int64) (int, error, bool) {
					if off <= block && block < off+int64(len(p)) {
						copy(p[block-off:], bytes.Repeat([]byte{0xa5}, blockSize))
					}
					return 0, nil, false
				}
			}, "verify %s: byte ", nil},
		} {
			target, b := breakable(t, plainSize+3<<20)
			tc.fault(b)
			report, err := write(context.Background(), target, img, Options{Verify: true})
			want := strings.ReplaceAll(tc.says, "%s", target.path)
			if report != nil || err == nil || !strings.HasPrefix(err.Error(), want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%d, %s: %v, want %q", i, tc.name, err, want)
			}
			noTable(t, &Device{Path: target.path, Size: target.size})
		}
	}
}

// The card is pulled out, or its reader hangs: from then on nothing works.
func TestWrite_aCardThatGoesAwayIsAnError(t *testing.T) {
	for _, after := range []int64{0, 1, 5 << 20, plainSize - 1, plainSize + tableRoom - 1} {
		target, b := breakable(t, plainSize)
		var written int64
		gone := false
		b.write = func(p []byte, off int64) (int, error, bool) {
			written += int64(len(p))
			gone = gone || written > after
			return 0, syscall.ENODEV, gone
		}
		b.read = func([]byte, int64) (error, bool) { return syscall.ENODEV, gone }
		b.sync = func() error {
			if gone {
				return syscall.ENODEV
			}
			return nil
		}
		report, err := write(context.Background(), target, plainImage(1), Options{Verify: true})
		if report != nil || !errors.Is(err, syscall.ENODEV) || !strings.Contains(err.Error(), target.path) {
			t.Errorf("after %d bytes: %v", after, err)
		}
	}
}

// What the disk still had in its own memory comes out when it is flushed.
func TestWrite_anErrorOfTheLastFlushIsAnError(t *testing.T) {
	for n := range 3 { // after clearing, after everything, after the partition table
		target, b := breakable(t, plainSize)
		b.sync = func() error {
			if n--; n < 0 {
				return syscall.EIO
			}
			return nil
		}
		report, err := write(context.Background(), target, plainImage(1), Options{Verify: true})
		if report != nil || !errors.Is(err, syscall.EIO) || !strings.HasPrefix(err.Error(), "flush "+target.path) {
			t.Errorf("%v", err)
		}
	}
}

// sameAsImage compares all of a disk's used bytes with the image.
func sameAsImage(t *testing.T, path string, img image.Disk, used []image.Extent) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, e := range used {
		a, b := make([]byte, e.Length), make([]byte, e.Length)
		if _, err := img.ReadAt(a, e.Start); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(b, e.Start); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("the card differs within %d bytes at %d", e.Length, e.Start)
		}
	}
}

// A card that was pulled out at 80 % needs the rest and the first mebibyte.
func TestWrite_resumeWritesWhatIsMissing(t *testing.T) {
	img := plainImage(1)
	target, b := breakable(t, plainSize+1<<20)
	b.write = failAt(plainSize*8/10, syscall.EIO)
	if _, err := write(context.Background(), target, img, Options{Verify: true}); err == nil {
		t.Fatal("it was not stopped")
	}
	b.write = nil
	report, err := write(context.Background(), target, img, Options{Verify: true, Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	if part := float64(report.Written) / float64(report.Used); report.Used != plainSize || part > 0.25 || part < 0.2 {
		t.Errorf("%d of %d bytes were written", report.Written, report.Used)
	}
	sameAsImage(t, target.path, img, []image.Extent{{Start: 0, Length: plainSize}})
	// A block that is not to be read is missing too, and one that is right at the
	// wrong place is wrong.
	unreadable := int64(9 << 20)
	b.read = func(p []byte, off int64) (error, bool) { return syscall.EIO, covers(p, off, unreadable) }
	b.write = func(p []byte, off int64) (int, error, bool) {
		if covers(p, off, unreadable) {
			b.read = nil // the card puts another block in its place
		}
		return 0, nil, false
	}
	other := plainImage(1)
	moved := make([]byte, 3*blockSize)
	if _, err := img.ReadAt(moved, 5<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := other.WriteAt(moved, 6<<20); err != nil {
		t.Fatal(err)
	}
	report, err = write(context.Background(), target, other, Options{Verify: true, Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(tableRoom + 3*blockSize + chunkSize); report.Written != want {
		t.Errorf("%d bytes were written, want %d", report.Written, want)
	}
	sameAsImage(t, target.path, other, []image.Extent{{Start: 0, Length: plainSize}})
}

// A byte of the image is known only when all the rest is on the card.
func TestWrite_settlesWhatWasNotKnown(t *testing.T) {
	final := plainImage(1)
	early := image.NewOverlay(final, plainSize)
	place := int64(7<<20 + 100)
	if _, err := early.WriteAt([]byte("not known yet"), place); err != nil {
		t.Fatal(err)
	}
	target, b := breakable(t, plainSize)
	var settled bool
	var behind int64
	b.write = func(p []byte, off int64) (int, error, bool) {
		if settled && off > 0 {
			behind += int64(len(p))
		}
		return 0, nil, false
	}
	o := Options{Verify: true, Settle: func(context.Context) (image.Disk, []image.Extent, error) {
		settled = true
		return final, early.ChangedExtents(), nil
	}}
	report, err := write(context.Background(), target, early, o)
	if err != nil {
		t.Fatal(err)
	}
	if behind != blockSize {
		t.Errorf("%d bytes were written when the image was known, want a block", behind)
	}
	sameAsImage(t, target.path, final, []image.Extent{{Start: 0, Length: plainSize}})

	again, err := Write(context.Background(), &Device{Path: filepath.Join(t.TempDir(), "card.img"), Bus: fileBus}, final, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if again.SHA256 != report.SHA256 {
		t.Error("the sums are not those of the final image")
	}

	wrong := errors.New("another digest")
	o.Settle = func(context.Context) (image.Disk, []image.Extent, error) { return nil, nil, wrong }
	target, _ = breakable(t, plainSize)
	var source *SourceError
	if _, err := write(context.Background(), target, early, o); !errors.Is(err, wrong) || !errors.As(err, &source) {
		t.Errorf("%v, want %v", err, wrong)
	}
	noTable(t, &Device{Path: target.path, Size: target.size})
}
