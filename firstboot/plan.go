package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/step"
)

func planCommand() cli.Command {
	var only []string
	return cli.Command{
		Name:     "plan",
		Summary:  "list what differs from node.json, and change nothing",
		Examples: []string{"sudo firstboot plan", "sudo firstboot plan --stage network"},
		Flags:    func(f *pflag.FlagSet) { registerStages(f, &only) },
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			a, stages, err := allOfThisPi(ctx, env, only)
			if err != nil {
				return err
			}
			return a.plan(ctx, env, stages)
		},
	}
}

func (a agent) plan(ctx context.Context, env cli.Env, stages []steps.Stage) error {
	drifts, err := step.Plan[host.Host](ctx, a.host, stages)
	for _, d := range drifts {
		fmt.Fprintln(env.Stdout, d)
	}
	if err == nil && len(drifts) == 0 {
		fmt.Fprintln(env.Stdout, "Nothing to do: this Pi is as node.json wants it.")
	}
	return err
}

func reapplyCommand() cli.Command {
	var only []string
	return cli.Command{
		Name:    "reapply",
		Summary: "make this Pi what node.json wants, from the first step",
		Details: "For a Pi that somebody has changed by hand, or a step that was left out. What is\n" +
			"right already is left alone; `firstboot plan` lists the rest beforehand. A password\n" +
			"or an authorized key that was changed on the Pi is set back too.",
		Examples: []string{"sudo firstboot plan", "sudo firstboot reapply", "sudo firstboot reapply --stage network"},
		Flags:    func(f *pflag.FlagSet) { registerStages(f, &only) },
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			a, stages, err := allOfThisPi(ctx, env, only)
			if err != nil {
				return err
			}
			return a.reapply(ctx, env, stages)
		},
	}
}

// reapply takes the seal off first: should the power go meanwhile, the service
// does the rest at the next boot. A Pi that was done is so again after a part.
func (a agent) reapply(ctx context.Context, env cli.Env, stages []steps.Stage) error {
	journal, err := a.journal(ctx)
	if err != nil {
		return cli.Hint(err, "the service does the same: firstboot status tells how far it is")
	}
	defer journal.Close()
	seal, err := a.unseal(ctx)
	if err != nil {
		return err
	}
	if seal != nil && !slices.ContainsFunc(stages, func(s steps.Stage) bool { return s.Name == steps.SealStage }) {
		stages = append(slices.Clip(stages), *seal)
	}
	changed := 0
	recorder := &step.Recorder{Journal: journal, Log: a.log, Boot: a.bootID(ctx), Observers: []step.Observer{func(e step.Event) {
		if e.Kind == step.Applying && e.Stage != steps.SealStage {
			changed++
		}
		if e.Kind != step.Unchanged {
			fmt.Fprintln(env.Stdout, strings.TrimSpace(fmt.Sprintf("%s %s/%s %s", e.Kind, e.Stage, e.Step, e.Text)))
		}
	}}}
	if err := step.Run[host.Host](ctx, a.host, stages, recorder); err != nil {
		return cli.Hint(err, "it goes on by itself at the next boot; `sudo firstboot reapply` does so now")
	}
	if changed == 0 {
		fmt.Fprintln(env.Stdout, "Nothing to do: this Pi is as node.json wants it.")
	} else {
		fmt.Fprintln(env.Stdout, "Reboot for names, addresses and kernel settings to take effect.")
	}
	return nil
}

// unseal takes the seal off, and returns the stage that puts it back: nil if there was none.
func (a agent) unseal(ctx context.Context) (*steps.Stage, error) {
	name, err := a.host.ReadFile(ctx, steps.SealPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = a.host.Remove(ctx, steps.SealPath)
	}
	if err != nil {
		return nil, err
	}
	seal := steps.Seal(strings.TrimSpace(string(name)))
	return &seal, nil
}

// allOfThisPi is the machine that the command runs on, and the steps of both parts
// of the first boot, or those of the named stages.
func allOfThisPi(ctx context.Context, env cli.Env, only []string) (agent, []steps.Stage, error) {
	a, c, err := thisPi(ctx, env, false)
	if err != nil {
		return a, nil, err
	}
	e := steps.Env{Boot: a.boot}
	early, err := steps.Early(c, e)
	if err != nil {
		return a, nil, err
	}
	all, err := selected(slices.Concat(early, steps.Run(c, e)), only)
	return a, all, err
}
