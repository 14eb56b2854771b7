package report

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/status"
	"picluster/internal/step"
)

// lamp is a lamp in a directory like the kernel's.
func lamp(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{"trigger": "none timer [mmc0] heartbeat\n", "brightness": "0\n", "max_brightness": "255\n"} {
		if err := os.WriteFile(filepath.Join(dir, name, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// watch runs the lamp for a number of waits and tells what somebody sees who looks
// at it: L and s for a long and a short flash, S for a steady light, - for a pause.
// Before each wait, it may change what is shown.
func watch(t *testing.T, l *led, name string, waits int, before func(i int)) (seen string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	i := 0
	l.wait = func(_ context.Context, d time.Duration) {
		if i++; i > waits {
			cancel()
			return
		}
		lit := read(filepath.Join(l.dir, name), "brightness") == "255"
		if trigger := read(filepath.Join(l.dir, name), "trigger"); trigger != "none" {
			t.Errorf("while a code is shown, the trigger is %q", trigger)
		}
		switch {
		case lit && d == longFlash:
			seen += "L"
		case lit && d == shortFlash:
			seen += "s"
		case lit && d == steady:
			seen += "S"
		case d == pause:
			seen += "-"
		case d != gap:
			seen += fmt.Sprint(d)
		}
		before(i)
	}
	l.run(ctx)
	return seen
}

func TestLED_showsTheCode(t *testing.T) {
	place := func(name string, kind step.Kind) status.Status {
		return Make(facts(worker(), at(1, name, 10, kind, "x")))
	}
	for want, s := range map[string]status.Status{
		"L-L-":                 place("swap/zram", step.Applying),
		"LL-LL-":               place("network/connection", step.Waiting),
		"LLL-LLL-":             place("packages/htop", step.Applying),
		"LLLL-LLLL-":           place("join/membership", step.Waiting),
		"Ls-Ls-":               place("install/release", step.Failed),
		"Lsss-Lsss-":           place("network/connection", step.Failed),
		"Lssssssss-Lssssssss-": place("storage/disk", step.Failed),
	} {
		for _, name := range []string{"ACT", "led0"} {
			l := newLED(lamp(t, name))
			l.show(codeOf(s))
			waits := len(want)*2 - strings.Count(want, "-") // each flash is followed by a gap
			if got := watch(t, l, name, waits, func(int) {}); got != want {
				t.Errorf("%s/%s %s: the lamp shows %s, want %s", s.Stage, s.Step, s.State, got, want)
			}
			if got := read(filepath.Join(l.dir, name), "trigger"); got != "mmc0" {
				t.Errorf("afterwards the trigger is %q", got)
			}
		}
	}
}

// Once all is done the lamp is the kernel's again, until something happens.
func TestLED_isGivenBackWhenDone(t *testing.T) {
	dir := lamp(t, "ACT")
	l := newLED(dir)
	l.show(code{done: true})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []string
	given := make(chan struct{})
	l.wait = func(ctx context.Context, d time.Duration) {
		if ctx.Err() != nil {
			return
		}
		seen = append(seen, fmt.Sprintf("%v %s", d, read(filepath.Join(dir, "ACT"), "brightness")))
		if len(seen) == 2 {
			close(given)
		}
		if len(seen) == 3 {
			cancel()
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.run(ctx)
	}()
	<-given
	l.show(code{long: 1})
	<-ended
	if got, want := strings.Join(seen, ", "), "10s 255, 400ms 0, 1s 255"; got != want {
		t.Errorf("the lamp did %s, want %s", got, want)
	}
}

func TestLED_isNobodysErrorIfThereIsNone(t *testing.T) {
	for name, dir := range map[string]string{"no lamps": t.TempDir(), "no directory": "/nonexistent/leds"} {
		l := newLED(dir)
		l.show(code{long: 1})
		l.run(t.Context()) // comes back
		if _, err := os.Stat(filepath.Join(dir, "ACT")); err == nil {
			t.Errorf("%s: a lamp was made", name)
		}
	}
}

// The firmware's own codes begin with no long flash or with two or more before
// short ones.
func TestLED_usesNoCodeOfTheFirmware(t *testing.T) {
	places := []string{"install", "identity", "network", "system", "vendor", "boot", "unknown"}
	for _, s := range stages {
		places = append(places, s.name)
	}
	for _, place := range places {
		for _, state := range []status.State{status.Starting, status.Running, status.Waiting, status.Failed, status.Rebooting} {
			c := codeOf(status.Status{Stage: place, State: state})
			if c.long == 0 || c.short > 0 && c.long != 1 || (c.short > 0) != (state == status.Failed) {
				t.Errorf("%s %s: %d long and %d short flashes", state, place, c.long, c.short)
			}
		}
	}
}
