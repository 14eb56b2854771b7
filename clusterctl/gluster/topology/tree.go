package topology

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// value is a JSON value that knows where it stands.
type value struct {
	at      int // offset in the document, in bytes
	kind    kind
	text    string // of a string or number
	yes     bool   // of a boolean
	members []member
	items   []value
}

type member struct {
	at    int
	key   string
	value value
}

type kind string

const (
	object  kind = "an object"
	list    kind = "a list"
	text    kind = "a string"
	number  kind = "a number"
	boolean kind = "true or false"
	null    kind = "null"
)

// tree reads a document. encoding/json's decoder gives no places for what it has
// decoded, only for tokens; so this is a tree of them.
func tree(data []byte) (value, error) {
	var anything any
	if err := json.Unmarshal(data, &anything); err != nil {
		return value{}, err
	}
	t := tokens{data: data, in: json.NewDecoder(bytes.NewReader(data))}
	t.in.UseNumber()
	return t.value(), nil
}

// tokens walks over a document that is known to be well-formed.
type tokens struct {
	data []byte
	in   *json.Decoder
}

// next returns a token and where it begins.
func (t tokens) next() (json.Token, int) {
	at := int(t.in.InputOffset())
	for at < len(t.data) && bytes.IndexByte([]byte(" \t\r\n,:"), t.data[at]) >= 0 {
		at++
	}
	token, err := t.in.Token()
	if err != nil {
		panic(fmt.Sprintf("a valid document ends with %v", err)) // json.Unmarshal has read it
	}
	return token, at
}

func (t tokens) value() value {
	token, at := t.next()
	v := value{at: at, kind: null}
	switch token := token.(type) {
	case string:
		v.kind, v.text = text, token
	case json.Number:
		v.kind, v.text = number, token.String()
	case bool:
		v.kind, v.yes = boolean, token
	case json.Delim:
		if token == '[' {
			v.kind = list
			for t.in.More() {
				v.items = append(v.items, t.value())
			}
		} else {
			v.kind = object
			for t.in.More() {
				key, at := t.next()
				v.members = append(v.members, member{at: at, key: key.(string), value: t.value()})
			}
		}
		t.next() // the closing bracket
	}
	return v
}

// position returns line and column of an offset, both from 1, the column in
// characters.
func position(data []byte, at int) (line, column int) {
	before := data[:min(at, len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}

// syntaxOffset is where the error stands; encoding/json counts the byte in which
// it saw it, unless that is the one that is missing.
func syntaxOffset(data []byte, err error) int {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) || syntax.Error() == "unexpected end of JSON input" {
		return len(bytes.TrimRight(data, " \t\r\n"))
	}
	return max(int(syntax.Offset)-1, 0)
}
