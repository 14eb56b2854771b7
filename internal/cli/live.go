package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Live is a block of lines that changes while somebody watches. Where there is no
// terminal nothing is ever redrawn; callers print a line per change there.
//
// Not safe for concurrent use.
type Live struct {
	w     io.Writer
	fd    int
	lines int // of the block that stands there
}

// NewLive draws on w. Terminal tells whether it can.
func NewLive(w io.Writer) *Live {
	l := &Live{w: w, fd: -1}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		l.fd = int(f.Fd())
	}
	return l
}

// Terminal reports whether somebody watches.
func (l *Live) Terminal() bool { return l.fd >= 0 }

// Draw puts a block in place of the last one. Lines that are too long are cut, and
// so is a block that is higher than the terminal: what has scrolled away cannot be
// redrawn.
func (l *Live) Draw(block string) {
	if !l.Terminal() {
		return
	}
	width, height, err := term.GetSize(l.fd)
	if err != nil || width < 20 || height < 5 {
		width, height = 80, 24
	}
	fmt.Fprint(l.w, l.redraw(block, width, height))
}

// redraw is what moves the cursor up, writes and erases what is left below.
func (l *Live) redraw(block string, width, height int) string {
	var out strings.Builder
	if l.lines > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", l.lines)
	}
	lines := strings.Split(strings.TrimSuffix(block, "\n"), "\n")
	if more := len(lines) - (height - 1); more > 0 {
		lines = append(lines[:height-2], fmt.Sprintf("… and %d lines more", more+1))
	}
	for _, line := range lines {
		fmt.Fprintf(&out, "\r\x1b[K%s\n", Shorten(line, width-1))
	}
	out.WriteString("\x1b[J")
	l.lines = len(lines)
	return out.String()
}

// Shorten cuts a text after n characters, with a sign that it did.
func Shorten(s string, n int) string {
	if runes := []rune(s); len(runes) > n && n > 0 {
		return string(runes[:n-1]) + "…"
	}
	return s
}
