package step_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/internal/golden"
	"picluster/internal/step"
)

// pot is what the steps of these tests work on: named values that outlive a run.
type pot struct {
	mu     sync.Mutex
	name   string
	values map[string]string
	writes int
}

func newPot(name string) *pot { return &pot{name: name, values: map[string]string{}} }

func (p *pot) String() string { return p.name }

func (p *pot) get(key string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.values[key]
}

func (p *pot) set(key, value string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.values[key] = value
	p.writes++
}

// value wants one value in the pot; instead of putting it there it can do other things.
type value struct {
	Key, Value string
	instead    func(context.Context, *pot) error
	blind      error // what Check answers
}

func (v value) Name() string   { return v.Key }
func (v value) String() string { return fmt.Sprintf("{Value:%s}", v.Value) }

func (v value) Check(_ context.Context, on *pot) (string, error) {
	if got := on.get(v.Key); got != v.Value {
		return fmt.Sprintf("%s is %q, want %q", v.Key, got, v.Value), v.blind
	}
	return "", v.blind
}

func (v value) Apply(ctx context.Context, on *pot) error {
	if v.instead != nil {
		return v.instead(ctx, on)
	}
	on.set(v.Key, v.Value)
	return nil
}

type (
	stage = step.Stage[*pot]
	one   = step.Step[*pot]
)

func kitchen() []stage {
	return []stage{
		{Name: "heat", Steps: []one{value{Key: "gas", Value: "on"}}},
		{Name: "soup", Steps: []one{value{Key: "water", Value: "1 l"}, value{Key: "salt", Value: "5 g"}}},
	}
}

// events collects what an observer is told, as "kind stage/step: text".
type events []string

func (e *events) observe(ev step.Event) {
	line := fmt.Sprintf("%s %s/%s", ev.Kind, ev.Stage, ev.Step)
	if ev.Text != "" {
		line += ": " + ev.Text
	}
	*e = append(*e, line)
}

func (e *events) recorder() *step.Recorder {
	return &step.Recorder{Observers: []step.Observer{e.observe}}
}

