package report

import (
	"bytes"
	"context"
	"log/slog"
	"path"
	"time"

	"picluster/internal/host"
	"picluster/internal/status"
)

const (
	statusFile = "STATUS.txt"
	logFile    = "firstboot.log"

	// Each write to the FAT is a new file and a rename: about ten sectors, on
	// flash that wears out.
	statusEvery = 5 * time.Second
	logEvery    = 30 * time.Second
)

// WriteStatus writes STATUS.txt into the directory where the FAT partition is
// mounted: it is read on a laptop, by somebody whose Pi does not show up.
func WriteStatus(ctx context.Context, h host.Host, dir string, s status.Status) error {
	return h.Write(ctx, path.Join(dir, statusFile), host.File{Data: []byte(crlf(Sentences(s)))})
}

// card writes STATUS.txt and firstboot.log, seldom. A FAT partition that is full
// or has become read-only is told to the log, once, and is no other's affair.
type card struct {
	host host.Host
	dir  string
	log  *slog.Logger

	status   string // last written
	statusAt time.Time
	lines    uint64 // of the log, when it was last written
	logAt    time.Time
	failing  bool
}

// show writes what is new and due, everything that is new if all. now has a
// monotonic reading: the clock is going to be set meanwhile. It returns when to
// call again, zero if there is nothing left to write.
func (c *card) show(ctx context.Context, s status.Status, r *ring, now time.Time, all bool) (again time.Time) {
	urgent := all || s.State == status.Failed || s.State == status.Rebooting || s.State == status.Done
	text := Sentences(s)
	if due := c.statusAt.Add(statusEvery); text != c.status {
		if c.statusAt.IsZero() || !now.Before(due) || urgent {
			c.statusAt = now
			if c.check(WriteStatus(ctx, c.host, c.dir, s)) {
				c.status = text
			}
		}
		if text != c.status {
			again = c.statusAt.Add(statusEvery)
		}
	}
	lines, added := r.text()
	if added == c.lines {
		return again
	}
	if due := c.logAt.Add(logEvery); all || !now.Before(due) {
		c.logAt = now
		if c.check(c.host.Write(ctx, path.Join(c.dir, logFile), host.File{Data: lines})) {
			c.lines = added
		}
	}
	if due := c.logAt.Add(logEvery); added != c.lines && (again.IsZero() || due.Before(again)) {
		again = due
	}
	return again
}

// load fills r with the log that an earlier boot has left on the card.
func (c *card) load(ctx context.Context, r *ring) (found bool, err error) {
	old, err := c.host.ReadFile(ctx, path.Join(c.dir, logFile))
	if err != nil {
		return false, err
	}
	// Anybody may have written to the card; more than a ring's worth is not ours.
	for line := range bytes.Lines(old[max(0, len(old)-maxLog):]) {
		r.add(string(line))
	}
	_, c.lines = r.text()
	return len(old) > 0, nil
}

// check logs the first of a row of errors.
func (c *card) check(err error) (ok bool) {
	if err != nil && !c.failing {
		c.log.Warn("status on the card", "error", err)
	}
	c.failing = err != nil
	return err == nil
}
