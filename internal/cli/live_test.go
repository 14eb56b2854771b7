package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestLive_redrawsInPlace(t *testing.T) {
	l := &Live{}
	first := l.redraw("node0 starting\nnode1 off\n", 80, 24)
	if strings.Contains(first, "A") || strings.Count(first, "\n") != 2 {
		t.Errorf("the first block is %q", first)
	}
	second := l.redraw("node0 ready\n", 80, 24)
	if !strings.HasPrefix(second, "\x1b[2A") || !strings.HasSuffix(second, "\x1b[J") {
		t.Errorf("the second block is %q", second)
	}
	if third := l.redraw("node0 ready", 80, 24); !strings.HasPrefix(third, "\x1b[1A") {
		t.Errorf("the third block is %q", third)
	}
}

// What is wider or higher than the terminal would leave lines behind.
func TestLive_fitsTheTerminal(t *testing.T) {
	l := &Live{}
	out := l.redraw(strings.Repeat(strings.Repeat("x", 100)+"\n", 30), 40, 10)
	if got := strings.Count(out, "\n"); got != 9 || l.lines != 9 {
		t.Errorf("%d lines, %d remembered", got, l.lines)
	}
	for line := range strings.Lines(out) {
		if text := strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "\r\x1b[K"); len([]rune(text)) > 39 && !strings.Contains(text, "\x1b[J") {
			t.Errorf("a line has %d columns", len([]rune(text)))
		}
	}
	if !strings.Contains(out, "… and 22 lines more") {
		t.Errorf("it does not say what is left out:\n%s", out)
	}
}

func TestLive_drawsNothingWhereNobodyWatches(t *testing.T) {
	var out bytes.Buffer
	l := NewLive(&out)
	l.Draw("node0 ready\n")
	if l.Terminal() || out.Len() > 0 {
		t.Errorf("it has drawn %q", out.String())
	}
}
