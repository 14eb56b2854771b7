package ext4

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// superblock is what the rest of the package needs of the superblock, checked
// for consistency. Sizes are in bytes unless they count blocks.
type superblock struct {
	blockSize      int64
	blocks         int64
	firstBlock     int64 // 1 with 1 KiB blocks: block 0 holds the boot sector then
	blocksPerGroup int64
	groups         int64
	descriptorSize int64
	reservedGDT    int64 // blocks kept behind the descriptors for growing
	backupGroups   [2]int64

	inodes         int64
	inodesPerGroup int64
	inodeSize      int64

	compat, incompat, roCompat feature
	state                      uint16
	seed                       uint32 // starts every metadata checksum
	uuid                       [16]byte
	label                      string
}

func parseSuperblock(raw []byte) (superblock, error) {
	le16 := func(at int) uint16 { return binary.LittleEndian.Uint16(raw[at:]) }
	le32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(raw[at:])) }

	if le16(0x38) != 0xef53 {
		return superblock{}, fmt.Errorf("no ext4 superblock: %w", ErrUnsupported)
	}
	s := superblock{
		blocks:         le32(0x04),
		firstBlock:     le32(0x14),
		blocksPerGroup: le32(0x20),
		descriptorSize: 32,
		reservedGDT:    int64(le16(0xce)),
		backupGroups:   [2]int64{le32(0x24c), le32(0x250)},
		inodes:         le32(0x00),
		inodesPerGroup: le32(0x28),
		inodeSize:      128,
		state:          le16(0x3a),
		uuid:           [16]byte(raw[0x68:]),
		label:          strings.TrimRight(string(raw[0x78:0x88]), "\x00"),
	}
	if revision := le32(0x4c); revision > 0 {
		s.inodeSize = int64(le16(0x58))
		s.compat, s.incompat, s.roCompat = feature(le32(0x5c)), feature(le32(0x60)), feature(le32(0x64))
	}
	if err := s.checkFeatures(); err != nil {
		return superblock{}, err
	}
	if s.roCompat.has(roMetadataChecksum) {
		if want, got := uint32(le32(0x3fc)), crc32c(^uint32(0), raw[:0x3fc]); got != want {
			return superblock{}, fmt.Errorf("checksum of the superblock is %08x, want %08x: %w", got, want, ErrDamaged)
		}
		s.seed = crc32c(^uint32(0), s.uuid[:])
		if s.incompat.has(incompatChecksumSeed) {
			s.seed = uint32(le32(0x270))
		}
	}
	if s.incompat.has(incompat64bit) {
		s.blocks |= le32(0x150) << 32
		s.descriptorSize = int64(le16(0xfe))
	}
	return s, s.checkGeometry(le32(0x18))
}

// checkGeometry derives what depends on the block size and refuses numbers that
// no mke2fs makes, so that all later arithmetic stays in range.
func (s *superblock) checkGeometry(logBlockSize int64) error {
	if logBlockSize > 6 {
		return fmt.Errorf("block size 1024 << %d: %w", logBlockSize, ErrDamaged)
	}
	s.blockSize = 1024 << logBlockSize
	perBitmap := 8 * s.blockSize
	powerOf2 := func(n int64) bool { return n&(n-1) == 0 }
	switch {
	case s.blocksPerGroup < 8 || s.blocksPerGroup > perBitmap || s.blocksPerGroup%8 != 0:
		return fmt.Errorf("%d blocks per group: %w", s.blocksPerGroup, ErrDamaged)
	case s.inodesPerGroup < 1 || s.inodesPerGroup > perBitmap:
		return fmt.Errorf("%d inodes per group: %w", s.inodesPerGroup, ErrDamaged)
	case s.inodeSize < 128 || s.inodeSize > s.blockSize || !powerOf2(s.inodeSize):
		return fmt.Errorf("inodes of %d bytes: %w", s.inodeSize, ErrDamaged)
	case s.descriptorSize != 32 && s.descriptorSize != 64:
		return fmt.Errorf("group descriptors of %d bytes: %w", s.descriptorSize, ErrUnsupported)
	case s.firstBlock > 1 || s.blocks <= s.firstBlock || s.blocks > 1<<48:
		return fmt.Errorf("blocks %d to %d: %w", s.firstBlock, s.blocks, ErrDamaged)
	}
	s.groups = ceilDiv(s.blocks-s.firstBlock, s.blocksPerGroup)
	if s.inodes > s.groups*s.inodesPerGroup {
		return fmt.Errorf("%d inodes in %d groups of %d: %w", s.inodes, s.groups, s.inodesPerGroup, ErrDamaged)
	}
	return nil
}

// descriptorBlocks is the length of the group descriptor table in blocks.
func (s *superblock) descriptorBlocks() int64 {
	return ceilDiv(s.groups*s.descriptorSize, s.blockSize)
}

// inodeTableBlocks is the length of each group's inode table in blocks.
func (s *superblock) inodeTableBlocks() int64 {
	return ceilDiv(s.inodesPerGroup*s.inodeSize, s.blockSize)
}

// groupBlocks is the number of blocks in group n; the last may be short.
func (s *superblock) groupBlocks(n int64) int64 {
	return min(s.blocksPerGroup, s.blocks-s.firstBlock-n*s.blocksPerGroup)
}

// hasSuperblock reports whether group n begins with a copy of the superblock
// and the group descriptors.
func (s *superblock) hasSuperblock(n int64) bool {
	switch {
	case n == 0:
		return true
	case s.compat.has(compatSparseSuper2):
		return n == s.backupGroups[0] || n == s.backupGroups[1]
	case !s.roCompat.has(roSparseSuper) || n == 1:
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		power := base
		for power < n {
			power *= base
		}
		if power == n {
			return true
		}
	}
	return false
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

// Label returns the volume's label, usually "rootfs".
func (f *FS) Label() string { return f.label }

// UUID returns the volume's UUID in its usual form.
func (f *FS) UUID() string {
	u := f.uuid
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// CheckClean returns nil if the file system was unmounted cleanly, and an error
// that wraps ErrUnclean and says why if not. ReadFile works on both, but what it
// reads of an unclean one may be out of date.
func (f *FS) CheckClean() error {
	const stateValid, stateErrors, stateOrphans = 1, 2, 4
	switch {
	case f.incompat.has(incompatRecover):
		return fmt.Errorf("its journal needs to be replayed: %w", ErrUnclean)
	case f.roCompat.has(roOrphanPresent), f.state&stateOrphans != 0:
		return fmt.Errorf("its orphan files need to be deleted: %w", ErrUnclean)
	case f.state&stateErrors != 0:
		return fmt.Errorf("it is marked as having errors: %w", ErrUnclean)
	case f.state&stateValid == 0:
		return fmt.Errorf("it is marked as mounted: %w", ErrUnclean)
	}
	return nil
}
