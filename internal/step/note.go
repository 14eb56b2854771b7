package step

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// noteEvery is the least time between two notes of one step: each is a synced
// write to what may be an SD card.
const noteEvery = 10 * time.Second

type noteKey struct{}

// Note says what a Check or Apply is waiting for ("node0: connection refused"). It
// becomes a Waiting event. Say it on every turn of a waiting loop: a text that is
// the same as the last, or comes within ten seconds of it, is dropped. Outside of
// Run it does nothing. Safe for concurrent use.
func Note(ctx context.Context, text string) {
	if note, ok := ctx.Value(noteKey{}).(func(string)); ok {
		note(text)
	}
}

func withNotes(ctx context.Context, t turn) context.Context {
	var mu sync.Mutex
	var last string
	var at time.Time
	return context.WithValue(ctx, noteKey{}, func(text string) {
		text = strings.TrimSpace(text)
		mu.Lock()
		defer mu.Unlock()
		now := t.to.now()
		since := now.Sub(at)
		if text == last || (!at.IsZero() && 0 <= since && since < noteEvery) {
			return
		}
		last, at = text, now
		t.record(Waiting, text)
	})
}

func withNotePrefix(ctx context.Context, prefix string) context.Context {
	return context.WithValue(ctx, noteKey{}, func(text string) { Note(ctx, prefix+text) })
}

// ErrGaveUp is in Until's error when its limit has passed.
var ErrGaveUp = errors.New("gave up")

// Wait is a bounded wait for something that comes by itself, with a reason that
// people see. For is what is waited for, as in "wait for time synchronisation".
type Wait struct {
	For   string
	Limit time.Duration // 0: as long as the context lasts
	Every time.Duration // between two tries; 0: two seconds
}

// Until calls ready until it returns nil. Its errors are noted as they come; the
// last one is in the error with which Until gives up.
func (w Wait) Until(ctx context.Context, ready func(context.Context) error) error {
	every := w.Every
	if every == 0 {
		every = 2 * time.Second
	}
	limited := ctx
	if w.Limit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, w.Limit)
		defer cancel()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var reason error // not the "deadline exceeded" of a try that the limit cut short
	for limited.Err() == nil {
		err := ready(limited)
		if err == nil {
			return nil
		}
		if reason == nil || limited.Err() == nil {
			reason = err
		}
		Note(ctx, fmt.Sprintf("%s: %v", w.For, reason))
		select {
		case <-tick.C:
		case <-limited.Done():
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait for %s: %w", w.For, context.Cause(ctx))
	}
	return fmt.Errorf("wait for %s: %w after %v: %w", w.For, ErrGaveUp, w.Limit, reason)
}
