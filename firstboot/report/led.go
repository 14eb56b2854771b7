package report

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"picluster/internal/status"
)

// LEDDir is where Linux has the lamps of a board.
const LEDDir = "/sys/class/leds"

// The activity lamp is ACT since Linux 6.1 and led0 before.
var ledNames = []string{"ACT", "led0"}

const (
	longFlash  = time.Second
	shortFlash = 200 * time.Millisecond
	gap        = 400 * time.Millisecond
	pause      = 2 * time.Second
	steady     = 10 * time.Second
)

// code is what the lamp says, again and again. The firmware's own codes
// (raspberrypi.com/documentation, "LED warning flash codes") have only short
// flashes, or short ones after two long ones or more; so only long ones, and one
// long one before short ones, are free.
type code struct {
	long, short int
	done        bool // steady for ten seconds, then what the lamp did before
}

// codeOf: 1 long at work, 2 waiting for network or time, 3 downloading and
// installing, 4 waiting for another node; 1 long and n short: failed.
func codeOf(s status.Status) code {
	switch {
	case s.State == status.Done:
		return code{done: true}
	case s.State == status.Failed:
		return code{long: 1, short: flashesOf(s.Stage)}
	case s.State == status.Starting:
		return code{long: 1}
	case s.Stage == "network", s.Stage == "time":
		return code{long: 2}
	case s.State == status.Waiting && (s.Stage == "join" || s.Stage == "enroll"):
		return code{long: 4}
	case s.Stage == "kubernetes", s.Stage == "runtime", s.Stage == "control-plane", s.Stage == "packages", s.Stage == "firmware":
		return code{long: 3}
	}
	return code{long: 1}
}

// led shows codes on the activity lamp as well as it can: lamps are missing,
// reversed or dead on some boards and kernels, and it is nobody's error.
type led struct {
	dir  string                                     // of all lamps
	wait func(ctx context.Context, d time.Duration) // until d is over, or ctx

	mu      sync.Mutex
	code    code
	changed chan struct{}
}

func newLED(dir string) *led {
	return &led{dir: dir, changed: make(chan struct{}, 1), wait: func(ctx context.Context, d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}}
}

// show changes what is shown from the next turn on.
func (l *led) show(c code) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == l.code {
		return
	}
	l.code = c
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

func (l *led) current() code {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.code
}

// run shows codes until ctx ends, and leaves the lamp as it was.
func (l *led) run(ctx context.Context) {
	lamp := l.find()
	if lamp == "" {
		return
	}
	trigger := chosen(read(lamp, "trigger"))
	on := read(lamp, "max_brightness")
	if on == "" {
		on = "1"
	}
	defer write(lamp, "trigger", trigger)
	var shown code
	for ctx.Err() == nil {
		c := l.current()
		if c == (code{}) || c.done && shown.done {
			select {
			case <-l.changed:
			case <-ctx.Done():
			}
			continue
		}
		shown = c
		write(lamp, "trigger", "none")
		if c.done {
			l.flash(ctx, lamp, on, steady)
			write(lamp, "trigger", trigger)
			continue
		}
		for range c.long {
			l.flash(ctx, lamp, on, longFlash)
		}
		for range c.short {
			l.flash(ctx, lamp, on, shortFlash)
		}
		l.wait(ctx, pause)
	}
}

func (l *led) flash(ctx context.Context, lamp, on string, d time.Duration) {
	if ctx.Err() != nil {
		return
	}
	write(lamp, "brightness", on)
	l.wait(ctx, d)
	write(lamp, "brightness", "0")
	l.wait(ctx, gap)
}

func (l *led) find() string {
	for _, name := range ledNames {
		lamp := filepath.Join(l.dir, name)
		if read(lamp, "trigger") != "" {
			return lamp
		}
	}
	return ""
}

// chosen is the trigger in use, which the kernel puts into brackets:
// "none timer [mmc0] heartbeat".
func chosen(triggers string) string {
	_, rest, _ := strings.Cut(triggers, "[")
	name, _, _ := strings.Cut(rest, "]")
	return name
}

func read(lamp, attribute string) string {
	data, _ := os.ReadFile(filepath.Join(lamp, attribute)) // no lamp, no code
	return strings.TrimSpace(string(data))
}

// write never makes a file: in sysfs each attribute is there, or the lamp has none.
func write(lamp, attribute, value string) {
	if value == "" {
		return
	}
	f, err := os.OpenFile(filepath.Join(lamp, attribute), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return
	}
	defer f.Close()
	f.WriteString(value)
}
