// Package lzma2 decodes LZMA2, the form of compression in xz files, into memory
// that it also takes matches from: that is what makes it about twice as fast as a
// decoder with a separate dictionary. The container is not its business.
//
// LZMA is described in the "LZMA specification" of the LZMA SDK, the chunks of
// LZMA2 only in the source of its decoders.
package lzma2

import (
	"errors"
	"io"
)

// Decoder holds the memory for decoding, which is used again for the next stream.
// The zero value is ready.
type Decoder struct {
	in     input
	model  model
	window []byte

	history
	pos   int // of the next byte in window
	low   int // where in window the dictionary begins
	phase int // what makes pos a position since the dictionary began, in its low bits

	posMask, placeMask uint32
	lc                 uint32
}

// Sizes of an LZMA2 chunk, in bytes.
const (
	chunkMax      = 2 << 20
	compressedMax = 64 << 10
)

// Memory is what decoding a stream of size bytes with that dictionary takes.
func Memory(dictionary, size int64) int64 {
	return min(size, dictionary+max(2*chunkMax, dictionary/4))
}

var (
	errReset      = errors.New("LZMA2 chunk uses what was not set before")
	errControl    = errors.New("LZMA2 chunk is of unknown kind")
	errProperties = errors.New("LZMA2 chunk has properties that LZMA2 does not allow")
	errLong       = errors.New("LZMA2 data is longer than it should be")
	errShort      = errors.New("LZMA2 data is shorter than it should be")
)

// Decode decodes a stream that makes size bytes and was made with a dictionary of
// at most that many. What becomes known is given to emit, in order; emit must not
// keep it. Errors of r and emit are returned as they are, but io.EOF of r as
// io.ErrUnexpectedEOF. No byte behind the stream is read.
func (d *Decoder) Decode(r io.Reader, dictionary, size int64, emit func([]byte) error) error {
	if need := int(Memory(dictionary, size)); len(d.window) < need {
		d.window = make([]byte, need)
	}
	d.pos, d.low, d.phase = 0, 0, 0
	wanted := resetDictionary // what the next chunk has to reset, at least
	for left := int(size); ; {
		k, err := readHead(r, d.in[:])
		if err != nil {
			return err
		}
		if k.end {
			if left > 0 {
				return errShort
			}
			return nil
		}
		if k.resets < wanted && !(k.raw && wanted < resetDictionary) {
			return errReset
		}
		if k.size > left {
			return errLong
		}
		left -= k.size
		wanted = k.leaves(wanted)
		if err := d.chunk(r, k, int(dictionary)); err != nil {
			return err
		}
		if err := emit(d.window[d.pos-k.size : d.pos]); err != nil {
			return err
		}
	}
}

// resets are what a chunk begins anew, each with those before.
type resets int

const (
	resetNothing resets = iota
	resetState
	resetProperties
	resetDictionary
)

// head is the head of a chunk.
type head struct {
	end        bool // there is no further chunk
	raw        bool // not compressed
	resets     resets
	size       int // bytes that it makes
	compressed int
	properties byte
}

// leaves is what has to be reset after the chunk by the next compressed one.
func (k head) leaves(wanted resets) resets {
	switch {
	case !k.raw:
		return resetNothing
	case k.resets == resetDictionary:
		return resetProperties
	}
	return wanted
}

// readHead reads the head of a chunk, using buf.
func readHead(r io.Reader, buf []byte) (head, error) {
	if err := readFull(r, buf[:1]); err != nil {
		return head{}, err
	}
	control := buf[0]
	var k head
	switch {
	case control == 0:
		return head{end: true}, nil
	case control >= 0x80:
		k.resets = resets(control >> 5 & 3)
		n := 4
		if k.resets >= resetProperties {
			n = 5
		}
		if err := readFull(r, buf[:n]); err != nil {
			return head{}, err
		}
		k.size = int(control&0x1f)<<16 + int(buf[0])<<8 + int(buf[1]) + 1
		k.compressed = int(buf[2])<<8 + int(buf[3]) + 1
		k.properties = buf[4]
		return k, nil
	case control > 2:
		return head{}, errControl
	}
	if k.raw = true; control == 1 {
		k.resets = resetDictionary
	}
	err := readFull(r, buf[:2])
	k.size = int(buf[0])<<8 + int(buf[1]) + 1
	return k, err
}

// chunk decodes what follows a head.
func (d *Decoder) chunk(r io.Reader, k head, dictionary int) error {
	d.makeRoom(k.size, dictionary)
	if k.resets == resetDictionary {
		d.low, d.phase = d.pos, -d.pos&(1<<posBitsMax-1)
	}
	if k.raw {
		d.pos += k.size
		return readFull(r, d.window[d.pos-k.size:d.pos])
	}
	if k.resets >= resetProperties {
		if err := d.setProperties(k.properties); err != nil {
			return err
		}
	}
	if k.resets >= resetState {
		d.model, d.history = *fresh, history{}
	}
	if k.compressed < 5 {
		return errSymbols
	}
	if err := readFull(r, d.in[:k.compressed]); err != nil {
		return err
	}
	return d.symbols(k.compressed, k.size)
}

// makeRoom sees to it that n more bytes fit into the window, at the expense of what
// is too old for a match.
func (d *Decoder) makeRoom(n, dictionary int) {
	if d.pos+n <= len(d.window) {
		return
	}
	// By a multiple of 16, so that phase stays right.
	drop := max(0, d.pos-dictionary) &^ (1<<posBitsMax - 1)
	copy(d.window, d.window[drop:d.pos])
	d.pos, d.low = d.pos-drop, max(0, d.low-drop)
}

// setProperties sets what the properties byte says: how many bits of the place and
// of the byte before choose among the tables.
func (d *Decoder) setProperties(b byte) error {
	lc, lp, pb := uint32(b)%9, uint32(b)/9%5, uint32(b)/45
	if lc+lp > lcLpMax || pb > posBitsMax {
		return errProperties
	}
	d.lc, d.placeMask, d.posMask = lc, 1<<lp-1, 1<<pb-1
	return nil
}

func readFull(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
