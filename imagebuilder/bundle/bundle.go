// Package bundle gathers a payload: everything that the nodes of a cluster install, so
// that they need no network. What is in a payload, and what becomes of it on a Pi, is
// package payload's business; which packages need which, package debian's.
//
// It works in one directory, in which every file is named by its SHA-256. What is
// there is not downloaded again, also after an interruption. The list of it all is
// written last: without it the directory is no payload.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"picluster/internal/blob"
	"picluster/internal/debian"
	"picluster/internal/payload"
	"picluster/internal/spec"
	"picluster/internal/web"
)

// Request says what to gather.
type Request struct {
	Cluster  *spec.Cluster
	Release  string            // Debian's code name: "trixie"
	Arch     string            // Debian's name: "arm64"
	There    *debian.Installed // what the nodes have already; nil is nothing
	Base     string            // SHA-256 of the image that There is of, or ""
	Packages []string          // of Debian, besides those that every node needs
	Images   []string          // besides those that every cluster needs
	Archives []string          // paths of archives with images that no registry has

	Dir   string // of the payload
	Cache string // of apt's lists
	Web   *web.Client
	Keys  *debian.Keyring  // that Debian signs with; nil: its own
	Now   func() time.Time // nil: time.Now

	// Progress is called with how many bytes of a thing are there; total 0 means that
	// nobody knows. It may be nil.
	Progress func(what string, done, total int64)
}

func (q *Request) progress(what string, done, total int64) {
	if q.Progress != nil {
		q.Progress(what, done, total)
	}
}

func (q *Request) store() blob.Store { return blob.Store{Dir: q.Dir} }

// Make gathers the payload and returns its list. An earlier payload in the directory
// is one until the new one is whole.
func Make(ctx context.Context, q Request) (*payload.Manifest, error) {
	m := &payload.Manifest{Version: payload.Version, Kubernetes: q.Cluster.Kubernetes.Version,
		Release: q.Release, Arch: q.Arch, Base: q.Base}
	var err error
	if m.Packages, err = q.packages(ctx); err != nil {
		return nil, err
	}
	names, err := q.imageNames(m.Packages)
	if err != nil {
		return nil, err
	}
	if m.Images, err = q.images(ctx, names); err != nil {
		return nil, err
	}
	if err := q.write(m); err != nil {
		return nil, err
	}
	return m, q.sweep(m)
}

// write puts the list in place in one go.
func (q *Request) write(m *payload.Manifest) error {
	data, err := m.Marshal()
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(q.Dir, ".manifest-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), filepath.Join(q.Dir, payload.ManifestName))
}

// sweep removes what an earlier payload had and this one has not.
func (q *Request) sweep(m *payload.Manifest) error {
	entries, err := os.ReadDir(q.Dir)
	if err != nil {
		return err
	}
	files := m.Files()
	for _, e := range entries {
		name := e.Name()
		ours := len(name) == 64 || filepath.Ext(name) == ".part"
		if ours && !slices.ContainsFunc(files, func(f payload.File) bool { return f.SHA256 == name }) {
			if err := os.Remove(filepath.Join(q.Dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Bundle is a payload in a directory.
type Bundle struct {
	*payload.Manifest
	Dir string
}

// Open reads a payload's list and every file of it. The error wraps fs.ErrNotExist if
// there is no payload.
func Open(dir string) (*Bundle, error) {
	list, err := os.ReadFile(filepath.Join(dir, payload.ManifestName))
	if err != nil {
		return nil, fmt.Errorf("open payload: %w", err)
	}
	m, err := payload.Parse(list)
	if err != nil {
		return nil, err
	}
	b := &Bundle{m, dir}
	for _, f := range m.Files() {
		if err := blob.Verify(b.Path(f.Ref), f.Ref); err != nil {
			if errors.Is(err, fs.ErrNotExist) { // a payload without a file is one all the same
				err = fmt.Errorf("file %s is missing", f.SHA256)
			}
			return nil, fmt.Errorf("open payload: %w", err)
		}
	}
	return b, nil
}

// Path is where a file of the payload is.
func (b *Bundle) Path(r blob.Ref) string { return blob.Store{Dir: b.Dir}.Path(r) }
