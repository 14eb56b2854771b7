package patch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
)

// Kind says how a change may be shown.
func (c Change) Kind() string {
	switch {
	case c.Secret:
		return "secret"
	case !isText(c.Before) || !isText(c.After):
		return "binary"
	}
	return "text"
}

// Print shows the change to a person: a unified diff of text, the size and
// digest of a program, and of a secret file only that it is there.
func (c Change) Print(w io.Writer) error {
	verb := "change"
	if c.Before == nil {
		verb = "create"
	}
	var err error
	switch c.Kind() {
	case "secret":
		_, err = fmt.Fprintf(w, "\n%s %s: %d bytes, holds secrets (•••)\n", verb, c.Path, len(c.After))
	case "binary":
		_, err = fmt.Fprintf(w, "\n%s %s: %d bytes, sha256 %s\n", verb, c.Path, len(c.After), c.digest())
	default:
		if len(c.After) == 0 {
			_, err = fmt.Fprintf(w, "\n%s %s: empty\n", verb, c.Path)
			break
		}
		_, err = fmt.Fprintf(w, "\n%s %s\n%s", verb, c.Path, c.Diff())
	}
	return err
}

// Diff returns the unified diff of a text change; it must not be called for
// other kinds. CR is left out: what differs is the words, and a terminal would
// jump about.
func (c Change) Diff() []byte {
	from := c.Path
	if c.Before == nil {
		from = "/dev/null"
	}
	noCR := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }
	d := diff.Diff(from, noCR(c.Before), c.Path, noCR(c.After))
	_, d, _ = bytes.Cut(d, []byte("\n")) // the line "diff old new"
	return d
}

// MarshalJSON gives scripts the same as Print gives people: never the content
// of a secret file.
func (c Change) MarshalJSON() ([]byte, error) {
	out := struct {
		Path    string `json:"path"`
		Created bool   `json:"created"`
		Kind    string `json:"kind"`
		Size    int    `json:"size"` // bytes
		SHA256  string `json:"sha256,omitempty"`
		Diff    string `json:"diff,omitempty"`
	}{Path: c.Path, Created: c.Before == nil, Kind: c.Kind(), Size: len(c.After)}
	switch out.Kind {
	case "text":
		out.Diff = string(c.Diff())
		fallthrough
	case "binary":
		out.SHA256 = c.digest()
	}
	return json.Marshal(out)
}

func (c Change) digest() string {
	sum := sha256.Sum256(c.After)
	return hex.EncodeToString(sum[:])
}

func isText(b []byte) bool { return utf8.Valid(b) && !bytes.ContainsRune(b, 0) }
