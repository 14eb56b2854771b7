package lzma2

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"

	"github.com/ulikunitz/xz/lzma"
)

// samples are kinds of data that lead through all parts of the decoder.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{2})
	noise := make([]byte, 400_000)
	random.Read(noise)
	var text bytes.Buffer
	for i := range 20000 {
		fmt.Fprintf(&text, "%d: line of text, %d times\n", i, i%37)
	}
	// Longer than the window of a small dictionary.
	mixed := bytes.Join([][]byte{program[:1_000_001], make([]byte, 4<<20), noise[:300_000], text.Bytes(), program[:300_000], noise[:100_000]}, nil)
	return map[string][]byte{"nothing": nil, "a byte": {7}, "zeros": make([]byte, 1<<20), "noise": noise,
		"text": text.Bytes(), "program": program[:1_500_000], "mixed": mixed}
}

// xzRaw has xz compress data to LZMA2 without a container.
func xzRaw(t testing.TB, data []byte, options string) []byte {
	t.Helper()
	cmd := exec.Command("xz", "--format=raw", "--stdout", "--lzma2="+options)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("xz: %v (Debian package xz-utils)", err)
	}
	return out
}

func decode(d *Decoder, packed []byte, dictionary, size int64) ([]byte, error) {
	var out bytes.Buffer
	err := d.Decode(bytes.NewReader(packed), dictionary, size, func(p []byte) error {
		out.Write(p)
		return nil
	})
	return out.Bytes(), err
}

// One decoder for all, so that nothing of a stream shows in the next.
func TestDecode_whatXZMakes(t *testing.T) {
	var d Decoder
	for _, set := range []struct {
		options    string
		dictionary int64
	}{
		{"preset=6", 8 << 20},
		{"preset=1", 1 << 20},
		{"preset=9,dict=16MiB", 16 << 20},
		{"preset=1,dict=4KiB", 4096},
		{"preset=6,dict=100000,lc=0,lp=4,pb=4", 100000},
		{"preset=6,lc=4,lp=0,pb=0,dict=1MiB", 1 << 20},
		{"preset=6,lc=1,lp=3,pb=1,nice=273,dict=300KiB", 300 << 10},
		{"preset=0,mode=fast,mf=hc3,dict=64KiB", 64 << 10},
	} {
		for name, data := range samples(t) {
			packed := xzRaw(t, data, set.options)
			got, err := decode(&d, packed, set.dictionary, int64(len(data)))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, %s: %d bytes, want %d; %v", set.options, name, len(got), len(data), err)
			}
		}
	}
}

// Another encoder, which makes other chunks and resets.
func TestDecode_whatAnotherEncoderMakes(t *testing.T) {
	var d Decoder
	for name, data := range samples(t) {
		if len(data) > 2<<20 {
			data = data[len(data)-2<<20:]
		}
		var packed bytes.Buffer
		w, err := lzma.Writer2Config{DictCap: 1 << 16, Properties: &lzma.Properties{LC: 2, LP: 1, PB: 3}}.NewWriter2(&packed)
		if err != nil {
			t.Fatal(err)
		}
		// A flush ends the chunk.
		for p := data; len(p) > 0; {
			n := min(len(p), 70_001)
			if _, err := w.Write(p[:n]); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := decode(&d, packed.Bytes(), 1<<16, int64(len(data)))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, want %d; %v", name, len(got), len(data), err)
		}
	}
}

// xz --block-list and pixz make blocks of several dictionaries, each of which
// begins at an odd place.
func TestDecode_newDictionariesInOneStream(t *testing.T) {
	var d Decoder
	var packed, data []byte
	for _, part := range [][]byte{samples(t)["text"][:77_777], samples(t)["noise"][:70_003], samples(t)["program"][:1_234_567], {1}, samples(t)["text"]} {
		stream := xzRaw(t, part, "preset=1,dict=64KiB,pb=4,lp=2,lc=2")
		packed, data = append(packed, stream[:len(stream)-1]...), append(data, part...)
	}
	got, err := decode(&d, append(packed, 0), 64<<10, int64(len(data)))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, want %d; %v", len(got), len(data), err)
	}
}

