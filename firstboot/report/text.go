package report

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

const (
	maxText = 400 // runes of an error, in which a program's output may be

	// STATUS.txt is to be read without scrolling, in an editor that does not wrap.
	textWidth   = 78 // columns
	maxWarnings = 3
	maxLeftOut  = 2 * textWidth // runes of each
)

// Sentences are the status for people, lines ending in "\n". The first says what
// this Pi is, the last what to do.
func (s Status) Sentences() string {
	var b strings.Builder
	fmt.Fprintln(&b, s.headline())
	line := func(what, text string) {
		if text != "" {
			b.WriteString(wrap(what + ": " + text))
		}
	}
	switch s.State {
	case Failed:
		line("What failed", s.place())
		line("Why", s.Text)
	case Waiting:
		line("Now", s.place()+s.count())
		line("Waiting for", s.Text)
	case Running:
		line("Now", s.activity())
	}
	if s.State != Done {
		line("Since", s.when(s.Since))
	}
	line("Next try, by itself", s.when(s.RetryAt))
	s.leftOut(line)
	line("Log in with", s.SSH)
	line("Or with", s.sshByAddress())
	if s.Node != "" && s.SSH != "" && s.State != Done {
		line("Watch it", "http://"+s.Node+".local:"+Port+"/")
	}
	line("What to do", s.Hint)
	return b.String()
}

// headline is the first sentence.
func (s Status) headline() string {
	name := fmt.Sprintf("%s of the cluster %s", s.Node, s.Cluster)
	switch {
	case s.State == Done:
		return "This Pi is configured: it is " + name + "."
	case s.Node == "":
		return "This Pi was NOT configured."
	case s.State == Failed:
		return "This Pi was configured in part only. It should be " + name + "."
	case s.State == Waiting:
		return "This Pi is becoming " + name + ". It has to wait."
	case s.State == Rebooting:
		return "This Pi is becoming " + name + ". It reboots by itself."
	case s.State == Starting:
		return "This Pi is becoming " + name + ". It has just been switched on."
	}
	return "This Pi is becoming " + name + "."
}

// place is where in the run: "packages/containerd".
func (s Status) place() string {
	switch {
	case s.Step != "":
		return s.Stage + "/" + s.Step
	case s.State == Failed && s.Node != "":
		return "the first boot"
	}
	return ""
}

func (s Status) count() string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf(" (step %d of %d)", s.N, s.Of)
}

// activity is what a running node is at. Between the two lists of steps, the one
// before systemd and the one after, it is at none.
func (s Status) activity() string {
	switch {
	case s.Of > 0 && s.N == s.Of && s.Text == "":
		return "its name, user and keys are set up; the rest follows"
	case s.Text != "":
		return s.place() + s.count() + ": " + s.Text
	}
	return s.place() + s.count()
}

func (s Status) leftOut(line func(what, text string)) {
	for i, w := range s.Warnings {
		if i == maxWarnings {
			line("Left out", fmt.Sprintf("%d more, see %s", len(s.Warnings)-i, logFile))
			return
		}
		line("Left out", shorten(w.Stage+"/"+w.Step+": "+w.Text, maxLeftOut))
		if s.State == Done { // else there is something more urgent
			line("What helps", w.Hint)
		}
	}
}

// sshByAddress is the way in where NAME.local is not understood; empty if there is
// none.
func (s Status) sshByAddress() string {
	if s.SSH == "" {
		return ""
	}
	user, _, _ := strings.Cut(strings.TrimPrefix(s.SSH, "ssh "), "@")
	for _, a := range s.Addresses {
		if a.Is4() {
			return fmt.Sprintf("ssh %s@%s", user, a)
		}
	}
	return ""
}

// when is a time by the clock on the wall where the Pi is; "" if not known.
func (s Status) when(t time.Time) string { return s.format(t, "Mon 2 Jan 2006, 15:04 MST") }

func (s Status) format(t time.Time, layout string) string {
	if t.IsZero() {
		return ""
	}
	zone, err := time.LoadLocation(s.Timezone)
	if err != nil {
		zone = time.UTC
	}
	return t.In(zone).Format(layout)
}

// Line is the status in one line, for consoles.
func (s Status) Line() string {
	name := s.Node
	if name == "" {
		name = "this Pi"
	}
	switch {
	case s.State == Done:
		return strings.TrimSuffix(s.headline(), ".")
	case s.State == Running:
		return fmt.Sprintf("%s: running: %s", name, s.activity())
	case s.State == Failed || s.State == Waiting:
		place := s.place()
		if place != "" {
			place += s.count() + ": "
		}
		return fmt.Sprintf("%s: %s: %s%s", name, s.State, place, s.Text)
	}
	return fmt.Sprintf("%s: %s", name, s.State)
}

// wrap breaks a long sentence into lines.
func wrap(text string) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		width := len([]rune(word))
		switch {
		case column == 0:
		case column+1+width > textWidth:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += width
	}
	b.WriteByte('\n')
	return b.String()
}

// oneLine makes a program's output part of a sentence: no line breaks, and nothing
// that a terminal would obey or that changes the order of what is read.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

func shorten(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return s
}

// crlf is for editors that know no other line ends.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
