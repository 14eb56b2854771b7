package ext4

import (
	"fmt"
	"maps"
	"slices"
)

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

// The features under the names that e2fsprogs gives them. Of the two
// incompatible kinds these are the ones that this package can live with: it
// reads them, or they concern neither allocation nor the files it reads. Left
// out on purpose: meta_bg and bigalloc (other descriptor and bitmap layouts),
// journal_dev, mmp, compression, snapshots.
var (
	compatNames = map[feature]string{
		0x1: "dir_prealloc", 0x2: "imagic_inodes", 0x4: "has_journal", 0x8: "ext_attr", 0x10: "resize_inode",
		0x20: "dir_index", compatSparseSuper2: "sparse_super2", 0x400: "fast_commit", 0x800: "stable_inodes", 0x1000: "orphan_file",
	}
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

// Features returns the names of the file system's features as e2fsprogs spells
// them. Compatible ones without a name here are left out.
func (f *FS) Features() []string {
	var names []string
	for _, kind := range []struct {
		have  feature
		known map[feature]string
	}{{f.compat, compatNames}, {f.incompat, incompatNames}, {f.roCompat, roCompatNames}} {
		for _, bit := range slices.Sorted(maps.Keys(kind.known)) {
			if kind.have.has(bit) {
				names = append(names, kind.known[bit])
			}
		}
	}
	return names
}
