package ext4

import "fmt"

// feature is a set of feature bits.
type feature uint32

const (
	compatSparseSuper2 feature = 0x200

	incompatRecover      feature = 0x4
	incompat64bit        feature = 0x80
	incompatChecksumSeed feature = 0x2000

	roSparseSuper        feature = 0x1
	roDescriptorChecksum feature = 0x10
	roMetadataChecksum   feature = 0x400
	roOrphanPresent      feature = 0x10000
)

func (f feature) has(bit feature) bool { return f&bit != 0 }

// The features of the two incompatible kinds that this package can live with, under
// the names that e2fsprogs gives them: it reads them, or they concern neither
// allocation nor the files it reads. Left out on purpose: meta_bg and bigalloc (other
// descriptor and bitmap layouts), journal_dev, mmp, compression, snapshots.
var (
	incompatNames = map[feature]string{
		0x2: "filetype", incompatRecover: "needs_recovery", 0x40: "extent", incompat64bit: "64bit", 0x200: "flex_bg",
		0x400: "ea_inode", incompatChecksumSeed: "metadata_csum_seed", 0x4000: "large_dir", 0x8000: "inline_data",
		0x10000: "encrypt", 0x20000: "casefold",
	}
	roCompatNames = map[feature]string{
		roSparseSuper: "sparse_super", 0x2: "large_file", 0x4: "btree_dir", 0x8: "huge_file", roDescriptorChecksum: "uninit_bg",
		0x20: "dir_nlink", 0x40: "extra_isize", 0x100: "quota", roMetadataChecksum: "metadata_csum", 0x1000: "read-only",
		0x2000: "project", 0x8000: "verity", roOrphanPresent: "orphan_present",
	}
)

func (s *superblock) checkFeatures() error {
	for _, kind := range []struct {
		name  string
		have  feature
		known map[feature]string
	}{{"incompatible", s.incompat, incompatNames}, {"read-only compatible", s.roCompat, roCompatNames}} {
		unknown := kind.have
		for bit := range kind.known {
			unknown &^= bit
		}
		if unknown != 0 {
			return fmt.Errorf("%s features %#x: %w", kind.name, uint32(unknown), ErrUnsupported)
		}
	}
	return nil
}
