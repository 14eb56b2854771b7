package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"picluster/internal/step"
)

// The engine's words for a cluster.
type (
	Step  = step.Step[*Client]
	Stage = step.Stage[*Client]
)

// Applied wants an object in the cluster as it is here. Fields that it does not
// name are other people's.
type Applied struct {
	Object *Object
	// Renew removes the object first where it is there and differs: for kinds whose
	// fields never change, such as StorageClass.
	Renew bool
	// Once leaves the object alone where it is there: a claim that a person has
	// enlarged.
	Once bool
}

// Name is the object's.
func (a Applied) Name() string { return RefOf(a.Object).String() }

func (a Applied) String() string { return "applied" }

// Check implements Step.
func (a Applied) Check(ctx context.Context, on *Client) (string, error) {
	if a.Once {
		live, err := on.Get(ctx, RefOf(a.Object))
		if err != nil || live != nil && live.GetDeletionTimestamp() == nil {
			return "", err
		}
	}
	drift, err := on.Drift(ctx, a.Object)
	if a.Renew && immutable(err) {
		return "differs in what can only be made anew", nil
	}
	return drift, err
}

// Apply implements Step. What is being removed is waited for.
func (a Applied) Apply(ctx context.Context, on *Client) error {
	ref := RefOf(a.Object)
	if live, err := on.Get(ctx, ref); err != nil {
		return err
	} else if live != nil && live.GetDeletionTimestamp() != nil {
		if err := (Absent{Ref: ref}).Apply(ctx, on); err != nil {
			return err
		}
	}
	_, err := on.Apply(ctx, a.Object)
	if a.Renew && immutable(err) {
		if err := (Absent{Ref: ref}).Apply(ctx, on); err != nil {
			return err
		}
		_, err = on.Apply(ctx, a.Object)
	}
	return err
}

// readyTime is long: a Pi 3 unpacks an image of 50 MB for minutes.
const readyTime = 15 * time.Minute

// Ready wants an object to do its work; it changes nothing and waits.
type Ready struct {
	Ref   Ref
	Limit time.Duration // 0: 15 minutes
}

// Name is the object's, and that it is ready.
func (r Ready) Name() string { return r.Ref.String() + " ready" }

// Check implements Step.
func (r Ready) Check(ctx context.Context, on *Client) (string, error) {
	o, err := on.Get(ctx, r.Ref)
	if err != nil {
		return "", err
	}
	if o == nil {
		return "is not there", nil
	}
	return NotReady(o)
}

// Apply implements Step. It notes what is waited for, down to the pod that has
// trouble.
func (r Ready) Apply(ctx context.Context, on *Client) error {
	limit := r.Limit
	if limit == 0 {
		limit = readyTime
	}
	var hopeless error
	err := step.Wait{For: r.Ref.String(), Limit: limit, Every: time.Second}.Until(ctx, func(ctx context.Context) error {
		missing, err := r.Check(ctx, on)
		var away *Unreachable
		if err != nil && !errors.As(err, &away) {
			hopeless = err
			return nil
		}
		if err != nil || missing == "" {
			return err
		}
		return r.describe(ctx, on, missing)
	})
	if hopeless != nil {
		return hopeless
	}
	return err
}

func (r Ready) describe(ctx context.Context, on *Client, missing string) error {
	if o, err := on.Get(ctx, r.Ref); err == nil && o != nil {
		if why, err := on.Trouble(ctx, o); err == nil && why != "" {
			missing += "; " + why
		}
	}
	return errors.New(missing)
}

// goneTime bounds a removal. A volume is given back by its driver before its claim
// goes.
const goneTime = 5 * time.Minute

// Absent wants an object not to be there.
type Absent struct {
	Ref   Ref
	Limit time.Duration // 0: five minutes
	// Ours leaves alone what picluster has never applied: somebody else's object of
	// the same name.
	Ours bool
}

// Name is the object's.
func (a Absent) Name() string { return a.Ref.String() }

// Check implements Step.
func (a Absent) Check(ctx context.Context, on *Client) (string, error) {
	o, err := on.Get(ctx, a.Ref)
	switch {
	case err != nil || o == nil || a.Ours && !isOurs(o):
		return "", err
	case o.GetDeletionTimestamp() == nil:
		return "is there", nil
	}
	return leaving(o), nil
}

// Apply implements Step. It waits until the object is gone.
func (a Absent) Apply(ctx context.Context, on *Client) error {
	if err := on.Delete(ctx, a.Ref); err != nil {
		return err
	}
	limit := a.Limit
	if limit == 0 {
		limit = goneTime
	}
	return step.Wait{For: "the end of " + a.Ref.String(), Limit: limit, Every: time.Second / 2}.Until(ctx, func(ctx context.Context) error {
		o, err := on.Get(ctx, a.Ref)
		if err != nil || o == nil {
			return err
		}
		return errors.New(leaving(o))
	})
}

// isOurs reports whether Apply has ever touched the object.
func isOurs(o *Object) bool {
	return slices.ContainsFunc(o.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == FieldManager && f.Operation == metav1.ManagedFieldsOperationApply
	})
}

func leaving(o *Object) string {
	if f := o.GetFinalizers(); len(f) > 0 {
		return fmt.Sprintf("is being removed; %s has to let go of it", strings.Join(f, ", "))
	}
	if _, why := condition(o, "NamespaceContentRemaining"); why != "" {
		return "is being removed: " + why
	}
	return "is being removed"
}
