package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Exit codes, the same in all three programs.
const (
	OK        = 0
	Failed    = 1
	Usage     = 2 // wrong use, or a mistake in cluster.yaml
	Integrity = 3 // a digest or a read-back differs
	Refused   = 4 // not done because it would destroy something
	Device    = 5 // a device or the network is at fault
	Timeout   = 6
	Partial   = 7 // some of several targets failed

	// Misuse is Usage of a command whose exit code is its answer: EX_USAGE of
	// sysexits.h, which is no answer of any.
	Misuse = 64

	interrupted = 130 // 128 + SIGINT, as shells report it
)

type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// Exit marks err with the exit code that the program ends with.
func Exit(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

// answerError is an exit code that the command's output has explained.
type answerError struct{ code int }

func (e *answerError) Error() string { return fmt.Sprintf("the answer is %d", e.code) }

// Answer ends a command with a code that says what its output has said already, as
// grep and systemctl do: nothing more is printed.
func Answer(code int) error {
	if code == OK {
		return nil
	}
	return &exitError{code, &answerError{code}}
}

// CodeOf returns the exit code of err: the outermost Exit mark, 130 for a
// cancelled context, otherwise Failed.
func CodeOf(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, context.Canceled):
		return interrupted
	}
	return Failed
}

type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// Hint adds a line below the error that tells the reader what to do.
// An empty hint adds nothing.
func Hint(err error, hint string) error {
	if err == nil || hint == "" {
		return err
	}
	return &hintError{err, hint}
}

// hintsOf returns the hints along err's chain, outermost first, each of them once.
func hintsOf(err error) []string {
	var hints []string
	for err != nil {
		if h, ok := err.(*hintError); ok && !slices.Contains(hints, h.hint) {
			hints = append(hints, h.hint)
		}
		err = errors.Unwrap(err)
	}
	return hints
}
