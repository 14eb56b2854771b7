package image

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

func TestOverlay_behavesAsACopyOfTheBase(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	base := make([]byte, 5*blockSize+1234) // the last block is short
	for i := range base {
		base[i] = byte(rng.Uint32())
	}
	untouched := bytes.Clone(base)
	model := bytes.Clone(base)
	o := NewOverlay(bytes.NewReader(base), int64(len(base)))
	for range 500 {
		off := rng.IntN(len(base))
		p := make([]byte, rng.IntN(len(base)-off+1))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		if _, err := o.WriteAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
		copy(model[off:], p)
		from := rng.IntN(len(base))
		got := make([]byte, rng.IntN(len(base)-from+1))
		if _, err := o.ReadAt(got, int64(from)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, model[from:from+len(got)]) {
			t.Fatalf("reading %d bytes at %d differs from the model", len(got), from)
		}
	}
	if !bytes.Equal(base, untouched) {
		t.Error("the base was written to")
	}
	all, err := io.ReadAll(io.NewSectionReader(o, 0, o.Size()))
	if err != nil || !bytes.Equal(all, model) {
		t.Errorf("the whole overlay differs from the model (%v)", err)
	}
}

func TestOverlay_neverGrows(t *testing.T) {
	o := NewOverlay(bytes.NewReader(make([]byte, 10000)), 10000)
	for _, at := range []int64{-1, 9999, 10000, 1 << 40} {
		if _, err := o.WriteAt([]byte{1, 2}, at); err == nil {
			t.Errorf("writing 2 bytes at %d of 10000 is accepted", at)
		}
	}
	if o.Changed() != 0 {
		t.Error("a refused write left something behind")
	}
	if n, err := o.ReadAt(make([]byte, 10), 9995); n != 5 || err != io.EOF {
		t.Errorf("reading across the end gives %d, %v", n, err)
	}
}

func TestOverlay_mergesChangedExtents(t *testing.T) {
	o := NewOverlay(bytes.NewReader(make([]byte, 10*blockSize)), 10*blockSize)
	o.WriteAt(make([]byte, blockSize+1), blockSize) // blocks 1 and 2
	o.WriteAt([]byte{1}, 9*blockSize)
	got := o.ChangedExtents()
	want := []Extent{{blockSize, 2 * blockSize}, {9 * blockSize, blockSize}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("changed extents are %v, want %v", got, want)
	}
}

type brokenDisk struct{}

var errBroken = errors.New("sector is gone")

func (brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

func TestOverlay_passesReadErrorsOn(t *testing.T) {
	o := NewOverlay(brokenDisk{}, 8192)
	if _, err := o.ReadAt(make([]byte, 10), 0); !errors.Is(err, errBroken) {
		t.Errorf("reading gives %v", err)
	}
	if _, err := o.WriteAt([]byte{1}, 0); !errors.Is(err, errBroken) {
		t.Errorf("writing part of an unreadable block gives %v", err)
	}
	if _, err := NewOverlay(bytes.NewReader(nil), 8192).ReadAt(make([]byte, 10), 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a base shorter than it should be gives %v", err)
	}
}
