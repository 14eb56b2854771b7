package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"picluster/firstboot/report"
	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/status"
	"picluster/internal/step"
)

const (
	firstRetry = 15 * time.Second
	lastRetry  = 5 * time.Minute

	// pageStays is how long the status page can still be looked at once all is
	// done: somebody has gone to make coffee.
	pageStays = time.Hour

	// reportTime bounds the last report of a run: a card that hangs must not keep
	// the Pi from its reboot.
	reportTime = 20 * time.Second
)

func runCommand() cli.Command {
	var only []string
	return cli.Command{
		Name:    "run",
		Summary: "do what is left to do, until this Pi is a node",
		Details: "Started at each boot by picluster-firstboot.service until all is done. A step that\n" +
			"fails is tried again, after 15 seconds at first and every five minutes at last.\n" +
			"With --stage it does that part alone, and ends; that needs no card, so it serves a\n" +
			"machine that was set up by other means.",
		Examples: []string{"systemctl start picluster-firstboot", "journalctl -fu picluster-firstboot", "sudo firstboot run --stage runtime,kubernetes"},
		Flags:    func(f *pflag.FlagSet) { registerStages(f, &only) },
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			return runHere(ctx, env, only)
		},
	}
}

// runHere runs until all is done. A spare is another node once it has a name, and
// begins anew as that one.
func runHere(ctx context.Context, env cli.Env, only []string) error {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err == nil {
		defer console.Close()
	}
	for {
		a, c, err := thisPi(ctx, env, len(only) > 0)
		if err != nil {
			return errors.Join(err, a.reportBroken(ctx, err))
		}
		if console != nil {
			a.console = console
		}
		if !a.log.Enabled(ctx, slog.LevelInfo) {
			a.log = cli.NewLog(env.Stderr, slog.LevelInfo) // the service's journal has each thing that is done
		}
		r := run{agent: a, config: c, stages: steps.Run(c, steps.Env{Boot: a.boot}), partial: len(only) > 0,
			options: report.Options{LEDs: report.LEDDir, Listen: ":" + status.Port}}
		if r.stages, err = selected(r.stages, only); err != nil {
			return err
		}
		err = r.untilSealed(ctx)
		if !errors.Is(err, errNamed) {
			return err
		}
	}
}

func registerStages(f *pflag.FlagSet, only *[]string) {
	f.StringSliceVar(only, "stage", nil, "only these `stages`, in the order of a whole run")
}

// selected are the named stages, without names all.
func selected(all []steps.Stage, names []string) ([]steps.Stage, error) {
	if len(names) == 0 {
		return all, nil
	}
	var known []string
	var some []steps.Stage
	for _, s := range all {
		known = append(known, s.Name)
		if slices.Contains(names, s.Name) {
			some = append(some, s)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, cli.Exit(cli.Usage, fmt.Errorf("read flag --stage: %q is none of %s", name, strings.Join(known, ", ")))
		}
	}
	return some, nil
}

// thisPi is the machine that the command runs on, and its installed node.json.
func thisPi(ctx context.Context, env cli.Env, withoutCard bool) (agent, *node.Config, error) {
	h := host.Local{Log: env.Log}
	a := agent{host: h, log: env.Log, console: env.Stderr}
	boot, err := steps.BootDir(ctx, h)
	if err != nil && !withoutCard {
		return a, nil, err
	}
	a.boot = boot
	data, err := h.ReadFile(ctx, steps.ConfigPath)
	if err != nil {
		return a, nil, cli.Exit(cli.Integrity, cli.Hint(err, "this command is for a Pi whose card imagebuilder has written, and for root"))
	}
	c, err := node.Parse(data)
	if err != nil {
		return a, nil, cli.Exit(cli.Integrity, cli.Hint(err, "write the card again with imagebuilder"))
	}
	return a, c, nil
}

// reportBroken is all that can be done without a node.json.
func (a agent) reportBroken(ctx context.Context, err error) error {
	if a.boot == "" {
		return nil
	}
	return report.WriteStatus(ctx, a.host, a.boot, report.Make(report.Facts{Error: err, Now: time.Now()}))
}

// run is one boot's worth of the command.
type run struct {
	agent
	config  *node.Config
	stages  []steps.Stage
	partial bool           // not all of them: they say nothing about being done
	options report.Options // where to report, besides the card and the console
}

// errNamed: the spare that the run was for is a node now, with another node.json.
var errNamed = errors.New("this spare has got a name")

// untilSealed runs the stages until they are all right. It comes back earlier
// only with the end of ctx, and for a reboot.
func (r run) untilSealed(ctx context.Context) error {
	journal, err := r.journal(ctx)
	if err != nil {
		return err
	}
	defer journal.Close()
	reporter := r.report(ctx)
	defer func() {
		// ctx may be what ended the run.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTime)
		defer cancel()
		if err := reporter.Close(ctx); err != nil {
			r.log.Warn("report", "error", err)
		}
	}()
	recorder := &step.Recorder{Journal: journal, Log: r.log, Boot: r.bootID(ctx), Observers: []step.Observer{reporter.Observe}}
	for tries := 0; ; tries++ {
		err := step.Run[host.Host](ctx, r.host, r.stages, recorder)
		switch {
		case err == nil && steps.Nameless(r.config) && slices.ContainsFunc(r.stages, func(s steps.Stage) bool { return s.Name == steps.EnrollStage }):
			return errNamed
		case err == nil && r.partial:
			return nil
		case err == nil:
			return r.sealed(ctx, journal)
		case errors.Is(err, step.ErrReboot):
			return r.reboot(ctx)
		case ctx.Err() != nil:
			return nil // systemd stops the service: the next boot goes on
		}
		wait := retryAfter(tries)
		reporter.Retry(time.Now().Add(wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// report begins to report, from where the journal stands.
func (r run) report(ctx context.Context) *report.Reporter {
	o := r.options
	o.Config, o.Host, o.Card, o.Console, o.Log, o.Boot = r.config, r.host, r.boot, r.console, r.log, r.bootID(ctx)
	events, err := readJournal(r.host)
	if err != nil {
		r.log.Warn("journal", "error", err) // evidence only
	}
	o.Events, o.EtcdDisk = events, r.etcdDisk
	return report.New(o)
}

// retryAfter doubles from one try to the next. The cards of a cluster are switched
// on together, so a part of it is chance.
func retryAfter(tries int) time.Duration {
	wait := min(firstRetry<<min(tries, 10), lastRetry)
	return wait * time.Duration(80+rand.IntN(40)) / 100
}

// sealed keeps the status page up for a while. The journal is free for whoever
// calls reapply.
func (r run) sealed(ctx context.Context, journal *step.Journal) error {
	if err := journal.Close(); err != nil {
		r.log.Warn("close journal", "error", err)
	}
	select {
	case <-time.After(pageStays):
	case <-ctx.Done():
	}
	return nil
}

// reboot asks for it and waits to be stopped.
func (r run) reboot(ctx context.Context) error {
	if _, err := r.host.Run(ctx, host.Cmd{Args: []string{"systemctl", "--no-block", "reboot"}}); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(lastRetry):
		return errors.New("reboot: asked for, but it does not come")
	}
}
