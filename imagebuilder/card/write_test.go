package card

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/imagebuilder/image"
	"picluster/internal/lab"
)

func openImage(t testing.TB, release string) *image.Overlay {
	t.Helper()
	f, err := os.Open(lab.Image(t, lab.Layout{Release: release}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return image.NewOverlay(f, info.Size())
}

// staleFile stands for a card of size bytes that was used before.
func staleFile(t testing.TB, size int64) *Device {
	t.Helper()
	path := filepath.Join(t.TempDir(), "card.img")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stale := bytes.Repeat([]byte{0xa5}, 1<<20)
	for at := int64(0); at < size; at += int64(len(stale)) {
		if _, err := f.Write(stale); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Find(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWrite_everyUsedByteIsTheImages(t *testing.T) {
	img := openImage(t, "bookworm")
	d := staleFile(t, img.Size()+8<<20)
	report, err := Write(context.Background(), d, img, Options{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	if !report.Verified || report.Written >= img.Size() || len(report.SHA256) != 64 {
		t.Errorf("report: verified %v, %d bytes of %d, sha256 %q", report.Verified, report.Written, img.Size(), report.SHA256)
	}
	f, err := os.Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// What the FAT and ext4 call used, asked for the card itself this time.
	got := image.NewOverlay(f, img.Size())
	a, b := make([]byte, chunkSize), make([]byte, chunkSize)
	for _, c := range chunks(used(got, nil)) {
		a, b = a[:c.Length], b[:c.Length]
		if _, err := img.ReadAt(a, c.Start); err != nil {
			t.Fatal(err)
		}
		if _, err := got.ReadAt(b, c.Start); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("the card differs within %d bytes at %d", c.Length, c.Start)
		}
	}
	// Free space was left as it was, and the end was cleared.
	end := make([]byte, tableRoom)
	if _, err := f.ReadAt(end, d.Size-tableRoom); err != nil || len(bytes.Trim(end, "\x00")) > 0 {
		t.Errorf("the end of the card is not cleared: %v", err)
	}
}

// One byte of the card flips after everything was written, before it is read back.
func TestVerify_catchesOneByteThatFlippedOnTheWay(t *testing.T) {
	img := openImage(t, "bookworm")
	d := staleFile(t, img.Size())
	var flipped int64
	_, err := Write(context.Background(), d, img, Options{Verify: true, Progress: func(stage string, done, total int64) {
		if stage != StageWrite || done != total || flipped > 0 {
			return
		}
		f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		opened, err := image.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		flipped = opened.RootPartition.Start + 1024 + 80 // in the superblock: in use for sure
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, flipped); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := f.WriteAt(b, flipped); err != nil {
			t.Fatal(err)
		}
	}})
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || mismatch.Offset != flipped {
		t.Fatalf("error %v, want a mismatch at byte %d", err, flipped)
	}
	noTable(t, d)
}

func TestWrite_stoppedLeavesNoPartitionTable(t *testing.T) {
	img := openImage(t, "bookworm")
	for _, stage := range []string{StageWrite, StageVerify} {
		d := staleFile(t, img.Size())
		ctx, stop := context.WithCancel(context.Background())
		_, err := Write(ctx, d, img, Options{Verify: true, Progress: func(s string, _, _ int64) {
			if s == stage {
				stop()
			}
		}})
		var interrupted *InterruptedError
		if !errors.As(err, &interrupted) || !errors.Is(err, context.Canceled) {
			t.Errorf("stopped in %s: %v", stage, err)
		}
		noTable(t, d)
	}
}

func noTable(t *testing.T, d *Device) {
	t.Helper()
	f, err := os.Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if table, err := image.ReadTable(f, d.Size); !errors.Is(err, image.ErrNoTable) {
		t.Errorf("the card has a partition table: %+v, %v", table, err)
	}
}

func TestWrite_stoppedBeforeItBeganChangesNothing(t *testing.T) {
	img := openImage(t, "bookworm")
	d := staleFile(t, img.Size())
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := Write(ctx, d, img, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	b := make([]byte, 1)
	f, err := os.Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(b, 0); err != nil || b[0] != 0xa5 {
		t.Errorf("the first byte is %x, %v", b, err)
	}
}

func TestCompare_findsTheChunk(t *testing.T) {
	img := openImage(t, "bookworm")
	d, err := Find(filepath.Join(t.TempDir(), "card.img"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := Write(context.Background(), d, img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d, err = Find(d.Path); err != nil {
		t.Fatal(err)
	}
	text, err := report.Sums.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var sums Sums
	if err := sums.UnmarshalText(text); err != nil {
		t.Fatal(err)
	}
	compare := func() []Chunk {
		differ, err := Compare(context.Background(), d, &sums, func(_, _ int64) {})
		if err != nil {
			t.Fatal(err)
		}
		return differ
	}
	if differ := compare(); len(differ) > 0 {
		t.Errorf("right after writing: %v differ", differ)
	}
	last := sums.Chunks[len(sums.Chunks)-1]
	if err := put(d.Path, last.Start, "changed"); err != nil {
		t.Fatal(err)
	}
	if differ := compare(); len(differ) != 1 || differ[0].Start != last.Start {
		t.Errorf("%d chunks differ, want the last", len(differ))
	}
}

func TestSums_refusesWhatItDidNotWrite(t *testing.T) {
	digest := strings.Repeat("0", 64)
	for _, text := range []string{
		"", "picluster card sums 1\n", sumsHead + "x\n", sumsHead + "0 4096 12\n", sumsHead + "0 4096 " + digest + "00\n",
		sumsHead + "0 0 " + digest + "\n", sumsHead + "0 99999999 " + digest + "\n",
		sumsHead + "4096 4096 " + digest + "\n0 4096 " + digest + "\n", sumsHead + "-1 4096 " + digest + "\n",
	} {
		if err := new(Sums).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("accepted: %q", text)
		}
	}
}

// The places cover what a counterfeit card of each size would show.
func TestProbePlaces_meetAtEachPowerOfTwo(t *testing.T) {
	for _, size := range []int64{64e9 / 512 * 512, 128 << 30, 31914983424} {
		places := probePlaces(size)
		end := places[len(places)-1]
		for real := int64(smallestLiar); real < size; real *= 2 {
			met := end%real == 0
			for _, p := range places {
				met = met || p != end && p%real == end%real
			}
			if !met {
				t.Errorf("size %d: no place that the end meets if only %d bytes are real", size, real)
			}
		}
		if len(places) > 24 || places[0] < blockSize {
			t.Errorf("size %d: places %v", size, places)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	img := openImage(b, "trixie")
	for _, verify := range []bool{false, true} {
		name := "verify=off"
		if verify {
			name = "verify=full"
		}
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "card.img")
			for range b.N {
				d, err := Find(path)
				if err != nil {
					b.Fatal(err)
				}
				report, err := Write(context.Background(), d, img, Options{Verify: verify})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(report.Written)
			}
		})
	}
}

func BenchmarkCompare(b *testing.B) {
	img := openImage(b, "trixie")
	d, err := Find(filepath.Join(b.TempDir(), "card.img"))
	if err != nil {
		b.Fatal(err)
	}
	report, err := Write(context.Background(), d, img, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(report.Written)
	for b.Loop() {
		if _, err := Compare(context.Background(), d, &report.Sums, func(_, _ int64) {}); err != nil {
			b.Fatal(err)
		}
	}
}
