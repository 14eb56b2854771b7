package step_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/internal/golden"
	"picluster/internal/step"
)

func read(t testing.TB, path string) []step.Event {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	events, err := step.ReadJournal(file)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// clock ticks once a second.
func clock() func() time.Time {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return func() time.Time {
		at = at.Add(time.Second)
		return at
	}
}

// cook runs the kitchen's stages with a journal.
func cook(t testing.TB, journal string, p *pot) {
	t.Helper()
	j, err := step.OpenJournal(journal)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := step.Run(t.Context(), p, kitchen(), &step.Recorder{Journal: j, Boot: "b0", Now: clock()}); err != nil {
		t.Fatal(err)
	}
}

func TestJournal_isOneReadableLinePerEvent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	p := newPot("pot")
	cook(t, path, p)
	cook(t, path, p)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, filepath.Join("testdata", "journal.golden"), data)
}

func TestJournal_belongsToOneRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	first, err := step.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := step.OpenJournal(path); !errors.Is(err, step.ErrBusy) {
		t.Errorf("second open: %v", err)
	}
	first.Close()
	second, err := step.OpenJournal(path)
	if err != nil {
		t.Fatalf("after close: %v", err)
	}
	second.Close()
}

func TestJournal_staysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	line := `{"time":"2026-03-01T12:00:00Z","stage":"soup","step":"water","n":2,"of":3,"event":"unchanged"}` + "\n"
	last := `{"time":"2026-03-01T13:00:00Z","stage":"soup","step":"salt","n":3,"of":3,"event":"failed","text":"none"}` + "\n"
	if err := os.WriteFile(path, []byte(strings.Repeat(line, 1<<20/len(line)+1)+last+"torn"), 0o644); err != nil {
		t.Fatal(err)
	}
	j, err := step.OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 1<<18 || len(data) < 1<<17 || !bytes.HasSuffix(data, []byte(line+last)) || !bytes.HasPrefix(data, []byte(line)) {
		t.Errorf("the journal has %d bytes and ends in %s", len(data), data[max(0, len(data)-200):])
	}
}

// A run that keeps failing has the journal open for weeks.
func TestJournal_staysSmallWhileItIsOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	line := `{"time":"2026-03-01T12:00:00Z","stage":"soup","step":"water","n":2,"of":3,"event":"unchanged"}` + "\n"
	if err := os.WriteFile(path, []byte(strings.Repeat(line, 1<<20/len(line))), 0o644); err != nil {
		t.Fatal(err)
	}
	cook(t, path, newPot("pot"))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	events := read(t, path)
	if len(data) > 1<<18+1<<12 || !bytes.HasPrefix(data, []byte(line)) || len(events) != bytes.Count(data, []byte("\n")) {
		t.Errorf("the journal has %d bytes and %d events in %d lines", len(data), len(events), bytes.Count(data, []byte("\n")))
	}
	whole := filepath.Join(t.TempDir(), "journal")
	cook(t, whole, newPot("pot"))
	if want := read(t, whole); !slices.Equal(events[max(0, len(events)-len(want)):], want) {
		t.Errorf("it does not end in what happened: %v", events[max(0, len(events)-len(want)):])
	}
}

