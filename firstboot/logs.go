package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"picluster/firstboot/report"
	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/step"
)

func logsCommand() cli.Command {
	var follow bool
	var last int
	var root string
	return cli.Command{
		Name:     "logs",
		Summary:  "what was done to this Pi, step by step",
		Details:  "Prints the journal of all boots: time, step, its place, what happened. `journalctl -u\npicluster-firstboot` has more words about this boot.",
		Examples: []string{"firstboot logs -n 20", "firstboot logs --follow"},
		Flags: func(f *pflag.FlagSet) {
			f.BoolVarP(&follow, "follow", "f", false, "go on with what happens next")
			f.IntVarP(&last, "lines", "n", -1, "only the last `count` lines")
			f.StringVar(&root, "root", "/", "the root file system to read")
			hide(f, "root")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if !filepath.IsAbs(root) {
				return cli.Exit(cli.Usage, fmt.Errorf("read flag --root: %q is no absolute path", root))
			}
			h := host.Local{Root: filepath.Clean(root), Log: env.Log}
			events, err := readJournal(h)
			if err != nil {
				return err
			}
			if len(events) == 0 && !follow {
				fmt.Fprintln(env.Stderr, "Nothing has been done to this Pi yet.")
			}
			shown := events
			if last >= 0 {
				shown = events[max(0, len(events)-last):]
			}
			if err := printEvents(env.Stdout, shown); err != nil || !follow {
				return err
			}
			return followJournal(ctx, env.Stdout, h, events)
		},
	}
}

func journalPath(h host.Local) string { return filepath.Join(h.Root, steps.JournalPath) }

// readJournal reads what is there; a Pi on which nothing has happened yet has none.
func readJournal(h host.Local) ([]step.Event, error) {
	data, err := os.ReadFile(journalPath(h))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return step.ReadJournal(bytes.NewReader(data))
}

func printEvents(w io.Writer, events []step.Event) error {
	for _, e := range events {
		if _, err := fmt.Fprintln(w, report.Line(e)); err != nil {
			return err
		}
	}
	return nil
}

// followJournal prints what comes after the events that were seen, until ctx ends.
// The journal grows, and a new run may cut off its beginning.
func followJournal(ctx context.Context, w io.Writer, h host.Local, seen []step.Event) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var size int64
	var changed time.Time
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		info, err := os.Stat(journalPath(h))
		if err != nil || info.Size() == size && info.ModTime().Equal(changed) {
			continue // not made yet, or nothing new
		}
		size, changed = info.Size(), info.ModTime()
		events, err := readJournal(h)
		if err != nil {
			return err
		}
		next := 0
		if len(seen) > 0 {
			last := seen[len(seen)-1]
			for i, e := range slices.Backward(events) {
				if e == last {
					next = i + 1
					break
				}
			}
		}
		if err := printEvents(w, events[next:]); err != nil {
			return err
		}
		if len(events) > 0 {
			seen = events
		}
	}
}
