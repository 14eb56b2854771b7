// Package debiantest makes apt repositories for tests: packages, lists and signatures
// in memory, which real apt takes as well as package debian does.
package debiantest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Key signs repositories.
type Key struct{ entity *openpgp.Entity }

// NewKey makes a key that is valid from a month before now.
func NewKey(t testing.TB, owner string) *Key {
	t.Helper()
	made := func() time.Time { return time.Now().Add(-30 * 24 * time.Hour) }
	// RSA, because the gpgv of every Debian knows it.
	e, err := openpgp.NewEntity(owner, "", owner+"@example.org", &packet.Config{Time: made, Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048})
	if err != nil {
		t.Fatal(err)
	}
	return &Key{e}
}

// Public returns the public key, armoured.
func (k *Key) Public(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, "PGP PUBLIC KEY BLOCK", nil)
	if err == nil {
		err = k.entity.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// Fingerprint returns that of the primary key, hexadecimal.
func (k *Key) Fingerprint() string { return fmt.Sprintf("%X", k.entity.PrimaryKey.Fingerprint) }

// Inline signs a document as InRelease is.
func (k *Key) Inline(t testing.TB, document []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, k.entity.PrivateKey, nil)
	if err == nil {
		_, err = w.Write(document)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// Detached signs a document as Release.gpg does.
func (k *Key) Detached(t testing.TB, document []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	err := openpgp.ArmoredDetachSign(&out, []*openpgp.Entity{k.entity}, bytes.NewReader(document), nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), '\n')
}

// Deb is a package to be made. Control needs Package, Version and Architecture; what
// dpkg demands besides is added.
type Deb struct {
	Control string            // lines of fields
	Files   map[string]string // by absolute path; what is below /usr/bin can be run
	Scripts map[string]string // postinst …

	Packed []byte // the package, where somebody has made it; Control is all that counts besides
}

// Field returns a field of the control file.
func (d Deb) Field(name string) string {
	for line := range strings.Lines(d.Control) {
		if key, value, ok := strings.Cut(line, ":"); ok && key == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (d Deb) control() string {
	return strings.TrimSpace(d.Control) + "\nMaintainer: nobody <nobody@example.org>\nDescription: made for a test\n"
}

// Bytes makes the package.
func (d Deb) Bytes() []byte {
	if d.Packed != nil {
		return d.Packed
	}
	control := map[string]string{"control": d.control()}
	maps.Copy(control, d.Scripts)
	var out bytes.Buffer
	out.WriteString("!<arch>\n")
	member(&out, "debian-binary", []byte("2.0\n"))
	member(&out, "control.tar.gz", archive(control, 0o755))
	member(&out, "data.tar.gz", archive(d.Files, 0o644))
	return out.Bytes()
}

func member(out *bytes.Buffer, name string, data []byte) {
	fmt.Fprintf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", len(data))
	out.Write(data)
	if len(data)%2 == 1 {
		out.WriteByte('\n')
	}
}

// archive makes a tar.gz with the directories that the files need.
func archive(files map[string]string, mode int64) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	put := func(h tar.Header, content string) {
		h.Format, h.Size = tar.FormatGNU, int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			panic(err)
		}
	}
	put(tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	made := map[string]bool{}
	var parents func(dir string)
	parents = func(dir string) {
		if dir == "/" || dir == "." || made[dir] {
			return
		}
		parents(path.Dir(dir))
		made[dir] = true
		put(tar.Header{Name: "./" + strings.TrimPrefix(dir, "/") + "/", Typeflag: tar.TypeDir, Mode: 0o755}, "")
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parents(path.Dir(name))
		m := mode
		if path.Dir(name) == "/usr/bin" {
			m = 0o755
		}
		put(tar.Header{Name: "./" + strings.TrimPrefix(name, "/"), Typeflag: tar.TypeReg, Mode: m}, files[name])
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// Repo is a repository of one suite, or a flat one.
type Repo struct {
	Key         *Key
	Debs        []Deb
	Suite       string    // "" makes a flat repository
	Date, Until time.Time // Until zero: valid for ever
	ByHash      bool
	NoInline    bool // Release and Release.gpg in the place of InRelease

	// Stanza, which may be nil, changes what the list says of a package.
	Stanza func(d Deb, stanza string) string
}

// Files returns everything by its path below the repository's address.
func (r *Repo) Files(t testing.TB) map[string][]byte {
	t.Helper()
	files, lists := map[string][]byte{}, map[string]*bytes.Buffer{}
	for _, d := range r.Debs {
		data := d.Bytes()
		arch := d.Field("Architecture")
		name := fmt.Sprintf("%s_%s_%s.deb", d.Field("Package"), strings.ReplaceAll(d.Field("Version"), ":", "%3a"), arch)
		at := "./" + name
		if r.Suite != "" {
			at = "pool/main/" + name
		}
		stanza := fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %x\n", d.control(), at, len(data), sha256.Sum256(data))
		if r.Stanza != nil {
			stanza = r.Stanza(d, stanza)
		}
		files[path.Clean(at)] = data
		for _, dir := range r.listsFor(arch) {
			if lists[dir] == nil {
				lists[dir] = &bytes.Buffer{}
			}
			fmt.Fprintln(lists[dir], stanza)
		}
	}
	root := "."
	if r.Suite != "" {
		root = "dists/" + r.Suite
	}
	r.release(t, root, files, lists)
	return files
}

// listsFor are the directories of the lists that a package of that architecture is in.
func (r *Repo) listsFor(arch string) []string {
	switch {
	case r.Suite == "":
		return []string{"."}
	case arch == "all":
		return []string{"main/binary-amd64", "main/binary-arm64"}
	}
	return []string{"main/binary-" + arch}
}

func (r *Repo) release(t testing.TB, root string, files map[string][]byte, lists map[string]*bytes.Buffer) {
	var b strings.Builder
	const form = "Mon, 02 Jan 2006 15:04:05 UTC"
	fmt.Fprintf(&b, "Origin: test\nSuite: %s\nCodename: %s\nDate: %s\n", r.Suite, r.Suite, r.Date.UTC().Format(form))
	if !r.Until.IsZero() {
		fmt.Fprintf(&b, "Valid-Until: %s\n", r.Until.UTC().Format(form))
	}
	if r.ByHash {
		b.WriteString("Acquire-By-Hash: yes\n")
	}
	b.WriteString("Architectures: amd64 arm64\nComponents: main\nSHA256:\n")
	for _, dir := range slices.Sorted(maps.Keys(lists)) {
		plain := lists[dir].Bytes()
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write(plain)
		_ = z.Close()
		for _, f := range []struct {
			name string
			data []byte
		}{{"Packages", plain}, {"Packages.gz", packed.Bytes()}} {
			fmt.Fprintf(&b, " %x %d %s\n", sha256.Sum256(f.data), len(f.data), path.Join(dir, f.name))
			files[path.Join(root, dir, f.name)] = f.data
			if r.ByHash {
				files[path.Join(root, dir, "by-hash/SHA256", fmt.Sprintf("%x", sha256.Sum256(f.data)))] = f.data
			}
		}
	}
	if r.NoInline {
		files[path.Join(root, "Release")] = []byte(b.String())
		files[path.Join(root, "Release.gpg")] = r.Key.Detached(t, []byte(b.String()))
		return
	}
	files[path.Join(root, "InRelease")] = r.Key.Inline(t, []byte(b.String()))
}

// Server serves files; they may be exchanged while it runs.
type Server struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string][]byte
	requests []string
	Spoil    func(w http.ResponseWriter, r *http.Request) bool // answers in its own way, and returns true
}

// Serve serves files until the test ends.
func Serve(t testing.TB, files map[string][]byte) *Server {
	s := &Server{files: files}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// Set exchanges the files.
func (s *Server) Set(files map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files, s.requests = files, nil
}

// Requests returns the paths that were asked for since the last Set.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	s.requests = append(s.requests, name)
	data, ok := s.files[name]
	s.mu.Unlock()
	if s.Spoil != nil && s.Spoil(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}
