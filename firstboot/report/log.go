package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"picluster/internal/step"
)

const (
	maxLog  = 256 << 10 // bytes
	maxLine = 2 << 10
)

// Line is an event in one line for people: time, step, what happened, text.
func Line(e step.Event) string {
	place := fmt.Sprintf("%s/%s %d/%d", e.Stage, e.Step, e.N, e.Of)
	return strings.TrimRight(fmt.Sprintf("%s  %-36s %-9s %s", stamp(e.Time), oneLine(place), e.Kind, oneLine(e.Text)), " ")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// ring is the log that people read on the card and on the page: the last lines,
// redacted. The whole of it fits into a megabyte of memory with room to spare.
type ring struct {
	redact *redactor

	mu    sync.Mutex
	lines []byte
	added uint64 // lines ever
}

func newRing(r *redactor) *ring { return &ring{redact: r} }

// add appends one line.
func (r *ring) add(line string) {
	line = r.redact.public(r.redact.secrets.Replace(oneLineKeepingColumns(r.redact.secrets.Replace(line))))
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "") + "…"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(append(r.lines, line...), '\n')
	r.added++
	if len(r.lines) > maxLog {
		cut := r.lines[len(r.lines)-maxLog*3/4:] // not line by line: each cut copies all
		r.lines = slices.Clone(cut[bytes.IndexByte(cut, '\n')+1:])
	}
}

// oneLineKeepingColumns is oneLine, but for the blanks that align columns.
func oneLineKeepingColumns(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		words[i] = oneLine(w)
	}
	return strings.TrimRight(strings.Join(words, " "), " ")
}

// text is all lines, and how many there have ever been.
func (r *ring) text() ([]byte, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines), r.added
}
