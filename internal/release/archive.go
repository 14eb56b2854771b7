package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// writeArchive packs the directory tree under its own name. Owner, date and order
// are no accident of this machine, and neither are permissions: what is in bin/ may
// be run.
func writeArchive(path, tree string, date time.Time) error {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing, once it has its name
	defer f.Close()
	// The header of gzip has neither a name nor a date unless they are set.
	zipped := gzip.NewWriter(f)
	packed := tar.NewWriter(zipped)
	// WalkDir goes through names in their order.
	err = filepath.WalkDir(tree, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return addToArchive(packed, tree, file, entry, date)
	})
	if err != nil {
		return fmt.Errorf("pack %s: %w", filepath.Base(tree), err)
	}
	for _, close := range []func() error{packed.Close, zipped.Close, f.Close} {
		if err := close(); err != nil {
			return err
		}
	}
	return os.Rename(f.Name(), path)
}

func addToArchive(w *tar.Writer, tree, file string, entry fs.DirEntry, date time.Time) error {
	name, err := filepath.Rel(filepath.Dir(tree), file)
	if err != nil {
		return err
	}
	header := &tar.Header{Name: filepath.ToSlash(name), Uname: "root", Gname: "root", ModTime: date}
	switch {
	case entry.IsDir():
		header.Typeflag, header.Mode, header.Name = tar.TypeDir, 0o755, header.Name+"/"
		return w.WriteHeader(header)
	case !entry.Type().IsRegular():
		return fmt.Errorf("%s is no regular file", name)
	case filepath.Dir(file) == filepath.Join(tree, "bin"):
		header.Mode = 0o755
	default:
		header.Mode = 0o644
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// digestOf is the digest of a file, in hexadecimal digits.
func digestOf(h hash.Hash, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
