package debian

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strings"
)

// Stanza is a paragraph of a control file: fields in their order. Lines that go on a
// field are joined by newlines, without the space that they began with.
type Stanza []Field

// Field is one of them.
type Field struct{ Name, Value string }

// Get returns the value of a field, or "". Names differ by more than case.
func (s Stanza) Get(name string) string {
	for _, f := range s {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// maxStanza bounds one paragraph, in bytes. The largest in Debian's lists of packages
// are below 100 kB; Release, one paragraph of digests, has about 500 kB.
const maxStanza = 16 << 20

// Stanzas reads a control file paragraph by paragraph. It ends after the first error.
// what names the file in errors.
func Stanzas(r io.Reader, what string) iter.Seq2[Stanza, error] {
	return func(yield func(Stanza, error) bool) {
		lines := bufio.NewReaderSize(r, 64<<10)
		var s Stanza
		for n, size := 1, 0; ; n++ {
			line, err := lines.ReadString('\n')
			if err != nil && err != io.EOF {
				yield(nil, fmt.Errorf("read %s: %w", what, err))
				return
			}
			size += len(line)
			if size > maxStanza {
				yield(nil, &FormatError{what, fmt.Sprintf("paragraph before line %d is longer than %d bytes", n, maxStanza)})
				return
			}
			text := strings.TrimRight(line, "\r\n")
			blank := strings.TrimSpace(text) == ""
			if !blank {
				if s, err = s.add(text, err); err != nil && err != io.EOF {
					yield(nil, &FormatError{what, fmt.Sprintf("line %d: %v", n, err)})
					return
				}
			}
			if (blank || err == io.EOF) && len(s) > 0 {
				if !yield(s, nil) {
					return
				}
				s, size = nil, 0
			}
			if err == io.EOF {
				return
			}
		}
	}
}

// add adds a line. It returns end as its error unless the line is none of a control
// file.
func (s Stanza) add(line string, end error) (Stanza, error) {
	if line[0] == ' ' || line[0] == '\t' {
		if len(s) == 0 {
			return s, fmt.Errorf("it goes on a field, and there is none")
		}
		s[len(s)-1].Value += "\n" + line[1:]
		return s, end
	}
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t") {
		return s, fmt.Errorf("it is no field")
	}
	return append(s, Field{name, strings.TrimSpace(value)}), end
}
