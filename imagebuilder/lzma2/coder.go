package lzma2

// input holds the compressed bytes of one chunk. It is longer than the longest
// chunk by far more than one symbol takes, so that only the end of each symbol
// has to be compared with the end of the chunk; the power of two spares the check
// of each index.
type input [1 << 17]byte

// coder is the range decoder. It is a value, not a pointer, so that it stays in
// registers.
type coder struct {
	span, code uint32
	at         int // of the next byte in input
}

const (
	topValue = 1 << 24
	oneHalf  = 1 << bitModel / 2
	bitModel = 11 // bits of a probability
	moveBits = 5  // how fast a probability follows what is seen
)

// more takes a byte of input when the span is too small to be divided. It comes
// before each bit.
func (c coder) more(in *input) coder {
	if c.span < topValue {
		c.span, c.code, c.at = c.span<<8, c.code<<8|uint32(in[c.at&(len(in)-1)]), c.at+1
	}
	return c
}

// bit decodes a bit that decides about the way on. The processor predicts these
// well, so that a branch is faster than arithmetic. *p is the probability of a
// zero, in 1/2048.
func (c coder) bit(p *uint16) (coder, bool) {
	v := uint32(*p)
	bound := c.span >> bitModel * v
	if c.code < bound {
		c.span = bound
		*p = uint16(v + (1<<bitModel-v)>>moveBits)
		return c, false
	}
	c.span, c.code = c.span-bound, c.code-bound
	*p = uint16(v - v>>moveBits)
	return c, true
}

// step decodes a bit of a number and returns the node of the tree below this one.
// Such bits are as good as random: arithmetic is faster than a branch.
func (c coder) step(p *uint16, node uint32) (coder, uint32) {
	v := uint32(*p)
	bound := c.span >> bitModel * v
	zero := uint32((int64(c.code) - int64(bound)) >> 63) // all ones for a zero bit
	c.span += zero&(2*bound-c.span) - bound
	c.code -= bound &^ zero
	*p = uint16(int32(v) - (int32(v)+int32(zero)&(1<<moveBits-1-1<<bitModel))>>moveBits)
	return c, node<<1 + 1 + zero
}

// tree decodes a number of the tree's depth, highest bit first. The result has a
// one in front of it.
func (c coder) tree(in *input, tree []uint16) (coder, uint32) {
	node := uint32(1)
	for node < uint32(len(tree)) {
		c, node = c.more(in).step(&tree[node], node)
	}
	return c, node
}

// reversed decodes a number of n bits, lowest bit first.
func (c coder) reversed(in *input, tree []uint16, n int) (coder, uint32) {
	node, number := uint32(1), uint32(0)
	for i := range n {
		c, node = c.more(in).step(&tree[node], node)
		number |= node & 1 << i
	}
	return c, number
}

// direct decodes n bits that are equally likely.
func (c coder) direct(in *input, n int) (coder, uint32) {
	number := uint32(0)
	for range n {
		c = c.more(in)
		c.span >>= 1
		c.code -= c.span
		zero := uint32(int32(c.code) >> 31)
		c.code += c.span & zero
		number = number<<1 + 1 + zero
	}
	return c, number
}
