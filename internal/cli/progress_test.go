package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"
)

func TestProgress_plainLinesEachTenPercent(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &Progress{w: &out, now: func() time.Time { return now }}
	for done := int64(0); done <= 1000; done++ {
		p.Show("write", done, 1000)
		now = now.Add(5 * time.Millisecond)
	}
	for range 2 {
		p.Show("hash", 5, 0)
		now = now.Add(time.Second)
	}
	p.Done()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	// The first line comes after a second, a fifth of the whole.
	if len(lines) != 10 || lines[0] != "write 20 % of 1000 B" || lines[8] != "write 100 % of 1000 B" || lines[9] != "hash ..." {
		t.Errorf("printed %d lines:\n%s", len(lines), out.String())
	}
}

func TestProgress_saysNothingOfWhatIsQuick(t *testing.T) {
	var out bytes.Buffer
	p := &Progress{w: &out, now: func() time.Time { return time.Unix(0, 0) }}
	p.Show("write", 0, 1000)
	p.Show("write", 1000, 1000)
	p.Show("verify", 1000, 1000)
	p.Done()
	if out.Len() > 0 {
		t.Errorf("printed:\n%s", out.String())
	}
}

func TestProgress_barHasRateAndTimeLeft(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	p := &Progress{w: &out, width: 79, now: func() time.Time { return now }}
	p.Show("write", 0, 100<<20)
	now = now.Add(10 * time.Second)
	p.Show("write", 25<<20, 100<<20)
	last := out.String()[strings.LastIndex(out.String(), "\r"):]
	for _, want := range []string{"write", "[####", "25 %", "100.0 MiB", "2.5 MiB/s", "30s left"} {
		if !strings.Contains(last, want) {
			t.Errorf("no %q in %q", want, last)
		}
	}
	if width := len(strings.TrimPrefix(last, "\r\x1b[K")); width >= 79 {
		t.Errorf("the line is %d columns wide", width)
	}
	p.Done()
	if !strings.HasSuffix(out.String(), "\n") {
		t.Error("the last state has no line end")
	}
}

// A server that sends more than it said, or a part that is counted twice.
func TestProgress_moreThanAllIsAll(t *testing.T) {
	now := time.Unix(0, 0)
	for _, width := range []int{0, 79} {
		var out bytes.Buffer
		p := &Progress{w: &out, width: width, now: func() time.Time { now = now.Add(2 * time.Second); return now }}
		p.Show("get", 900, 1000)
		p.Show("get", 300, 1000)
		p.Show("get", 1500, 1000)
		p.Done()
		if got := out.String(); !strings.Contains(got, "100 %") || strings.Contains(got, "150 %") || strings.Contains(got, "-") {
			t.Errorf("printed %q", got)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 15 << 30: "15.0 GiB", 1 << 60: "1024.0 PiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestAsk_takesOneLineEach(t *testing.T) {
	in := strings.NewReader("yes \nsecond\nlast")
	var out bytes.Buffer
	env := Env{Stdin: in, Stderr: &out}
	for _, want := range []string{"yes", "second", "last"} {
		if got, err := Ask(t.Context(), env, "? "); got != want || err != nil {
			t.Errorf("answer is %q, %v, want %q", got, err, want)
		}
	}
	if _, err := Ask(t.Context(), env, "? "); CodeOf(err) != Usage {
		t.Errorf("with nobody there the error is %v", err)
	}
}

// read is a reader that is a function.
type read func([]byte) (int, error)

func (r read) Read(p []byte) (int, error) { return r(p) }

func TestAsk_interruptedWhileItWaits(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	keyboard := read(func([]byte) (int, error) {
		interrupt()
		select {} // nobody types anything any more
	})
	var out bytes.Buffer
	if _, err := Ask(ctx, Env{Stdin: keyboard, Stderr: &out}, "Sure? "); CodeOf(err) != interrupted || out.String() != "Sure? \n" {
		t.Errorf("error %v, printed %q", err, out.String())
	}
	out.Reset()
	if _, err := Ask(ctx, Env{Stdin: strings.NewReader("y\n"), Stderr: &out}, "Sure? "); CodeOf(err) != interrupted || out.Len() > 0 {
		t.Errorf("asked after the interrupt: error %v, printed %q", err, out.String())
	}
}
