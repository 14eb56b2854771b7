package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Progress shows how far a long job is: a bar that redraws itself on a
// terminal, otherwise a plain line each ten percent, and none for what takes less
// than a second, so that logs stay short.
//
//	p := cli.NewProgress(env.Stderr)
//	defer p.Done()
//	p.Show("write", done, total) // as often as you like
//
// Not safe for concurrent use.
type Progress struct {
	w     io.Writer
	width int // columns of the terminal; 0: not a terminal
	now   func() time.Time

	stage   string
	began   time.Time
	first   int64 // what was done when the stage began: a resumed job's rate counts from there
	drawn   time.Time
	percent int // last one printed without a terminal
	last    [2]int64
}

// NewProgress shows progress on w.
func NewProgress(w io.Writer) *Progress {
	p := &Progress{w: w, now: time.Now}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.width = 80
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
			p.width = width
		}
	}
	return p
}

// Show says that done of total bytes of the stage are done. total 0 means that
// nobody knows. A new stage name ends the stage before. Servers are wrong about sizes:
// more than all counts as all.
func (p *Progress) Show(stage string, done, total int64) {
	now := p.now()
	if total > 0 {
		done = min(done, total)
	}
	if stage != p.stage {
		p.Done()
		p.stage, p.began, p.first, p.percent, p.drawn = stage, now, done, -1, time.Time{}
	}
	p.first = min(p.first, done) // a part that is begun anew counts once
	p.last = [2]int64{done, total}
	switch {
	case p.width == 0:
		if now.Sub(p.began) >= time.Second {
			p.plain(done, total)
		}
	case now.Sub(p.drawn) >= 100*time.Millisecond:
		p.drawn = now
		fmt.Fprintf(p.w, "\r\x1b[K%s", p.line(done, total, now))
	}
}

// Done ends the current stage with its final state.
func (p *Progress) Done() {
	if p.stage == "" {
		return
	}
	if p.width > 0 {
		fmt.Fprintf(p.w, "\r\x1b[K%s\n", p.line(p.last[0], p.last[1], p.now()))
	}
	p.stage = ""
}

func (p *Progress) plain(done, total int64) {
	if total <= 0 {
		if p.percent < 0 {
			p.percent = 0
			fmt.Fprintf(p.w, "%s ...\n", p.stage)
		}
		return
	}
	if percent := int(done * 100 / total); percent/10 > p.percent/10 || p.percent < 0 {
		p.percent = percent
		fmt.Fprintf(p.w, "%s %d %% of %s\n", p.stage, percent, Bytes(total))
	}
}

// line is one redrawn line: stage, bar, percent, rate and time left.
func (p *Progress) line(done, total int64, now time.Time) string {
	rate, left := "", ""
	if seconds := now.Sub(p.began).Seconds(); seconds >= 1 {
		perSecond := float64(done-p.first) / seconds
		rate = fmt.Sprintf("  %s/s", Bytes(int64(perSecond)))
		if total > done && perSecond > 0 {
			left = fmt.Sprintf("  %s left", time.Duration(float64(total-done)/perSecond*float64(time.Second)).Round(time.Second))
		}
	}
	if total <= 0 {
		return fmt.Sprintf("%-10s %s%s", p.stage, Bytes(done), rate)
	}
	head := fmt.Sprintf("%-10s ", p.stage)
	tail := fmt.Sprintf(" %3d %%  %s%s%s", done*100/total, Bytes(total), rate, left)
	room := max(p.width-len(head)-len(tail)-3, 0)
	full := int(int64(room) * done / total)
	return head + "[" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "]" + tail
}

// Count says how many there are of a thing: "1 node", "3 nodes".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Bytes prints a size as people read it: "1.4 GiB".
func Bytes(n int64) string {
	const units = "KMGTP"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1023.95 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}
