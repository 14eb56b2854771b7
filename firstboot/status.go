package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"picluster/firstboot/report"
	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/status"
	"picluster/internal/step"
)

// lookEvery is the time between two looks of a command that waits. It reads a file
// of some kilobytes.
const lookEvery = 500 * time.Millisecond

func statusCommand() cli.Command {
	var wait bool
	var limit time.Duration
	var output, root, page string
	return cli.Command{
		Name:    "status",
		Summary: "how far is this Pi, and what is wrong with it?",
		Details: "Reads the journal, so it needs root but no agent that runs; without root it asks the status\n" +
			"page. The exit code is 1 if the Pi has failed, also if it is going to try again by itself.\n" +
			"With --wait it ends once the Pi is ready (0), has failed (1), or time is up (6).",
		Examples: []string{"sudo firstboot status", "sudo firstboot status --wait --timeout 30m", "firstboot status -o json"},
		Flags: func(f *pflag.FlagSet) {
			f.BoolVar(&wait, "wait", false, "until the Pi is ready or has failed, and say each change")
			f.DurationVar(&limit, "timeout", 0, "with --wait: at most so `long`; 0 is for ever")
			cli.RegisterOutput(f, &output)
			f.StringVar(&root, "root", "/", "the root file system to read")
			f.StringVar(&page, "page", "http://127.0.0.1:"+status.Port+"/status.json", "the page to ask without root")
			hide(f, "root", "page")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if err := statusUsage(output, root, wait, limit); err != nil {
				return err
			}
			q := question{host: host.Local{Root: filepath.Clean(root), Log: env.Log}, page: page}
			s, err := q.ask(ctx)
			if err == nil && wait {
				s, err = q.wait(ctx, env.Stderr, s, limit)
			}
			if err != nil {
				return err
			}
			return show(env.Stdout, s, output)
		},
	}
}

func statusUsage(output, root string, wait bool, limit time.Duration) error {
	if err := cli.CheckOutput(output); err != nil {
		return err
	}
	switch {
	case limit < 0 || limit > 0 && !wait:
		return cli.Exit(cli.Usage, errors.New("read flag --timeout: it is for --wait, and not negative"))
	case !filepath.IsAbs(root):
		return cli.Exit(cli.Usage, fmt.Errorf("read flag --root: %q is no absolute path", root))
	}
	return nil
}

// hide keeps flags that only tests use out of the help.
func hide(f *pflag.FlagSet, names ...string) {
	for _, name := range names {
		f.Lookup(name).Hidden = true
	}
}

// show prints the status; a Pi that has failed is an error without further words.
func show(w io.Writer, s status.Status, output string) error {
	if output == "json" {
		if err := cli.WriteJSON(w, s); err != nil {
			return err
		}
	} else if _, err := io.WriteString(w, report.Sentences(s)); err != nil {
		return err
	}
	if s.State == status.Failed {
		return cli.Exit(cli.Failed, errors.New("configure this Pi: "+s.Text))
	}
	return nil
}

// question is where a status is read from: the machine or, for those who may not,
// the page.
type question struct {
	host host.Local
	page string
}

func (q question) ask(ctx context.Context) (status.Status, error) {
	s, err := q.read(ctx)
	if err == nil {
		return s, nil
	}
	s, pageErr := q.get(ctx)
	if pageErr == nil {
		return s, nil
	}
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	return s, cli.Exit(cli.Device, cli.Hint(errors.Join(err, pageErr), "sudo firstboot status reads it without the page, which is up while the agent works"))
}

// read makes the status from what is on the disk.
func (q question) read(ctx context.Context) (status.Status, error) {
	a := agent{host: q.host}
	data, err := q.host.ReadFile(ctx, steps.ConfigPath)
	if err != nil {
		return status.Status{}, err
	}
	c, err := node.Parse(data)
	if err != nil {
		// A card of another release: the run says the same, so this is its status.
		return report.Make(report.Facts{Error: err, Now: time.Now()}), nil
	}
	events, err := readJournal(q.host)
	if err != nil {
		return status.Status{}, err
	}
	_, sealed := q.host.Stat(ctx, steps.SealPath)
	return report.Make(report.Facts{Config: c, Summary: step.Summarize(events), Boot: a.bootID(ctx),
		Sealed: sealed == nil, Addresses: report.Addresses(), EtcdDisk: a.etcdDisk(), Now: time.Now()}), nil
}

// get asks the page.
func (q question) get(ctx context.Context) (status.Status, error) {
	var s status.Status
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, q.page, nil)
	if err != nil {
		return s, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return s, fmt.Errorf("ask status page: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return s, fmt.Errorf("ask status page: %s", response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&s); err != nil {
		return s, fmt.Errorf("ask status page: %w", err)
	}
	if s.Version != status.Version {
		return s, fmt.Errorf("ask status page: its form is %d, this program reads %d", s.Version, status.Version)
	}
	return s, nil
}

// wait looks until the Pi is ready or has failed. On a terminal it redraws one
// line, elsewhere each change is a line.
func (q question) wait(ctx context.Context, w io.Writer, s status.Status, limit time.Duration) (status.Status, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, cli.Exit(cli.Timeout, fmt.Errorf("wait for this Pi: not ready after %v", limit)))
		defer cancel()
	}
	lines := newLines(w)
	defer lines.done()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for s.State != status.Done && s.State != status.Failed {
		lines.show(s.Line())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return s, context.Cause(ctx)
		}
		next, err := q.ask(ctx)
		if ctx.Err() != nil {
			return s, context.Cause(ctx)
		}
		if err != nil {
			lines.show(err.Error()) // the page is down during a reboot of the agent
			continue
		}
		s = next
	}
	return s, nil
}

// lines shows one line that changes.
type lines struct {
	w     io.Writer
	width int // columns of the terminal; 0: none
	last  string
}

func newLines(w io.Writer) *lines {
	l := &lines{w: w}
	if f, ok := w.(*os.File); ok {
		l.width, _, _ = term.GetSize(int(f.Fd())) // 0 where it is no terminal
	}
	return l
}

func (l *lines) show(line string) {
	if line == l.last {
		return
	}
	l.last = line
	if l.width == 0 {
		fmt.Fprintln(l.w, line)
		return
	}
	if runes := []rune(line); len(runes) >= l.width {
		line = string(runes[:l.width-1])
	}
	fmt.Fprintf(l.w, "\r\x1b[K%s", line)
}

// done leaves the cursor at the beginning of an empty line.
func (l *lines) done() {
	if l.width > 0 && l.last != "" {
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}
