package step

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Require is a precondition: a step that can look but has nothing to apply. Its
// problem fails the run. Put preconditions first, so that nothing has been changed
// by then; Plan shows all those that do not hold.
func Require[T any](name string, check func(ctx context.Context, on T) (problem string, err error)) Step[T] {
	return require[T]{name, check}
}

type require[T any] struct {
	name  string
	check func(context.Context, T) (string, error)
}

func (r require[T]) Name() string   { return r.name }
func (r require[T]) String() string { return "precondition" }

func (r require[T]) Check(ctx context.Context, on T) (string, error) { return r.check(ctx, on) }

func (r require[T]) Apply(ctx context.Context, on T) error {
	problem, err := r.check(ctx, on)
	if err != nil || problem == "" {
		return err
	}
	return errors.New(problem)
}

// Optional is a step that the rest does not depend on: when it fails, Run records
// a warning instead of a failure and goes on to the next step.
func Optional[T any](s Step[T]) Step[T] { return optional[T]{s} }

type optional[T any] struct{ Step[T] }

func (o optional[T]) String() string { return fmt.Sprintf("optional %+v", o.Step) }

// Each makes one step on every member of a target of a step on the target, for all
// members at the same time. Drifts, errors and notes are prefixed by the member's
// String. Apply leaves alone the members that Check has nothing to say about.
func Each[T any, U fmt.Stringer](members func(T) []U, s Step[U]) Step[T] {
	return each[T, U]{members, s}
}

type each[T any, U fmt.Stringer] struct {
	members func(T) []U
	step    Step[U]
}

func (e each[T, U]) Name() string   { return e.step.Name() }
func (e each[T, U]) String() string { return fmt.Sprintf("each %+v", e.step) }

func (e each[T, U]) Check(ctx context.Context, on T) (string, error) {
	return e.all(ctx, on, e.step.Check)
}

func (e each[T, U]) Apply(ctx context.Context, on T) error {
	_, err := e.all(ctx, on, func(ctx context.Context, member U) (string, error) {
		drift, err := e.step.Check(ctx, member)
		if err != nil || drift == "" {
			return "", err
		}
		return "", e.step.Apply(ctx, member)
	})
	return err
}

// all calls f for every member at once and joins the answers in the members' order.
func (e each[T, U]) all(ctx context.Context, on T, f func(context.Context, U) (string, error)) (string, error) {
	members := e.members(on)
	texts, errs := make([]string, len(members)), make(memberErrors, len(members))
	var wg sync.WaitGroup
	for i, member := range members {
		wg.Go(func() {
			text, err := f(withNotePrefix(ctx, member.String()+": "), member)
			if text != "" {
				texts[i] = fmt.Sprintf("%v: %s", member, text)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%v: %w", member, err)
			}
		})
	}
	wg.Wait()
	return joinNonEmpty(texts), errs.orNil()
}

func joinNonEmpty(texts []string) string {
	var some []string
	for _, t := range texts {
		if t != "" {
			some = append(some, t)
		}
	}
	return strings.Join(some, "; ")
}

// memberErrors is errors.Join on one line, for logs and status displays.
type memberErrors []error

func (m memberErrors) orNil() error {
	var some memberErrors
	for _, err := range m {
		if err != nil {
			some = append(some, err)
		}
	}
	if some == nil {
		return nil
	}
	return some
}

func (m memberErrors) Error() string {
	texts := make([]string, len(m))
	for i, err := range m {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (m memberErrors) Unwrap() []error { return m }
