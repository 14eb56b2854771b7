package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

var directory = host.File{Mode: fs.ModeDir}

// statusFile is read on a laptop, by somebody whose Pi does not show up.
const statusFile = "STATUS.txt"

// report writes STATUS.txt and returns err, with what could not be written. c is
// nil if it was not even possible to read it.
func (e early) report(c *node.Config, warnings []step.Event, err error) error {
	text := statusText(c, warnings, err)
	// The run's own context may be what ended it.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name := path.Join(e.boot, statusFile)
	if writeErr := e.host.Write(ctx, name, host.File{Data: []byte(crlf(text))}); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	if err == nil {
		fmt.Fprintf(e.console, "picluster: this Pi is configured as %s\n", c.Name)
	}
	return err
}

func statusText(c *node.Config, warnings []step.Event, err error) string {
	var b strings.Builder
	switch {
	case err == nil:
		fmt.Fprintf(&b, "This Pi is configured: it is %s of the cluster %s.\n", c.Name, c.Cluster.Name)
		fmt.Fprintf(&b, "Log in with: ssh %s@%s.local\n", c.System.User.Name, c.Name)
	case c == nil:
		fmt.Fprintf(&b, "This Pi was NOT configured.\nWhy: %s\n", oneLine(err.Error()))
		b.WriteString("What to do: write the card again with imagebuilder.\n")
	default:
		what, why, ok := strings.Cut(err.Error(), ": ")
		if !ok {
			what, why = "the first boot", what
		}
		fmt.Fprintf(&b, "This Pi was configured in part only. It should be %s of the cluster %s.\n", c.Name, c.Cluster.Name)
		fmt.Fprintf(&b, "What failed: %s\nWhy: %s\n", oneLine(what), oneLine(why))
		b.WriteString("What to do: switch the Pi off and on, it tries again. If this text is the same\n" +
			"afterwards, write the card again with imagebuilder.\n")
	}
	for _, w := range warnings {
		fmt.Fprintf(&b, "Left out: %s/%s: %s\n", w.Stage, w.Step, oneLine(w.Text))
	}
	return b.String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// crlf is for editors that know no other line ends.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
