package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// layerWriter collects the files of a layer, in memory. The zero value is an empty
// one. Directories above a file come by themselves.
type layerWriter struct {
	buf  bytes.Buffer
	tar  *tar.Writer
	made map[string]bool
}

// add writes an entry, of which only what matters to a container is kept.
func (w *layerWriter) add(h *tar.Header, content io.Reader) error {
	if w.tar == nil {
		w.tar, w.made = tar.NewWriter(&w.buf), map[string]bool{".": true}
	}
	name := strings.TrimPrefix(filepath.Clean("/"+h.Name), "/")
	if err := w.parents(filepath.Dir(name)); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		if w.made[name] || name == "" {
			return nil
		}
		w.made[name] = true
		name += "/"
	}
	entry := &tar.Header{Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Mode: h.Mode, Size: h.Size, Uid: h.Uid, Gid: h.Gid}
	if err := w.tar.WriteHeader(entry); err != nil {
		return fmt.Errorf("write layer: %s: %w", name, err)
	}
	if content == nil {
		return nil
	}
	if _, err := io.Copy(w.tar, content); err != nil {
		return fmt.Errorf("write layer: %s: %w", name, err)
	}
	return nil
}

func (w *layerWriter) parents(dir string) error {
	if w.made[dir] {
		return nil
	}
	return w.add(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil)
}

func (w *layerWriter) file(name string, mode int64, data []byte) error {
	return w.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}, bytes.NewReader(data))
}

func (w *layerWriter) link(name, target string) error {
	return w.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, nil)
}

// copy adds a program.
func (w *layerWriter) copy(name, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return w.file(name, 0o755, data)
}

// layer is what was written.
func (w *layerWriter) layer() (v1.Layer, error) {
	if err := w.tar.Close(); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(w.buf.Bytes())), nil }
	// Made once, unpacked on every node of every test.
	layer, err := tarball.LayerFromOpener(open, tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return layer, nil
}
