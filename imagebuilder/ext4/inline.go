package ext4

import (
	"encoding/binary"
	"fmt"
)

// inlineContent returns the content of a file that lives in its inode: the
// first 60 bytes in i_block, the rest in the extended attribute system.data
// behind the inode's fields.
func (n *inode) inlineContent() ([]byte, error) {
	data := append([]byte(nil), n.block...)
	if n.size > int64(len(data)) {
		rest, err := n.systemData()
		if err != nil {
			return nil, fmt.Errorf("inode %d: inline data: %w", n.number, err)
		}
		data = append(data, rest...)
	}
	if n.size > int64(len(data)) {
		return nil, fmt.Errorf("inode %d: %d bytes of inline data, size %d: %w", n.number, len(data), n.size, ErrDamaged)
	}
	return data[:n.size], nil
}

// systemData looks for the attribute among those in the inode.
func (n *inode) systemData() ([]byte, error) {
	const (
		fixedSize  = 128
		magic      = 0xea020000
		headerSize = 16
		system     = 7 // name index of "system."
	)
	le16 := binary.LittleEndian.Uint16
	le32 := binary.LittleEndian.Uint32
	if len(n.raw) < fixedSize+2 {
		return nil, fmt.Errorf("no room for attributes: %w", ErrDamaged)
	}
	start := fixedSize + int(le16(n.raw[fixedSize:])) + 4
	if start > len(n.raw) || le32(n.raw[start-4:]) != magic {
		return nil, fmt.Errorf("no attributes: %w", ErrDamaged)
	}
	entries := n.raw[start:] // values are found by their distance from here
	for at := 0; at+headerSize <= len(entries); {
		e := entries[at:]
		nameLen, offset, size := int(e[0]), int(le16(e[2:])), int(le32(e[8:]))
		if le32(e) == 0 {
			break
		}
		if headerSize+nameLen > len(e) {
			return nil, fmt.Errorf("attribute name of %d bytes: %w", nameLen, ErrDamaged)
		}
		if e[1] == system && string(e[headerSize:headerSize+nameLen]) == "data" {
			if size < 0 || offset+size > len(entries) || offset+size < offset {
				return nil, fmt.Errorf("attribute of %d bytes at %d: %w", size, offset, ErrDamaged)
			}
			return entries[offset : offset+size], nil
		}
		at += (headerSize + nameLen + 3) &^ 3
	}
	return nil, fmt.Errorf("no attribute system.data: %w", ErrDamaged)
}