func equal(t *testing.T, got events, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestRun_secondRunIsUnchanged(t *testing.T) {
	p := newPot("pot")
	var first, second events
	for _, e := range []*events{&first, &second} {
		if err := step.Run(t.Context(), p, kitchen(), e.recorder()); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, first,
		`applying heat/gas: gas is "", want "on"`, `done heat/gas`,
		`applying soup/water: water is "", want "1 l"`, `done soup/water`,
		`applying soup/salt: salt is "", want "5 g"`, `done soup/salt`)
	equal(t, second, `unchanged heat/gas`, `unchanged soup/water`, `unchanged soup/salt`)
}

func TestRun_stopsAtTheFirstFailure(t *testing.T) {
	broken := errors.New("tap is broken")
	for _, test := range []struct {
		name string
		step one
		want string
	}{
		{"check has no answer", value{Key: "water", blind: broken}, "soup/water: check: tap is broken"},
		{"apply fails", value{Key: "water", Value: "1 l", instead: func(context.Context, *pot) error { return broken }},
			"soup/water: tap is broken"},
		{"apply does nothing", value{Key: "water", Value: "1 l", instead: func(context.Context, *pot) error { return nil }},
			`soup/water: applied, but still: water is "", want "1 l"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPot("pot")
			var e events
			err := step.Run(t.Context(), p, []stage{{Name: "soup", Steps: []one{test.step, value{Key: "salt", Value: "5 g"}}}}, e.recorder())
			if err == nil || err.Error() != test.want {
				t.Errorf("got error %v, want %s", err, test.want)
			}
			if last := e[len(e)-1]; last != "failed "+test.want {
				t.Errorf("last event is %s", last)
			}
			if p.get("salt") != "" {
				t.Error("the step after the failed one ran")
			}
		})
	}
}

func TestOptional_failureIsAWarning(t *testing.T) {
	p := newPot("pot")
	var e events
	none := func(context.Context, *pot) error { return errors.New("sold out") }
	err := step.Run(t.Context(), p, []stage{{Name: "soup", Steps: []one{
		step.Optional[*pot](value{Key: "parsley", Value: "some", instead: none}),
		step.Optional(step.Require("guests", func(context.Context, *pot) (string, error) { return "nobody is there", nil })),
		value{Key: "salt", Value: "5 g"},
	}}}, e.recorder())
	if err != nil {
		t.Error(err)
	}
	equal(t, e,
		`applying soup/parsley: parsley is "", want "some"`, `warned soup/parsley: sold out`,
		`warned soup/guests: nobody is there`,
		`applying soup/salt: salt is "", want "5 g"`, `done soup/salt`)
}

func TestRequire_refusesToApply(t *testing.T) {
	gas := step.Require("gas bottle", func(_ context.Context, on *pot) (string, error) {
		if on.get("bottle") == "" {
			return "there is no bottle", nil
		}
		return "", nil
	})
	p := newPot("pot")
	stages := append([]stage{{Name: "before", Steps: []one{gas}}}, kitchen()...)
	var e events
	err := step.Run(t.Context(), p, stages, e.recorder())
	if err == nil || err.Error() != "before/gas bottle: there is no bottle" {
		t.Errorf("got error %v", err)
	}
	equal(t, e, "failed before/gas bottle: there is no bottle")
	if err := gas.Apply(t.Context(), p); err == nil {
		t.Error("Apply of a precondition that does not hold works")
	}
	p.set("bottle", "full")
	if err := step.Run(t.Context(), p, stages, nil); err != nil {
		t.Error(err)
	}
}

func TestPlan_listsAllDriftAndAppliesNothing(t *testing.T) {
	p := newPot("pot")
	p.set("gas", "on")
	stages := append(kitchen(), stage{Name: "serve", Steps: []one{
		value{Key: "plates", blind: errors.New("cupboard is locked")},
		step.Require("guests", func(context.Context, *pot) (string, error) { return "nobody is there", nil }),
	}})
	p.writes = 0
	drifts, err := step.Plan(t.Context(), p, stages)
	if err != nil {
		t.Fatal(err)
	}
	var got events
	for _, d := range drifts {
		got = append(got, d.String())
	}
	equal(t, got,
		`soup/water: water is "", want "1 l"`, `soup/salt: salt is "", want "5 g"`,
		`serve/plates: check: cupboard is locked`, `serve/guests: nobody is there`)
	if p.writes != 0 {
		t.Errorf("the plan wrote %d times", p.writes)
	}
}

func TestDescribe_printsWhatStepsWant(t *testing.T) {
	pots := func(p *pot) []*pot { return []*pot{p} }
	stages := append(kitchen(), stage{Name: "serve", Steps: []one{
		step.Optional[*pot](value{Key: "parsley", Value: "some"}),
		step.Require("guests", func(context.Context, *pot) (string, error) { return "", nil }),
		step.Optional(step.Each(pots, step.Step[*pot](plate{Size: 20, Colours: []string{"white", "blue"}}))),
	}})
	golden.Equal(t, filepath.Join("testdata", "kitchen.golden"), []byte(step.Describe(stages)))
}

type plate struct {
	Size    int
	Colours []string
}

func (plate) Name() string                                { return "plate" }
func (plate) Check(context.Context, *pot) (string, error) { return "", nil }
func (plate) Apply(context.Context, *pot) error           { return nil }

func TestRun_endOfContextIsNoFailure(t *testing.T) {
	for _, optional := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("shutting down")
		var s one = value{Key: "water", Value: "1 l", instead: func(ctx context.Context, _ *pot) error {
			cancel(why)
			return ctx.Err()
		}}
		if optional {
			s = step.Optional(s)
		}
		var e events
		err := step.Run(ctx, newPot("pot"), []stage{{Name: "soup", Steps: []one{s, value{Key: "salt", Value: "5 g"}}}}, e.recorder())
		if !errors.Is(err, why) {
			t.Errorf("got error %v", err)
		}
		equal(t, e, `applying soup/water: water is "", want "1 l"`)
	}
}

// boot runs stages as one boot of a machine would.
func boot(t *testing.T, id, journal string, p *pot, stages []stage) error {
	t.Helper()
	j, err := step.OpenJournal(journal)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	return step.Run(t.Context(), p, stages, &step.Recorder{Journal: j, Boot: id})
}

func TestRun_goesOnAfterTheReboot(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "journal")
	p := newPot("pot")
	lid := value{Key: "lid", Value: "on", instead: func(_ context.Context, on *pot) error {
		return fmt.Errorf("the lid sits after a restart: %w", step.ErrReboot)
	}}
	stages := []stage{{Name: "soup", Steps: []one{lid, value{Key: "salt", Value: "5 g"}}}}

	if err := boot(t, "boot-1", journal, p, stages); !errors.Is(err, step.ErrReboot) {
		t.Fatalf("got error %v, want a reboot", err)
	}
	if p.get("salt") != "" {
		t.Fatal("the run went on before the reboot")
	}
	p.set("lid", "on")
	if err := boot(t, "boot-2", journal, p, stages); err != nil || p.get("salt") == "" {
		t.Errorf("after the reboot: %v", err)
	}
}

func TestRun_rebootsNotForEver(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "journal")
	p := newPot("pot")
	reboots := 0
	lid := value{Key: "lid", Value: "on", instead: func(context.Context, *pot) error {
		reboots++
		return step.ErrReboot
	}}
	const still = `soup/lid: rebooted, but still: lid is "", want "on"`
	for i, turn := range []struct{ boot, want string }{
		{"1", "soup/lid: reboot to go on"},
		{"1", "soup/lid: reboot to go on"}, // the reboot did not come; the unit was only restarted
		{"2", still},
		{"2", still}, // a unit that is restarted on failure must not reboot either
		{"3", "soup/lid: reboot to go on"},
		{"4", still},
	} {
		err := boot(t, turn.boot, journal, p, []stage{{Name: "soup", Steps: []one{lid}}})
		if err == nil || err.Error() != turn.want {
			t.Errorf("run %d, boot %s: got %v, want %s", i+1, turn.boot, err, turn.want)
		}
	}
	if reboots != 3 {
		t.Errorf("asked for %d reboots, want 3", reboots)
	}

	// Another drift after the reboot is progress.
	p.set("lid", "askew")
	if err := boot(t, "5", journal, p, []stage{{Name: "soup", Steps: []one{lid}}}); !errors.Is(err, step.ErrReboot) {
		t.Errorf("got %v, want a reboot", err)
	}
}

func TestEach_changesOnlyTheMembersThatNeedIt(t *testing.T) {
	pots := []*pot{newPot("left"), newPot("middle"), newPot("right")}
	pots[1].set("salt", "5 g")
	each := step.Each(func([]*pot) []*pot { return pots }, one(value{Key: "salt", Value: "5 g"}))
	var e events
	for range 2 {
		err := step.Run(t.Context(), pots, []step.Stage[[]*pot]{{Name: "soup", Steps: []step.Step[[]*pot]{each}}}, e.recorder())
		if err != nil {
			t.Fatal(err)
		}
	}
	equal(t, e,
		`applying soup/salt: left: salt is "", want "5 g"; right: salt is "", want "5 g"`,
		`done soup/salt`, `unchanged soup/salt`)
	if pots[1].writes != 1 {
		t.Error("the member that was right already has been written")
	}
}

func TestEach_namesTheMembersThatFail(t *testing.T) {
	pots := []*pot{newPot("left"), newPot("middle"), newPot("right")}
	cracked := errors.New("cracked")
	each := step.Each(func([]*pot) []*pot { return pots }, one(value{Key: "salt", Value: "5 g",
		instead: func(ctx context.Context, on *pot) error {
			if on.name != "left" {
				return cracked
			}
			on.set("salt", "5 g")
			return nil
		}}))
	err := each.Apply(t.Context(), pots)
	if err == nil || err.Error() != "middle: cracked; right: cracked" || !errors.Is(err, cracked) {
		t.Errorf("got error %v", err)
	}
	if pots[0].get("salt") == "" {
		t.Error("one member's failure kept the step from another")
	}
}

func TestRun_powerCutAtEveryJournalWrite(t *testing.T) {
	type cut struct{ op string }
	for point := 0; ; point++ {
		journal := filepath.Join(t.TempDir(), "journal")
		p := newPot("pot")
		where := ""
		func() {
			j, err := step.OpenJournal(journal)
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			defer func() {
				if c, ok := recover().(cut); ok {
					where = c.op
				}
			}()
			n := 0
			j.Fault = func(op, _ string) {
				if n == point {
					panic(cut{op})
				}
				n++
			}
			if err := step.Run(t.Context(), p, kitchen(), &step.Recorder{Journal: j}); err != nil {
				t.Error(err)
			}
		}()
		if where == "" {
			if point != 12 { // two per event, two events per step
				t.Errorf("the run has %d points to cut at", point)
			}
			return
		}
		var e events
		r := e.recorder()
		j, err := step.OpenJournal(journal)
		if err != nil {
			t.Fatal(err)
		}
		r.Journal = j
		if err := step.Run(t.Context(), p, kitchen(), r); err != nil {
			t.Errorf("after a cut before %s %d: %v", where, point, err)
		}
		j.Close()
		if p.get("gas") != "on" || p.get("water") != "1 l" || p.get("salt") != "5 g" || p.writes != 3 {
			t.Errorf("after a cut before %s %d: %v, %d writes", where, point, p.values, p.writes)
		}
		if got := step.Summarize(read(t, journal)); got.State != step.Finished {
			t.Errorf("after a cut before %s %d: journal says %v", where, point, got)
		}
	}
}

func TestRecorder_stampsTimeAndBoot(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)
	var got []step.Event
	err := step.Run(t.Context(), newPot("pot"), kitchen(), &step.Recorder{
		Boot:      "b0",
		Now:       func() time.Time { return at },
		Observers: []step.Observer{func(e step.Event) { got = append(got, e) }},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := step.Event{Time: at.Truncate(time.Millisecond), Boot: "b0", Stage: "soup", Step: "water",
		N: 2, Of: 3, Kind: step.Done}
	if got[3] != want {
		t.Errorf("got %+v, want %+v", got[3], want)
	}
}
