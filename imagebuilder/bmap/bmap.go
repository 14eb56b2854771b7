// Package bmap reads block maps, which bmaptool and pi-gen put beside images: which
// blocks of an image hold data. The others are zeros that nobody needs.
//
// Only maps of version 2 with SHA-256 are taken: older ones do not say what belongs
// to them.
package bmap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Map tells which parts of an image hold data.
type Map struct {
	Path   string
	Size   int64 // bytes of the image
	Ranges []Range
}

// Range is a part of an image that holds data, in bytes.
type Range struct {
	Start, Length int64
	SHA256        [sha256.Size]byte
}

// Beside looks for the map of the image in a file: "os.img.xz.bmap", "os.img.bmap",
// "os.bmap", as bmaptool does. nil without an error says that there is none.
func Beside(image string) (*Map, error) {
	name := image
	for {
		data, err := os.ReadFile(name + ".bmap")
		if err == nil {
			m, err := Parse(data)
			if err != nil {
				return nil, fmt.Errorf("read %s.bmap: %w", name, err)
			}
			m.Path = name + ".bmap"
			return m, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		ending := filepath.Ext(name)
		if ending == "" {
			return nil, nil
		}
		name = strings.TrimSuffix(name, ending)
	}
}

// document is a map's XML. Numbers have spaces around them.
type document struct {
	Version   string `xml:"version,attr"`
	Size      string `xml:"ImageSize"`
	BlockSize string `xml:"BlockSize"`
	Blocks    string `xml:"BlocksCount"`
	Mapped    string `xml:"MappedBlocksCount"`
	Checksum  string `xml:"ChecksumType"`
	Own       string `xml:"BmapFileChecksum"`
	Ranges    []struct {
		Checksum string `xml:"chksum,attr"`
		Blocks   string `xml:",chardata"`
	} `xml:"BlockMap>Range"`
}

// Parse reads a map and checks all that it says about itself.
func Parse(data []byte) (*Map, error) {
	var d document
	if err := xml.Unmarshal(data, &d); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(d.Version, "2.") || strings.TrimSpace(d.Checksum) != "sha256" {
		return nil, fmt.Errorf("it has version %q and checksums of kind %q, want 2 and sha256", d.Version, strings.TrimSpace(d.Checksum))
	}
	own := strings.TrimSpace(d.Own)
	// The checksum is of the file with zeros in its own place.
	blank := bytes.Replace(data, []byte(own), bytes.Repeat([]byte("0"), len(own)), 1)
	if sum := sha256.Sum256(blank); len(own) != 2*sha256.Size || hex.EncodeToString(sum[:]) != own {
		return nil, errors.New("its own checksum is wrong")
	}
	var n numbers
	m := &Map{Size: n.read(d.Size)}
	size, blocks, mapped := n.read(d.BlockSize), n.read(d.Blocks), n.read(d.Mapped)
	if n.err != nil || size < 512 || size > 1<<20 || blocks > 1<<40/size || (m.Size+size-1)/size != blocks {
		return nil, fmt.Errorf("its sizes contradict each other: %d bytes in %d blocks of %d", m.Size, blocks, size)
	}
	end := int64(0)
	for _, r := range d.Ranges {
		first, last, isRange := strings.Cut(r.Blocks, "-")
		if !isRange {
			last = first
		}
		from, to := n.read(first), n.read(last)+1
		sum, err := hex.DecodeString(r.Checksum)
		if n.err != nil || err != nil || len(sum) != sha256.Size || from < end || to <= from || to > blocks {
			return nil, fmt.Errorf("its range %q is not one", strings.TrimSpace(r.Blocks))
		}
		start := from * size
		m.Ranges = append(m.Ranges, Range{start, min(to*size, m.Size) - start, [sha256.Size]byte(sum)})
		mapped -= to - from
		end = to
	}
	if mapped != 0 {
		return nil, fmt.Errorf("its ranges are %d blocks off what it says", mapped)
	}
	return m, nil
}

// numbers reads numbers until one is none.
type numbers struct{ err error }

func (n *numbers) read(text string) int64 {
	value, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err == nil && value < 0 {
		err = strconv.ErrRange
	}
	n.err = errors.Join(n.err, err)
	return value
}

// Check compares an image with the map, all of it: what the map leaves out must be
// zeros. Only then is it this image's.
func (m *Map) Check(ctx context.Context, image io.ReaderAt) error {
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	pass := func(start, end int64, see func([]byte) bool) error {
		for at := start; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := buf[:min(int64(len(buf)), end-at)]
			if n, err := image.ReadAt(p, at); n < len(p) {
				return fmt.Errorf("read image at byte %d: %w", at, err)
			}
			if !see(p) {
				return fmt.Errorf("compare image with %s: there is data near byte %d, which the map leaves out", m.Path, at)
			}
			at += int64(len(p))
		}
		return nil
	}
	empty := func(p []byte) bool { return bytes.Equal(p, zero[:len(p)]) }
	end := int64(0)
	for _, r := range m.Ranges {
		if err := pass(end, r.Start, empty); err != nil {
			return err
		}
		h := sha256.New()
		end = r.Start + r.Length
		if err := pass(r.Start, end, func(p []byte) bool { h.Write(p); return true }); err != nil {
			return err
		}
		if [sha256.Size]byte(h.Sum(nil)) != r.SHA256 {
			return fmt.Errorf("compare image with %s: its %d bytes at %d are other ones", m.Path, r.Length, r.Start)
		}
	}
	return pass(end, m.Size, empty)
}
