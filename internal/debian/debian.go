// Package debian reads Debian's package archives without Debian: signed apt
// repositories, what packages need each other, and what is in a .deb. It runs no
// program, needs no root and writes nothing but its cache, so a laptop of any kind
// can gather what a Pi will install, and an image can be made of packages.
//
// Nothing of an archive is believed that is not covered by a signature of a key that
// the caller named: the signature covers Release, Release the digests of the lists of
// packages, and these the digests of the packages. An old signed Release, which a
// mirror could show for ever, is refused once it has expired, or once a newer one was
// seen.
//
//	r := debian.Reader{Arch: "arm64", Dir: cache, Web: client}
//	index, err := r.Open(ctx, debian.Source{URI: "http://ftp.debian.org/debian", Suite: "trixie", Components: []string{"main"}, Keyring: debian.ArchiveKeys()})
//	packages, err := debian.Resolve(debian.Request{From: []*debian.Index{index}, Want: []string{"containerd"}, There: installed})
//	path, err := r.Fetch(ctx, packages[0])
//
// The forms are those of Debian's policy manual (control files, versions, relations)
// and of https://wiki.debian.org/DebianRepository/Format.
package debian

import (
	"fmt"
	"path/filepath"
	"time"

	"picluster/internal/blob"
	"picluster/internal/web"
)

// Source is one suite of an apt repository, as sources.list names it.
type Source struct {
	URI        string   // "http://ftp.debian.org/debian"
	Suite      string   // "trixie"; with a slash at its end ("/"), the directory of a flat repository
	Components []string // "main"; none in a flat repository
	Keyring    *Keyring // whose signature counts
}

func (s Source) String() string {
	text := s.URI + " " + s.Suite
	for _, c := range s.Components {
		text += " " + c
	}
	return text
}

// Reader reads sources for one architecture. It may be used by several goroutines at
// once, if Progress may.
type Reader struct {
	Arch     string                               // Debian's name: "arm64"
	Dir      string                               // cache; it may be deleted at any time, which forgets how new the Releases seen were
	Files    blob.Store                           // where packages go, by their digest; the zero value: below Dir
	Web      *web.Client                          // nil: one with defaults
	Now      func() time.Time                     // nil: time.Now
	Progress func(what string, done, total int64) // bytes of a download; may be nil
}

func (r *Reader) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

func (r *Reader) web() *web.Client {
	if r.Web == nil {
		return &web.Client{}
	}
	return r.Web
}

func (r *Reader) store() blob.Store {
	if r.Files.Dir == "" {
		return blob.Store{Dir: filepath.Join(r.Dir, "files")}
	}
	return r.Files
}

// UntrustedError says that what a repository gives cannot be believed.
type UntrustedError struct {
	Source string // address of the repository or file
	Reason string
	Err    error // may be nil
}

func (e *UntrustedError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("trust %s: %s: %v", e.Source, e.Reason, e.Err)
	}
	return fmt.Sprintf("trust %s: %s", e.Source, e.Reason)
}

func (e *UntrustedError) Unwrap() error { return e.Err }

// FormatError says that a file is not of the form it should have.
type FormatError struct {
	What   string // the file
	Reason string
}

func (e *FormatError) Error() string { return fmt.Sprintf("read %s: %s", e.What, e.Reason) }
