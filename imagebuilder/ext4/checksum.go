package ext4

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c continues the checksum the way ext4 does: without the inversions that
// other users of CRC-32C make before and after.
func crc32c(sum uint32, data []byte) uint32 { return ^crc32.Update(^sum, castagnoli, data) }

// crc16 continues the checksum of group descriptors in file systems that have
// uninit_bg and no metadata_csum: CRC-16 with polynomial 0x8005, bits reversed.
func crc16(sum uint16, data []byte) uint16 {
	for _, b := range data {
		sum ^= uint16(b)
		for range 8 {
			if sum&1 != 0 {
				sum = sum>>1 ^ 0xa001
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}

// checksumAt is the place of a group descriptor's own checksum.
const checksumAt = 0x1e

// checkDescriptor compares a group descriptor with its checksum, which covers
// the group's number and every byte of the descriptor but the checksum's own.
func (f *FS) checkDescriptor(g group) error {
	number := binary.LittleEndian.AppendUint32(nil, uint32(g.number))
	var sum uint16
	switch {
	case f.roCompat.has(roMetadataChecksum):
		s := crc32c(f.seed, number)
		s = crc32c(s, g.raw[:checksumAt])
		s = crc32c(s, []byte{0, 0})
		s = crc32c(s, g.raw[checksumAt+2:])
		sum = uint16(s)
	case f.roCompat.has(roDescriptorChecksum):
		sum = crc16(^uint16(0), f.uuid[:])
		sum = crc16(sum, number)
		sum = crc16(sum, g.raw[:checksumAt])
		sum = crc16(sum, g.raw[checksumAt+2:])
	default:
		return nil
	}
	if sum != g.checksum {
		return fmt.Errorf("checksum of the descriptor is %04x, want %04x: %w", sum, g.checksum, ErrDamaged)
	}
	return nil
}

// checkBitmap compares a group's block bitmap with its checksum, where there
// are such.
func (f *FS) checkBitmap(g group, bitmap []byte) error {
	if !f.roCompat.has(roMetadataChecksum) {
		return nil
	}
	if sum := crc32c(f.seed, bitmap) & g.bitmapChecksumMask; sum != g.bitmapChecksum {
		return fmt.Errorf("checksum of the block bitmap is %x, want %x: %w", sum, g.bitmapChecksum, ErrDamaged)
	}
	return nil
}
