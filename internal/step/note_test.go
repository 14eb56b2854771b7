package step_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"picluster/internal/step"
)

func TestNote_isRecordedAtMostEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e events
		s := value{Key: "water", Value: "1 l", instead: func(ctx context.Context, on *pot) error {
			for second := range 25 {
				step.Note(ctx, fmt.Sprintf("%d bubbles", second))
				step.Note(ctx, "0 bubbles")
				time.Sleep(time.Second)
			}
			for range 3 {
				time.Sleep(time.Minute)
				step.Note(ctx, "steady")
			}
			on.set("water", "1 l")
			return nil
		}}
		if err := step.Run(t.Context(), newPot("pot"), []stage{{Name: "soup", Steps: []one{s}}}, e.recorder()); err != nil {
			t.Fatal(err)
		}
		equal(t, e, `applying soup/water: water is "", want "1 l"`,
			"waiting soup/water: 0 bubbles", "waiting soup/water: 10 bubbles", "waiting soup/water: 20 bubbles",
			"waiting soup/water: steady", "done soup/water")
	})
}

func TestNote_namesTheMember(t *testing.T) {
	pots := []*pot{newPot("left")}
	each := step.Each(func([]*pot) []*pot { return pots }, one(value{Key: "salt", Value: "5 g",
		instead: func(ctx context.Context, on *pot) error {
			step.Note(ctx, "looking for the salt")
			on.set("salt", "5 g")
			return nil
		}}))
	var e events
	if err := step.Run(t.Context(), pots, []step.Stage[[]*pot]{{Name: "soup", Steps: []step.Step[[]*pot]{each}}}, e.recorder()); err != nil {
		t.Fatal(err)
	}
	if e[1] != "waiting soup/salt: left: looking for the salt" {
		t.Errorf("got %s", e[1])
	}
}

func TestNote_outsideOfRunDoesNothing(t *testing.T) {
	step.Note(t.Context(), "nobody hears this")
}

func TestWait_endsWhenReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		err := step.Wait{For: "water", Limit: time.Minute, Every: 5 * time.Second}.Until(t.Context(), func(context.Context) error {
			if tries++; tries < 4 {
				return errors.New("still cold")
			}
			return nil
		})
		if err != nil || time.Since(began) != 15*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestWait_givesUpWithTheLastReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cold := errors.New("still cold")
		for name, ready := range map[string]func(context.Context) error{
			"each try is short": func(context.Context) error { return cold },
			"the last try is cut off": func(ctx context.Context) error {
				if until, _ := ctx.Deadline(); time.Until(until) > 10*time.Second {
					return cold
				}
				<-ctx.Done()
				return ctx.Err()
			},
		} {
			began := time.Now()
			err := step.Wait{For: "water", Limit: time.Minute}.Until(t.Context(), ready)
			if !errors.Is(err, cold) || !strings.HasPrefix(err.Error(), "wait for water: gave up after 1m0s: ") {
				t.Errorf("%s: got error %v", name, err)
			}
			if time.Since(began) != time.Minute {
				t.Errorf("%s: gave up after %v", name, time.Since(began))
			}
		}
	})
}

func TestWait_endsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		err := step.Wait{For: "water"}.Until(ctx, func(context.Context) error { return errors.New("still cold") })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v", err)
		}
	})
}
