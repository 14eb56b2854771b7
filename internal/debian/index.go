package debian

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"picluster/internal/blob"
	"picluster/internal/web"
)

// Index is what one source offers.
type Index struct {
	Source   Source
	Release  *Release
	Packages []*Package
}

const (
	// maxRelease bounds a Release, in bytes. Debian's largest have half a megabyte.
	maxRelease = 8 << 20
	// maxList bounds a list of packages, in bytes. Debian's main has 50 MB.
	maxList = 512 << 20
)

// Open gets a source's list of packages for the Reader's architecture and "all". What
// it downloads is kept in Dir, so it is downloaded again only when it has changed. It
// returns an UntrustedError when the list cannot be believed.
func (r *Reader) Open(ctx context.Context, s Source) (*Index, error) {
	base, err := web.Parse(s.URI)
	if err != nil {
		return nil, fmt.Errorf("read source %q: %w", s.Suite, err)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	root := base.JoinPath(s.root())
	x := &Index{Source: s}
	if x.Release, err = r.release(ctx, s, root); err != nil {
		return nil, err
	}
	for _, dir := range s.lists(r.Arch) {
		if err := r.list(ctx, x, root, dir); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (s Source) flat() bool { return strings.HasSuffix(s.Suite, "/") }

// check refuses names that would lead out of the repository.
func (s Source) check() error {
	if s.Keyring == nil {
		return fmt.Errorf("read source %s: no keys are named for it", s)
	}
	if s.flat() {
		if len(s.Components) > 0 {
			return fmt.Errorf("read source %s: a flat repository has no components", s)
		}
		return nil
	}
	if len(s.Components) == 0 {
		return fmt.Errorf("read source %s: it names no component", s)
	}
	for _, name := range append([]string{s.Suite}, s.Components...) {
		if !fs.ValidPath(name) {
			return fmt.Errorf("read source %s: %q is no suite or component", s, name)
		}
	}
	return nil
}

// root is where Release is, below the address.
func (s Source) root() string {
	if s.flat() {
		return path.Clean("/" + s.Suite)
	}
	return "dists/" + s.Suite
}

// lists are the directories of the lists of packages, below root.
func (s Source) lists(arch string) []string {
	if s.flat() {
		return []string{"."}
	}
	var dirs []string
	for _, component := range s.Components {
		dirs = append(dirs, component+"/binary-"+arch)
	}
	return dirs
}

// release gets the signed file. Nothing else is asked of a repository that fails here.
func (r *Reader) release(ctx context.Context, s Source, root *url.URL) (*Release, error) {
	data, err := r.signed(ctx, s, root)
	if err != nil {
		return nil, err
	}
	release, err := parseRelease(data)
	if err != nil {
		return nil, err
	}
	seen, err := r.seen(s)
	if err != nil {
		return nil, err
	}
	if err := release.current(r.now(), seen); err != nil {
		return nil, &UntrustedError{Source: web.Shown(root), Reason: err.Error()}
	}
	return release, r.see(s, release.Date)
}

func (r *Reader) signed(ctx context.Context, s Source, root *url.URL) ([]byte, error) {
	at := root.JoinPath("InRelease")
	document, err := r.web().Small(ctx, at, maxRelease)
	if err == nil {
		content, err := s.Keyring.VerifyInline(document, r.now())
		if err != nil {
			return nil, &UntrustedError{Source: web.Shown(at), Reason: "check signature", Err: err}
		}
		return content, nil
	}
	if missing := (*web.Error)(nil); !errors.As(err, &missing) || missing.Status != http.StatusNotFound {
		return nil, err
	}
	at = root.JoinPath("Release")
	if document, err = r.web().Small(ctx, at, maxRelease); err != nil {
		return nil, err
	}
	signature, err := r.web().Small(ctx, root.JoinPath("Release.gpg"), maxSignature)
	if err != nil {
		return nil, err
	}
	if err := s.Keyring.VerifyDetached(document, signature, r.now()); err != nil {
		return nil, &UntrustedError{Source: web.Shown(at), Reason: "check signature", Err: err}
	}
	return document, nil
}

// seenPath is where it stands how new the newest Release of a source was.
func (r *Reader) seenPath(s Source) string {
	return filepath.Join(r.Dir, "seen", fmt.Sprintf("%x", sha256.Sum256([]byte(s.URI+" "+s.Suite))))
}

// seen returns the zero time where nothing is known; a damaged note is nothing.
func (r *Reader) seen(s Source) (time.Time, error) {
	text, err := os.ReadFile(r.seenPath(s))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, string(bytes.TrimSpace(text)))
	if err != nil {
		return time.Time{}, nil
	}
	return t, nil
}

func (r *Reader) see(s Source, date time.Time) error {
	name := r.seenPath(s)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	if _, err := temp.WriteString(date.Format(time.RFC3339) + "\n"); err != nil {
		temp.Close()
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}

// list gets one list of packages and adds what it offers.
func (r *Reader) list(ctx context.Context, x *Index, root *url.URL, dir string) error {
	name, ref, form := x.Release.bestList(dir)
	if name == "" {
		return &FormatError{web.Shown(root), fmt.Sprintf("it has no list of packages for %s (%s)", r.Arch, dir)}
	}
	at := root.JoinPath(name)
	if x.Release.ByHash {
		at = root.JoinPath(path.Dir(name), "by-hash", "SHA256", ref.SHA256)
	}
	file, err := r.fetch(ctx, blob.Store{Dir: filepath.Join(r.Dir, "lists")}, at, ref, "list of packages")
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	most := int64(maxList)
	if plain, ok := x.Release.Files[path.Join(dir, "Packages")]; ok {
		most = min(most, plain.Size)
	}
	text, err := decompress(f, form, most)
	if err != nil {
		return fmt.Errorf("read %s: %w", web.Shown(at), err)
	}
	defer text.Close()
	for stanza, err := range Stanzas(text, web.Shown(at)) {
		if err != nil {
			return err
		}
		if arch := stanza.Get("Architecture"); arch != r.Arch && arch != "all" {
			continue // a flat repository has one list for all
		}
		p, err := parseOffer(stanza, x.Source)
		if err != nil {
			return &FormatError{web.Shown(at), err.Error()}
		}
		x.Packages = append(x.Packages, p)
	}
	return nil
}

// bestList returns the smallest form of a list that can be read.
func (r *Release) bestList(dir string) (name string, ref blob.Ref, form string) {
	for _, form := range []string{".xz", ".zst", ".gz", ""} {
		name := path.Join(dir, "Packages"+form)
		if ref, ok := r.Files[name]; ok {
			return name, ref, form
		}
	}
	return "", blob.Ref{}, ""
}

// Fetch downloads a package's file unless it is there, and returns its path, which is
// in Dir and no caller's to change.
func (r *Reader) Fetch(ctx context.Context, p *Package) (string, error) {
	base, err := web.Parse(p.Source.URI)
	if err != nil {
		return "", fmt.Errorf("get package %s: %w", p, err)
	}
	if p.Source.flat() {
		base = base.JoinPath(p.Source.root())
	}
	return r.fetch(ctx, r.store(), base.JoinPath(strings.Split(p.path, "/")...), p.File, p.Name)
}

func (r *Reader) fetch(ctx context.Context, into blob.Store, at *url.URL, ref blob.Ref, what string) (string, error) {
	var progress func(done int64)
	if r.Progress != nil {
		progress = func(done int64) { r.Progress(what, done, ref.Size) }
	}
	file, err := into.Fetch(ctx, r.web(), at, ref, progress)
	if damaged := (*blob.DigestError)(nil); errors.As(err, &damaged) {
		return "", &UntrustedError{Source: web.Shown(at), Reason: "it is not what the signed list says", Err: err}
	}
	return file, err
}