func TestJournal_fullDiskIsNoFailureAndLeavesNoHalfLine(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount a small file system: %v: %s (this test needs root)", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	path, filler := filepath.Join(dir, "journal"), filepath.Join(dir, "filler")
	p := newPot("pot")
	cook(t, path, p)
	before := read(t, path)
	os.WriteFile(filler, make([]byte, 8<<10), 0o644) // takes what there is
	for range 20 {
		cook(t, path, p) // at some line the file's own page is full
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	cook(t, path, p)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	after := read(t, path)
	if lines := bytes.Count(data, []byte("\n")); lines != len(after) || len(after) < len(before)+3 || len(after) > 60 {
		t.Errorf("%d lines with %d events, before it was %d", lines, len(after), len(before))
	}
	if got := step.Summarize(after); got.State != step.Finished {
		t.Errorf("the journal says %+v", got)
	}
}

// A journal that is cut anywhere, and whatever rubbish follows, keeps the events
// before the cut, and the next run's events are whole again.
func FuzzJournal_anyCut(f *testing.F) {
	path := filepath.Join(f.TempDir(), "journal")
	cook(f, path, newPot("pot"))
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	all := read(f, path)
	for _, n := range []int{0, 1, len(whole) / 2, len(whole) - 1, len(whole)} {
		f.Add(uint(n), []byte(nil))
	}
	f.Add(uint(40), []byte("\x00\x00\x00"))
	f.Add(uint(40), []byte("\n{}\nnull\n\"x\"\n"))
	f.Add(uint(len(whole)), []byte(`{"stage":"heat"`))
	f.Fuzz(func(t *testing.T, n uint, rubbish []byte) {
		cut := int(n) % (len(whole) + 1)
		if bytes.Contains(rubbish, []byte(`"event"`)) {
			return // may be an event of its own
		}
		if len(rubbish) > 0 {
			rubbish = slices.Concat([]byte("\x00"), rubbish) // so that it does not complete the torn line
		}
		path := filepath.Join(t.TempDir(), "journal")
		if err := os.WriteFile(path, slices.Concat(whole[:cut], rubbish), 0o644); err != nil {
			t.Fatal(err)
		}
		kept := bytes.Count(whole[:cut], []byte("\n"))
		p := newPot("pot")
		cook(t, path, p)
		got := read(t, path)
		if want := slices.Concat(all[:kept], all); !slices.Equal(got, want) {
			t.Errorf("cut at %d: got %d events, want %d\n%v\n%v", cut, len(got), len(want), got, want)
		}
	})
}

func TestSummary_saysWhereSinceWhenAndWhy(t *testing.T) {
	const a, b, c = "heat/gas", "soup/water", "soup/salt"
	type ev struct {
		step string
		kind step.Kind
		text string
	}
	n := map[string]int{a: 1, b: 2, c: 3}
	for _, test := range []struct {
		name   string
		events []ev
		want   string // state, step, place, second of Since, text, warnings
	}{
		{"nothing yet", nil, " / 0/0 -"},
		{"first step", []ev{{a, step.Applying, "gas is off"}}, "running heat/gas 1/3 1 gas is off"},
		{"between steps", []ev{{a, step.Applying, "x"}, {a, step.Done, ""}}, "running heat/gas 1/3 2 "},
		{"waiting", []ev{{a, step.Unchanged, ""}, {b, step.Applying, "dry"}, {b, step.Waiting, "tap"}}, "waiting soup/water 2/3 2 tap"},
		{"failed in three runs", []ev{
			{a, step.Unchanged, ""}, {b, step.Applying, "dry"}, {b, step.Failed, "no tap"},
			{a, step.Unchanged, ""}, {b, step.Applying, "dry"}, {b, step.Failed, "no tap"},
			{a, step.Unchanged, ""}, {b, step.Failed, "check: dark"},
		}, "failed soup/water 2/3 2 check: dark"},
		{"reboot", []ev{{a, step.Applying, "cold"}, {a, step.Reboot, "cold"}}, "rebooting heat/gas 1/3 1 cold"},
		{"finished", []ev{{a, step.Unchanged, ""}, {b, step.Unchanged, ""}, {c, step.Done, ""}}, "finished soup/salt 3/3 3 "},
		{"finished with a warning", []ev{{a, step.Unchanged, ""}, {b, step.Warned, "dry"}, {c, step.Warned, "sold out"}},
			"finished soup/salt 3/3 3 sold out soup/water soup/salt"},
		{"a warning stays until its step is right", []ev{{b, step.Warned, "dry"}, {c, step.Warned, "sold out"}, {a, step.Unchanged, ""}, {b, step.Applying, "dry"}},
			"running soup/water 2/3 1 dry soup/water soup/salt"},
		{"and is there once", []ev{{b, step.Warned, "dry"}, {c, step.Warned, "sold out"}, {b, step.Warned, "still dry"}, {c, step.Done, ""}},
			"finished soup/salt 3/3 4  soup/water"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s step.Summary
			at := time.Unix(0, 0).UTC()
			for _, e := range test.events {
				at = at.Add(time.Second)
				stage, name, _ := strings.Cut(e.step, "/")
				s.Add(step.Event{Time: at, Stage: stage, Step: name, N: n[e.step], Of: 3, Kind: e.kind, Text: e.text})
			}
			since := "-"
			if !s.Since.IsZero() {
				since = fmt.Sprint(s.Since.Unix())
			}
			got := fmt.Sprintf("%s %s/%s %d/%d %s", s.State, s.Stage, s.Step, s.N, s.Of, since)
			if !s.Since.IsZero() {
				got += " " + s.Text
			}
			for _, w := range s.Warnings {
				got += " " + w.Stage + "/" + w.Step
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}
