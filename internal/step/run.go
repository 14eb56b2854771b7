package step

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Recorder is where a run's events go. The zero value keeps none. It can serve one
// run after the other; its fields are not to be changed during one.
type Recorder struct {
	Journal   *Journal         // nil: none
	Observers []Observer       // told in this order
	Log       *slog.Logger     // Info: what is changed. Debug: what is right already. Warn: what went on regardless. nil: none
	Boot      string           // the running system's boot id, if it has one
	Now       func() time.Time // nil: time.Now

	mu sync.Mutex // one event at a time
}

// Run brings the target into its wanted state: step by step check, apply where
// there is drift, check again. It stops at the first step that fails, except for
// Optional ones, and its error begins with "stage/step: ". The error is ErrReboot
// when the target must be rebooted first. A context that ends is no failure: the
// journal then shows what it would after a power cut.
//
// A nil Recorder keeps no events.
func Run[T any](ctx context.Context, on T, stages []Stage[T], r *Recorder) error {
	if r == nil {
		r = new(Recorder)
	}
	at := Event{}
	for _, stage := range stages {
		at.Of += len(stage.Steps)
	}
	for _, stage := range stages {
		for _, s := range stage.Steps {
			at.N++
			at.Stage, at.Step = stage.Name, s.Name()
			if err := run(ctx, on, s, turn{r, at}); err != nil {
				return fmt.Errorf("%s/%s: %w", stage.Name, s.Name(), err)
			}
		}
	}
	return nil
}

// turn is one step's place in a run: it records that step's events.
type turn struct {
	to *Recorder
	at Event
}

func (t turn) record(kind Kind, text string) {
	t.at.Kind, t.at.Text = kind, text
	t.to.record(t.at)
}

// run is a step's turn: it decides whether an error ends the run.
func run[T any](ctx context.Context, on T, s Step[T], t turn) error {
	o, isOptional := s.(optional[T])
	if isOptional {
		s = o.Step
	}
	err := bring(withNotes(ctx, t), on, s, t)
	switch {
	case err == nil || errors.Is(err, ErrReboot):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case isOptional:
		t.record(Warned, err.Error())
		return nil
	}
	t.record(Failed, err.Error())
	return err
}

// bring is check → apply → check.
func bring[T any](ctx context.Context, on T, s Step[T], t turn) error {
	drift, err := s.Check(ctx, on)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if drift == "" {
		t.record(Unchanged, "")
		return nil
	}
	if _, ok := s.(require[T]); ok {
		return errors.New(drift)
	}
	if t.rebootedFor(drift) {
		return errors.New(stillAfterReboot + drift)
	}
	t.record(Applying, drift)
	err = s.Apply(ctx, on)
	if errors.Is(err, ErrReboot) {
		t.record(Reboot, drift)
	}
	if err != nil {
		return err
	}
	still, err := s.Check(ctx, on)
	if err != nil {
		return fmt.Errorf("check after apply: %w", err)
	}
	if still != "" {
		return fmt.Errorf("applied, but still: %s", still)
	}
	t.record(Done, "")
	return nil
}

const stillAfterReboot = "rebooted, but still: "

// rebootedFor reports whether the step has asked for a reboot because of this very
// drift, and got it. Asking again would be a reboot for ever, so it is a failure,
// also when the run is repeated within this boot. Only a boot that somebody else
// wanted lets the step try once more.
func (t turn) rebootedFor(drift string) bool {
	last := t.to.Journal.last(t.at.Stage, t.at.Step)
	sameBoot := last.Boot == t.to.Boot
	return last.Kind == Reboot && last.Text == drift && !sameBoot ||
		last.Text == stillAfterReboot+drift && sameBoot
}

func (r *Recorder) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// record gives the event its time and passes it on. A journal that cannot be
// written is logged and no more: it is only evidence, and a full disk is no reason
// to leave a machine half configured.
func (r *Recorder) record(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Time, e.Boot = r.now().UTC().Truncate(time.Millisecond), r.Boot
	log := r.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := r.Journal.append(e); err != nil {
		log.Warn("journal", "error", err)
	}
	level := slog.LevelInfo
	switch e.Kind {
	case Unchanged:
		level = slog.LevelDebug
	case Warned:
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, string(e.Kind),
		"step", e.Stage+"/"+e.Step, "n", e.N, "of", e.Of, "text", e.Text)
	for _, observe := range r.Observers {
		observe(e)
	}
}
