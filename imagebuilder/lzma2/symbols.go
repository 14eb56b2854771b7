package lzma2

import "errors"

// The state of LZMA says what the last symbols were. Below literalStates the last
// one was a literal.
const (
	states        = 12
	literalStates = 7
)

// What follows each state after a literal. After all other symbols there are only
// two states: one for each of whether a literal came before.
var afterLiteral = [16]uint8{0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 4, 5}

const (
	posBitsMax  = 4
	literalSize = 0x300
	lcLpMax     = 4 // lc + lp: the limit of LZMA2
	minMatch    = 2
)

// lengths are the probabilities of a match's length.
type lengths struct {
	long, longer uint16
	low, middle  [1 << posBitsMax][8]uint16
	high         [256]uint16
}

// model is all probabilities. The arrays indexed by a state have room for sixteen,
// so that four bits are always a good index.
type model struct {
	match, shortRep       [16 << posBitsMax]uint16
	rep, rep0, rep1, rep2 [16]uint16
	slot                  [4][64]uint16
	distance              [128]uint16
	align                 [16]uint16
	ofMatch, ofRep        lengths
	literal               [literalSize << lcLpMax]uint16
}

// fresh is the model before the first symbol: nothing is likelier than another.
var fresh = newModel()

func newModel() *model {
	m := &model{}
	all := [][]uint16{m.match[:], m.shortRep[:], m.rep[:], m.rep0[:], m.rep1[:], m.rep2[:],
		m.distance[:], m.align[:], m.literal[:]}
	for i := range m.slot {
		all = append(all, m.slot[i][:])
	}
	for _, l := range []*lengths{&m.ofMatch, &m.ofRep} {
		l.long, l.longer = oneHalf, oneHalf
		all = append(all, l.high[:])
		for i := range l.low {
			all = append(all, l.low[i][:], l.middle[i][:])
		}
	}
	for _, part := range all {
		for i := range part {
			part[i] = oneHalf
		}
	}
	return m
}

var errSymbols = errors.New("LZMA data contradicts itself")

// history is what matches refer to, apart from the window.
type history struct {
	state uint8
	reps  [4]uint32 // the last distances, the latest first; each is one less than it counts
}

// symbols decodes the symbols of a chunk of size bytes, which make n bytes, to the
// window. A chunk ends between two symbols, and its last bit is known.
func (d *Decoder) symbols(size, n int) error {
	in, m, window := &d.in, &d.model, d.window
	c := coder{span: 1<<32 - 1, at: 5}
	for _, b := range in[1:5] {
		c.code = c.code<<8 | uint32(b)
	}
	h := d.history
	pos, end := d.pos, d.pos+n
	if h.state >= literalStates && h.reps[0] >= uint32(pos-d.low) {
		return errSymbols
	}
	for pos < end && c.at <= size {
		place := uint32(pos + d.phase)
		key := uint32(h.state)<<posBitsMax + place&d.posMask
		var is bool
		if c, is = c.more(in).bit(&m.match[key&0xff]); is {
			var length int
			if c, length = d.match(c, &h, key); length > end-pos || h.reps[0] >= uint32(pos-d.low) {
				return errSymbols
			}
			pos = repeat(window, pos, int(h.reps[0])+1, length)
			continue
		}
		before := uint32(0)
		if pos > d.low {
			before = uint32(window[pos-1])
		}
		table := place&d.placeMask<<d.lc + before>>(8-d.lc)
		p := (*[literalSize]uint16)(m.literal[table*literalSize:])
		if h.state < literalStates {
			c, window[pos] = c.literal(in, p)
		} else {
			c, window[pos] = c.unlike(in, p, uint32(window[pos-int(h.reps[0])-1]))
		}
		h.state = afterLiteral[h.state&15]
		pos++
	}
	c = c.more(in)
	if pos != end || c.at != size || c.code != 0 {
		return errSymbols
	}
	d.pos, d.history = pos, h
	return nil
}

// literal decodes a byte.
func (c coder) literal(in *input, p *[literalSize]uint16) (coder, byte) {
	node := uint32(1)
	for node < 0x100 {
		c, node = c.more(in).step(&p[node&0xff], node)
	}
	return c, byte(node)
}

