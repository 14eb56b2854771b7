package debian

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strconv"
	"strings"
)

// Entry is a file, directory or link in a package. Its Name is clean and relative to
// the root ("usr/bin/runc"); so is Linkname of a hard link. Content may be read until
// the next entry is asked for.
type Entry struct {
	*tar.Header
	Content io.Reader
}

const (
	// maxDeb bounds what a package unpacks to, in bytes. Debian's largest have 4 GB.
	maxDeb = 8 << 30
	// maxControl bounds the package's control files, in bytes.
	maxControl = 64 << 20
)

// Contents reads what a package (deb(5): an ar archive with two tar archives in it)
// installs, in its order. It ends after the first error.
func Contents(deb io.Reader) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := member(deb, "data.tar", maxDeb, func(r io.Reader) error {
			files := tar.NewReader(r)
			for {
				header, err := files.Next()
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				if err := cleanNames(header); err != nil {
					return err
				}
				if !yield(Entry{header, files}, nil) {
					return errStop
				}
			}
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(Entry{}, err)
		}
	}
}

var errStop = errors.New("stopped by the reader")

// Control returns the package's own description.
func Control(deb io.Reader) (Stanza, error) {
	var found Stanza
	err := member(deb, "control.tar", maxControl, func(r io.Reader) error {
		files := tar.NewReader(r)
		for {
			header, err := files.Next()
			if err == io.EOF {
				return errors.New("it has no file control")
			}
			if err != nil {
				return err
			}
			if path.Clean(header.Name) != "control" {
				continue
			}
			for stanza, err := range Stanzas(files, "control") {
				found = stanza
				return err
			}
			return errors.New("its file control is empty")
		}
	})
	return found, err
}

// cleanNames makes names relative to the root, and refuses those that lead out of it:
// who unpacks them may not look.
func cleanNames(h *tar.Header) error {
	clean := func(name string) (string, error) {
		name = path.Clean(strings.TrimPrefix(name, "/"))
		if !fs.ValidPath(name) {
			return "", fmt.Errorf("name %q leads out of it", name)
		}
		return name, nil
	}
	var err error
	if h.Name, err = clean(h.Name); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		h.Linkname, err = clean(h.Linkname)
	}
	return err
}

// member gives the decompressed part of a package whose name begins so to read, and
// sees to it that it is whole: checksums come last.
func member(deb io.Reader, prefix string, most int64, read func(io.Reader) error) error {
	err := func() error {
		name, content, err := findMember(deb, prefix)
		if err != nil {
			return err
		}
		plain, err := decompress(content, strings.TrimPrefix(name, prefix), most)
		if err != nil {
			return err
		}
		defer plain.Close()
		if err := read(plain); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, plain); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil || content.N > 0 {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		return nil
	}()
	if err != nil && !errors.Is(err, errStop) {
		return fmt.Errorf("read package: %w", err)
	}
	return err
}

// findMember walks along an ar archive: a magic line, then members, each behind a head
// of 60 bytes, at even offsets (ar(5)).
func findMember(deb io.Reader, prefix string) (string, *io.LimitedReader, error) {
	magic := make([]byte, 8)
	if _, err := io.ReadFull(deb, magic); err != nil || string(magic) != "!<arch>\n" {
		return "", nil, errors.New("it is no package")
	}
	for first := true; ; first = false {
		head := make([]byte, 60)
		if _, err := io.ReadFull(deb, head); err == io.EOF {
			return "", nil, fmt.Errorf("it has no %s", prefix)
		} else if err != nil {
			return "", nil, err
		}
		size, err := strconv.ParseInt(string(bytes.TrimRight(head[48:58], " ")), 10, 64)
		if err != nil || size < 0 || string(head[58:]) != "`\n" {
			return "", nil, errors.New("its ar archive is damaged")
		}
		name := strings.TrimSuffix(string(bytes.TrimRight(head[:16], " ")), "/")
		if first && name != "debian-binary" {
			return "", nil, errors.New("it is no package")
		}
		if strings.HasPrefix(name, prefix) {
			return name, &io.LimitedReader{R: deb, N: size}, nil
		}
		if _, err := io.CopyN(io.Discard, deb, size+size%2); err != nil {
			return "", nil, err
		}
	}
}
