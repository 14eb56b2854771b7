// Package step brings something into its wanted state, one small step at a time:
// check, apply, check again.
//
// A program is a slice of stages, a stage a slice of steps; nothing registers
// itself and nothing decides the order at run time. A step's Check looks and
// answers with one sentence, the drift, or with nothing. That sentence is the log
// line, the dry-run line, the status line and, should it still be there after
// Apply, the error. Because every run starts at the top and skips by Check, a run
// may be cut off anywhere and started again: what is right already is left alone.
//
// Steps share nothing but the target T. What a later step needs it reads again
// from the target, or has among its own fields.
//
// The package does not know what a target is (a Pi, a cluster), how it is reached,
// how to reboot it, or how progress looks to people: Observers get the events. Its
// journal is evidence and progress display, never the source of truth; Check is.
package step

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Step wants one thing of a target. It is a small struct whose fields are what it
// wants and nothing else, so that a list of steps can be printed and compared.
type Step[T any] interface {
	// Name is a noun for people ("hostname"), unique within the stage.
	Name() string

	// Check says in one sentence how the target differs from what is wanted, ""
	// if it does not. It changes nothing.
	Check(ctx context.Context, on T) (drift string, err error)

	// Apply makes the target as wanted. It can meet whatever a power cut has left
	// of an earlier Apply. It returns ErrReboot, wrapped or not, when the rest
	// happens only at the next boot.
	Apply(ctx context.Context, on T) error
}

// Stage is a named list of steps, run in order.
type Stage[T any] struct {
	Name  string
	Steps []Step[T]
}

// ErrReboot is what Apply, and then Run, return when the target must be rebooted.
// The caller reboots it and runs the same stages again afterwards.
var ErrReboot = errors.New("reboot to go on")

// Drift is how one step's target differs from what the step wants.
type Drift struct {
	Stage, Step string
	Text        string // the sentence of Check
	Err         error  // why Check has no answer; then Text is empty
}

// String is one line: "identity/hostname: …".
func (d Drift) String() string {
	if d.Err != nil {
		return fmt.Sprintf("%s/%s: check: %v", d.Stage, d.Step, d.Err)
	}
	return fmt.Sprintf("%s/%s: %s", d.Stage, d.Step, d.Text)
}

// Plan lists every step that would have something to do. It has no way to call
// Apply. A Check without an answer is in the list too, because an earlier step may
// be what it waits for; the error is only the context's.
func Plan[T any](ctx context.Context, on T, stages []Stage[T]) ([]Drift, error) {
	var drifts []Drift
	for _, stage := range stages {
		for _, s := range stage.Steps {
			text, err := s.Check(ctx, on)
			if ctx.Err() != nil {
				return drifts, context.Cause(ctx)
			}
			if text != "" || err != nil {
				drifts = append(drifts, Drift{stage.Name, s.Name(), text, err})
			}
		}
	}
	return drifts, nil
}

// Describe prints a list of stages, a line for each step with the fields that say
// what it wants: the form that reviewers read in golden files. A step keeps its
// secrets in a type that prints dots, and nothing behind pointers, which would
// print as addresses.
func Describe[T any](stages []Stage[T]) string {
	var b strings.Builder
	for _, stage := range stages {
		fmt.Fprintln(&b, stage.Name)
		for _, s := range stage.Steps {
			fmt.Fprintf(&b, "    %s %+v\n", s.Name(), s)
		}
	}
	return b.String()
}
