// Package support is the archive that goes with a question to others: what is known
// of a cluster, without its secrets. Redactor is the only way into it.
package support

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"time"
)

// Archive is a .tar.gz that is being written.
type Archive struct {
	redact *Redactor
	zip    *gzip.Writer
	tar    *tar.Writer
	dir    string
	now    time.Time
	failed []string
}

// NewArchive writes to w; all names are below dir. The caller closes it.
func NewArchive(w io.Writer, dir string, redact *Redactor, now time.Time) *Archive {
	z := gzip.NewWriter(w)
	return &Archive{redact: redact, zip: z, tar: tar.NewWriter(z), dir: dir, now: now}
}

// Add puts a text into the archive.
func (a *Archive) Add(name string, text []byte) error {
	text = a.redact.Text(text)
	head := &tar.Header{Name: a.dir + "/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: a.now, Typeflag: tar.TypeReg}
	if err := a.tar.WriteHeader(head); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if _, err := a.tar.Write(text); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// Missing says why something is not in the archive; missing.txt lists it.
func (a *Archive) Missing(name string, err error) {
	a.failed = append(a.failed, fmt.Sprintf("%s: %v\n", name, err))
}

// Close ends the archive.
func (a *Archive) Close() error {
	if len(a.failed) > 0 {
		var all []byte
		for _, line := range a.failed {
			all = append(all, line...)
		}
		if err := a.Add("missing.txt", all); err != nil {
			return err
		}
	}
	if err := a.tar.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if err := a.zip.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}
