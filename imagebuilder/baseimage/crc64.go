package baseimage

import (
	"encoding/binary"
	"hash/crc64"
	"sync"
)

// crc64Sum is the CRC-64 that blocks of xz end with. It is hash/crc64's, but passes
// over grains of zeros, which are half of a disk image, in one step: what a fixed
// number of zeros does to a CRC is linear, so the sum of what they do to each of its
// bytes.
type crc64Sum uint64

var (
	crc64Table = crc64.MakeTable(crc64.ECMA)
	crc64Zeros = sync.OnceValue(newCRC64Zeros)
)

// newCRC64Zeros tabulates what a grain of zeros makes of each byte of a CRC.
func newCRC64Zeros() *[8][256]uint64 {
	var table [8][256]uint64
	// crc64.Update inverts before and after. Without that, nothing stays nothing.
	for i := range table {
		for bit := range 8 {
			crc := uint64(1) << (8*i + bit)
			table[i][1<<bit] = ^crc64.Update(^crc, crc64Table, zeros[:])
		}
		for b := range 256 {
			low := b & -b
			table[i][b] = table[i][low] ^ table[i][b&^low]
		}
	}
	return &table
}

func (c *crc64Sum) Write(p []byte) (int, error) {
	table := crc64Zeros()
	for rest := p; len(rest) > 0; {
		n := min(grain, len(rest))
		if n == grain && isZero(rest[:n]) {
			crc := ^uint64(*c)
			next := uint64(0)
			for i := range table {
				next ^= table[i][crc>>(8*i)&0xff]
			}
			*c = crc64Sum(^next)
		} else {
			*c = crc64Sum(crc64.Update(uint64(*c), crc64Table, rest[:n]))
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// Sum appends the CRC in the order of xz.
func (c *crc64Sum) Sum(p []byte) []byte { return binary.LittleEndian.AppendUint64(p, uint64(*c)) }