// unlike decodes a byte that comes after a match: the byte at the match's distance
// is most likely another one, or the match would have been longer.
func (c coder) unlike(in *input, p *[literalSize]uint16, other uint32) (coder, byte) {
	node, offset := uint32(1), uint32(0x100)
	for node < 0x100 {
		other <<= 1
		bit := other & offset
		c, node = c.more(in).step(&p[offset+bit+node], node)
		// While the bits are the same, the other byte stays of interest.
		if node&1 != 0 {
			offset = bit
		} else {
			offset &^= bit
		}
	}
	return c, byte(node)
}

// match decodes a match: it returns the length and puts the distance into reps[0].
// The mark of the end, which LZMA2 does not have, comes out as a distance that no
// window has.
func (d *Decoder) match(c coder, h *history, key uint32) (coder, int) {
	in, m := &d.in, &d.model
	state, literal := h.state&15, h.state < literalStates
	var is bool
	if c, is = c.more(in).bit(&m.rep[state]); !is {
		var length int
		c, length = m.ofMatch.decode(c, in, key&(1<<posBitsMax-1))
		h.reps[3], h.reps[2], h.reps[1] = h.reps[2], h.reps[1], h.reps[0]
		c, h.reps[0] = m.distanceOf(c, in, length)
		h.state = 7
		if !literal {
			h.state = 10
		}
		return c, length
	}
	if c, is = c.more(in).bit(&m.rep0[state]); !is {
		if c, is = c.more(in).bit(&m.shortRep[key&0xff]); !is {
			h.state = 9
			if !literal {
				h.state = 11
			}
			return c, 1
		}
	} else if c, is = c.more(in).bit(&m.rep1[state]); !is {
		h.reps[0], h.reps[1] = h.reps[1], h.reps[0]
	} else if c, is = c.more(in).bit(&m.rep2[state]); !is {
		h.reps[0], h.reps[1], h.reps[2] = h.reps[2], h.reps[0], h.reps[1]
	} else {
		h.reps[0], h.reps[1], h.reps[2], h.reps[3] = h.reps[3], h.reps[0], h.reps[1], h.reps[2]
	}
	h.state = 8
	if !literal {
		h.state = 11
	}
	return m.ofRep.decode(c, in, key&(1<<posBitsMax-1))
}

func (l *lengths) decode(c coder, in *input, pos uint32) (coder, int) {
	var is bool
	var node uint32
	if c, is = c.more(in).bit(&l.long); !is {
		c, node = c.tree(in, l.low[pos][:])
		return c, int(node) - 8 + minMatch
	}
	if c, is = c.more(in).bit(&l.longer); !is {
		c, node = c.tree(in, l.middle[pos][:])
		return c, int(node) + minMatch
	}
	c, node = c.tree(in, l.high[:])
	return c, int(node) - 256 + 16 + minMatch
}

// distanceOf decodes the distance of a match of that length, less one.
func (m *model) distanceOf(c coder, in *input, length int) (coder, uint32) {
	c, slot := c.tree(in, m.slot[min(length-minMatch, 3)][:])
	slot -= 64
	if slot < 4 {
		return c, slot
	}
	// The slot is the two highest bits and the number of those below.
	low := int(slot/2 - 1)
	distance := (2 | slot&1) << low
	var rest uint32
	if slot < 14 {
		c, rest = c.reversed(in, m.distance[distance-slot:], low)
		return c, distance + rest
	}
	var high uint32
	c, high = c.direct(in, low-4)
	c, rest = c.reversed(in, m.align[:], 4)
	return c, distance + high<<4 + rest
}

// repeat copies what is at that distance before pos, which it may overlap. Zeros,
// a great part of any disk image, are the fastest.
func repeat(window []byte, pos, distance, length int) int {
	from, end := pos-distance, pos+length
	if distance == 1 && window[from] == 0 {
		clear(window[pos:end])
		return end
	}
	for pos < end {
		pos += copy(window[pos:end], window[from:pos])
	}
	return end
}
