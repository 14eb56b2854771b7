package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"picluster/firstboot/report"
	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// earlyTime bounds the whole of it, which takes seconds. A card that is about to
// die may take a minute for a write.
const earlyTime = 8 * time.Minute

func earlyCommand() cli.Command {
	var boot, root string
	return cli.Command{
		Name:    "early",
		Summary: "configure the root file system, before systemd starts",
		Details: "Started by picluster/start.sh on the boot partition, as a child of PID 1, with / mounted\n" +
			"read-only. Whatever goes wrong stands in STATUS.txt on the boot partition, and the Pi\n" +
			"boots on. Safe to repeat; after a power cut the next boot does.",
		Examples: []string{"firstboot early --boot /boot/firmware"},
		Flags: func(f *pflag.FlagSet) {
			f.StringVar(&boot, "boot", "", "where the boot partition is mounted, below --root")
			f.StringVar(&root, "root", "/", "the root file system to configure")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if !path.IsAbs(boot) || path.Clean(boot) != boot || !filepath.IsAbs(root) {
				return cli.Exit(cli.Usage, cli.Hint(errors.New("read flags of early: --boot is no absolute, clean path"),
					"start.sh on the boot partition calls this command"))
			}
			h := host.Local{Root: filepath.Clean(root), Chroot: filepath.Clean(root) != "/", Log: env.Log}
			return early{agent{host: h, boot: boot, log: env.Log, console: env.Stderr}}.run(ctx)
		},
	}
}

var directory = host.File{Mode: fs.ModeDir}

// early is one run of the command.
type early struct{ agent }

// run always comes back, and leaves STATUS.txt and a root file system that init
// can take over as it would have found it.
func (e early) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, earlyTime, fmt.Errorf("gave up after %s", earlyTime))
	defer cancel()
	if e.isMachine() {
		if _, err := e.host.Run(ctx, host.Cmd{Args: []string{"mount", "-o", "remount,rw", "/"}}); err != nil {
			return e.report(nil, step.Summary{}, fmt.Errorf("make / writable: %w", err))
		}
		defer e.readOnly()
	}
	return e.guarded(ctx)
}

// guarded turns a panic into an error like others: PID 1 waits for us.
func (e early) guarded(ctx context.Context) (err error) {
	var c *node.Config
	var seen step.Summary
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("crashed: %v", p)
		}
		err = e.report(c, seen, err)
	}()
	if c, err = e.config(ctx); err != nil {
		return err
	}
	if e.isMachine() {
		e.setClock(c.Build.Time)
	}
	fmt.Fprintf(e.console, "picluster: configuring this Pi as %s\n", c.Name)
	return e.configure(ctx, c, &seen)
}

// config reads node.json from the card or, once it is erased there, from where an
// earlier run has put it. Erasing may have been cut off, so what is on the card
// may be half a file.
func (e early) config(ctx context.Context) (*node.Config, error) {
	data, err := e.host.ReadFile(ctx, steps.Env{Boot: e.boot}.ConfigOnFAT())
	if err == nil {
		var c *node.Config
		if c, err = node.Parse(data); err == nil {
			return c, nil
		}
	}
	if data, installedErr := e.host.ReadFile(ctx, steps.ConfigPath); installedErr == nil {
		return node.Parse(data)
	}
	return nil, err
}

// setClock moves the clock of a board that has none forward to when the card was
// made: time stamps of today keep caches and the journal in order.
func (e early) setClock(atLeast time.Time) {
	if !time.Now().Before(atLeast) {
		return
	}
	t := unix.NsecToTimeval(atLeast.UnixNano())
	if err := unix.Settimeofday(&t); err != nil {
		e.log.Warn("set clock", "error", err)
	}
}

// configure runs the steps; seen sees what happens.
func (e early) configure(ctx context.Context, c *node.Config, seen *step.Summary) error {
	stages, err := steps.Early(c, steps.Env{Boot: e.boot})
	if err != nil {
		return err
	}
	r := &step.Recorder{Log: e.log, Boot: e.bootID(ctx), Observers: []step.Observer{seen.Add, func(ev step.Event) {
		if ev.Kind == step.Applying {
			fmt.Fprintf(e.console, "picluster: %s\n", report.Make(report.Facts{Config: c, Summary: *seen, Now: ev.Time}).Line())
		}
	}}}
	if r.Journal, err = e.journal(ctx); err != nil {
		e.log.Warn("journal", "error", err) // evidence only
	} else {
		defer r.Journal.Close()
	}
	return step.Run[host.Host](ctx, e.host, stages, r)
}

// report writes STATUS.txt and returns err, with what could not be written. c is
// nil if it was not even possible to read it.
func (e early) report(c *node.Config, seen step.Summary, err error) error {
	facts := report.Facts{Config: c, Summary: seen, Now: time.Now()}
	if seen.State != step.Stopped {
		facts.Error = err
	}
	// The run's own context may be what ended it.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if writeErr := report.WriteStatus(ctx, e.host, e.boot, report.Make(facts)); writeErr != nil {
		err = errors.Join(err, writeErr)
	}
	if err == nil {
		fmt.Fprintf(e.console, "picluster: this Pi is configured as %s\n", c.Name)
	}
	return err
}

// readOnly gives / back as init expects it, so that it can be checked before it
// is mounted for good.
func (e early) readOnly() {
	unix.Sync()
	if _, err := e.host.Run(context.Background(), host.Cmd{Args: []string{"mount", "-o", "remount,ro", "/"}}); err != nil {
		e.log.Warn("make / read-only", "error", err) // init copes with a writable one
	}
}
