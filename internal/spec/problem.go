package spec

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with the document, or one warning about it.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // from 1
	Column  int    `json:"column"` // from 1, in characters
	Field   string `json:"field"`  // "nodes[2].name"; "" for the document as a whole
	Message string `json:"message"`
	Hint    string `json:"hint,omitzero"` // what to write instead, if that is known
}

// String returns one line: cluster.yaml:14:7: nodes[2].name: what is wrong (what to do).
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems is everything that is wrong with the document, in the order of its
// lines. It is the error that Load and Parse return when the document is at
// fault, and is never empty then.
type Problems []Problem

// Error returns a line for each problem and, below several, their number.
func (ps Problems) Error() string {
	lines := make([]string, 0, len(ps)+1)
	for _, p := range ps {
		lines = append(lines, p.String())
	}
	if len(ps) > 1 {
		lines = append(lines, fmt.Sprintf("%s has %d problems", ps[0].File, len(ps)))
	}
	return strings.Join(lines, "\n")
}

// position is a place in the file, both from 1.
type position struct{ line, column int }

// report collects problems and knows where each field stands.
type report struct {
	file     string
	at       map[string]position // of the fields that the document gives
	bad      map[string]bool     // fields that have a problem already
	problems []*Problem
	warnings []*Problem
}

func newReport(file string) *report {
	return &report{file: file, at: map[string]position{}, bad: map[string]bool{}}
}

// given reports whether the document gives the field a value.
func (r *report) given(field string) bool {
	_, ok := r.at[field]
	return ok
}

// problem notes what is wrong with a field and returns the note, so that a hint
// can be added. Only a field's first problem counts: the second is mostly an
// echo of the first.
func (r *report) problem(field, format string, args ...any) *Problem {
	p := r.note(field, r.where(field), format, args...)
	if !r.isBad(field) {
		r.problems = append(r.problems, p)
		r.bad[field] = true
	}
	return p
}

// problemAt notes a problem that has a place of its own, such as an unknown key.
func (r *report) problemAt(at position, field, format string, args ...any) *Problem {
	p := r.note(field, at, format, args...)
	r.problems = append(r.problems, p)
	r.bad[field] = true
	return p
}

func (r *report) warn(field, format string, args ...any) *Problem {
	p := r.note(field, r.where(field), format, args...)
	r.warnings = append(r.warnings, p)
	return p
}

func (r *report) note(field string, at position, format string, args ...any) *Problem {
	return &Problem{File: r.file, Line: at.line, Column: at.column, Field: field, Message: fmt.Sprintf(format, args...)}
}

// isBad reports whether the field, or one that it is part of, has a problem.
func (r *report) isBad(field string) bool {
	for ; field != ""; field = parent(field) {
		if r.bad[field] {
			return true
		}
	}
	return r.bad[""]
}

// where returns the place of the field or of the nearest thing around it.
func (r *report) where(field string) position {
	for ; field != ""; field = parent(field) {
		if at, ok := r.at[field]; ok {
			return at
		}
	}
	return position{1, 1}
}

// parent cuts the last step off a field's path.
func parent(field string) string {
	return field[:max(strings.LastIndexAny(field, ".["), 0)]
}

// sorted returns the notes in the order of the file.
func sorted(notes []*Problem) Problems {
	var ps Problems
	for _, p := range notes {
		ps = append(ps, *p)
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Field, b.Field))
	})
	return ps
}

// quoted returns what someone wrote in a form that fits into one line.
func quoted(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return strconv.Quote(s)
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_./-]{1,60}$`)

// keyName returns a key as it may stand in a field's path.
func keyName(key string) string {
	if plainKey.MatchString(key) {
		return key
	}
	return quoted(key)
}