func TestDecode_readsNoFurther(t *testing.T) {
	data := samples(t)["text"]
	r := bytes.NewReader(append(xzRaw(t, data, "preset=1"), "behind"...))
	if err := new(Decoder).Decode(r, 1<<20, int64(len(data)), func([]byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "behind" {
		t.Errorf("%q is left", rest)
	}
}

func TestDecode_refuses(t *testing.T) {
	text := samples(t)["text"][:100_000]
	good := xzRaw(t, text, "preset=1")
	with := func(at int, b ...byte) []byte {
		bad := bytes.Clone(good)
		copy(bad[at:], b)
		return bad
	}
	for _, tc := range []struct {
		name   string
		packed []byte
		size   int
		want   error
	}{
		{"nothing", nil, 0, io.ErrUnexpectedEOF},
		{"no end", good[:len(good)-1], len(text), io.ErrUnexpectedEOF},
		{"half", good[:len(good)/2], len(text), io.ErrUnexpectedEOF},
		{"a size that is too small", good, len(text) - 1, errLong},
		{"a size that is too large", good, len(text) + 1, errShort},
		{"a chunk of unknown kind", with(0, 3), len(text), errControl},
		{"no reset of the dictionary", with(0, 0xc0), len(text), errReset},
		{"no reset at all", with(0, 0x80), len(text), errReset},
		{"raw without a reset", []byte{2, 0, 0, 'x', 0}, 1, errReset},
		{"state after a raw chunk", []byte{1, 0, 0, 'x', 0xa0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0}, 2, errReset},
		{"properties that LZMA2 has not", with(5, 9*5*5), len(text), errProperties},
		{"more literal bits than LZMA2 has", with(5, 4*9+4), len(text), errProperties},
		{"a chunk of four bytes", []byte{0xe0, 0, 0, 0, 3, 93, 0, 0, 0, 0, 0}, 1, errSymbols},
		{"symbols of another chunk", with(40, 0xff, 0xff, 0xff), len(text), errSymbols},
		{"a match before the beginning", append([]byte{0xe0, 0, 9, 0, 7, 93, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0), 10, errSymbols},
	} {
		if _, err := decode(new(Decoder), tc.packed, 1<<20, int64(tc.size)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	full := errors.New("full")
	err := new(Decoder).Decode(bytes.NewReader(good), 1<<20, int64(len(text)), func([]byte) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("emit's error comes back as %v", err)
	}
}

// FuzzDecode wants no panic, no more bytes than announced, and the same bytes as
// the other decoder wherever both take the stream.
func FuzzDecode(f *testing.F) {
	for _, data := range [][]byte{nil, []byte("abcabcabcabc"), bytes.Repeat([]byte("fuzz"), 500), make([]byte, 3000)} {
		f.Add(xzRaw(f, data, "preset=6,dict=4KiB"), uint16(len(data)))
		f.Add(xzRaw(f, data, "preset=1,dict=4KiB,lc=0,lp=2,pb=0"), uint16(len(data)))
	}
	f.Add([]byte{1, 0, 2, 'a', 'b', 'c', 2, 0, 0, 'd', 0}, uint16(4))
	f.Fuzz(func(t *testing.T, packed []byte, size uint16) {
		got, err := decode(new(Decoder), packed, 4096, int64(size))
		if len(got) > int(size) {
			t.Fatalf("%d bytes, announced were %d", len(got), size)
		}
		if err != nil {
			return
		}
		if len(got) != int(size) {
			t.Fatalf("%d bytes without an error, announced were %d", len(got), size)
		}
		r, err := lzma.Reader2Config{DictCap: 1 << 16}.NewReader2(bufio.NewReader(bytes.NewReader(packed)))
		if err != nil {
			return
		}
		if want, err := io.ReadAll(r); err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes are not those of the other decoder, %d", len(got), len(want))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	data := samples(b)["program"]
	packed := xzRaw(b, data, "preset=6")
	b.Run("ours", func(b *testing.B) {
		var d Decoder
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if err := d.Decode(bytes.NewReader(packed), 8<<20, int64(len(data)), func([]byte) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ulikunitz", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			r, err := lzma.Reader2Config{DictCap: 8 << 20}.NewReader2(bytes.NewReader(packed))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
