package report

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
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

// handler is a slog.Handler that writes to a ring.
type handler struct {
	ring   *ring
	format slog.Handler // writes to line
	line   *bytes.Buffer
	mu     *sync.Mutex
}

func newHandler(r *ring) handler {
	var line bytes.Buffer
	// The time stands before the line, in the form of all lines.
	noTime := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return handler{r, slog.NewTextHandler(&line, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: noTime}), &line, new(sync.Mutex)}
}

func (h handler) Enabled(context.Context, slog.Level) bool { return true }

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line.Reset()
	err := h.format.Handle(ctx, r)
	h.ring.add(stamp(r.Time) + "  " + h.line.String())
	return err
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.format = h.format.WithAttrs(attrs)
	return h
}

func (h handler) WithGroup(name string) slog.Handler {
	h.format = h.format.WithGroup(name)
	return h
}
