package report

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"picluster/internal/status"
)

const (
	maxText = 400 // runes of an error, in which a program's output may be

	// STATUS.txt is to be read without scrolling, in an editor that does not wrap.
	textWidth   = 78 // columns
	maxWarnings = 3
	maxLeftOut  = 2 * textWidth // runes of each
)

// Sentences are a status for people, lines ending in "\n". The first says what
// this Pi is, the last what to do.
func Sentences(s status.Status) string {
	var b strings.Builder
	fmt.Fprintln(&b, s.Headline())
	line := func(what, text string) {
		if text != "" {
			b.WriteString(wrap(what + ": " + text))
		}
	}
	switch s.State {
	case status.Failed:
		line("What failed", s.Place())
		line("Why", s.Text)
	case status.Waiting:
		line("Now", s.Place()+s.Count())
		line("Waiting for", s.Text)
	case status.Running:
		line("Now", s.Activity())
	}
	if s.State != status.Done {
		line("Since", when(s, s.Since))
	}
	line("Next try, by itself", when(s, s.RetryAt))
	leftOut(s, line)
	if s.EtcdDisk != nil {
		line("Its disk", fmt.Sprintf("99 of 100 writes of the control plane are done within %s", s.EtcdDisk.P99.Round(100*time.Microsecond)))
	}
	line("Log in with", s.SSH)
	line("Or with", sshByAddress(s))
	if s.Node != "" && s.SSH != "" && s.State != status.Done {
		line("Watch it", "http://"+s.Node+".local:"+status.Port+"/")
	}
	line("What to do", s.Hint)
	return b.String()
}

func leftOut(s status.Status, line func(what, text string)) {
	for i, w := range s.Warnings {
		if i == maxWarnings {
			line("Left out", fmt.Sprintf("%d more, see %s", len(s.Warnings)-i, logFile))
			return
		}
		line("Left out", shorten(w.Stage+"/"+w.Step+": "+w.Text, maxLeftOut))
		if s.State == status.Done { // else there is something more urgent
			line("What helps", w.Hint)
		}
	}
}

// sshByAddress is the way in where NAME.local is not understood; empty if there is
// none.
func sshByAddress(s status.Status) string {
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

func when(s status.Status, t time.Time) string { return s.Format(t, "Mon 2 Jan 2006, 15:04 MST") }

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
