// Package secret holds text that must never be printed by accident: Wi-Fi
// passphrases, password hashes, private keys.
//
// A Text shows itself as dots wherever Go formats values: fmt with any verb,
// log/slog, encoding/json. The real content comes out only by an explicit
// Reveal, which is easy to find and to review. A Wire is the same for the one
// document that must carry secrets, node.json: dots everywhere but in JSON.
//
// The content sits behind a pointer on purpose: when fmt is given a wrong verb
// for a structure ("%s" of a struct with numbers in it) it prints the parts
// without asking their methods, and a plain string would come out in full.
// The zero value is "no secret". Values are not comparable in a useful way;
// compare what Reveal returns.
package secret

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Mask is what stands where a secret would be.
const Mask = "•••"

// Text is a secret that stays on this machine.
type Text struct{ hidden *string }

// New returns a Text with the given content.
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{&s}
}

// Reveal returns the real content, "" if there is none.
func (t Text) Reveal() string {
	if t.hidden == nil {
		return ""
	}
	return *t.hidden
}

// IsZero reports whether there is no secret; encoding/json's omitzero asks it.
func (t Text) IsZero() bool { return t.Reveal() == "" }

// String returns Mask, or nothing for an empty secret.
func (t Text) String() string {
	if t.IsZero() {
		return ""
	}
	return Mask
}

// Format keeps every verb masked, %x and %#v included.
func (t Text) Format(f fmt.State, _ rune) { fmt.Fprint(f, t.String()) }

// LogValue masks the secret in structured logs.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText masks the secret in JSON, YAML and map keys.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Wire is a secret on its way to a card: masked like Text, but read and written
// in full by encoding/json.
type Wire struct{ Text }

// NewWire returns a Wire with the given content.
func NewWire(s string) Wire { return Wire{New(s)} }

// MarshalJSON writes the real content.
func (w Wire) MarshalJSON() ([]byte, error) { return json.Marshal(w.Reveal()) }

// UnmarshalJSON reads the real content.
func (w *Wire) UnmarshalJSON(data []byte) error {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	*w = NewWire(s)
	return nil
}
