package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/step"
)

func storageResetCommand() cli.Command {
	var f projectFlags
	var confirm string
	var plan bool
	return cli.Command{
		Name:    "reset",
		Summary: "erase the storage: all volumes, and what is on its devices",
		Details: "Afterwards nodes and devices are as they were before `clusterctl deploy storage`, which\n" +
			"may be run again at once. Volumes that are claimed are in the way: remove the claims first. So is\n" +
			"a node on which glusterd's pod does not run: what is on it would stay.",
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			flags.BoolVar(&plan, "plan", false, "only list what would be erased")
			flags.StringVar(&confirm, "confirm", "", "the cluster's `name`, in place of the question")
		},
		Examples: []string{"clusterctl storage reset --plan", "clusterctl storage reset --confirm home"},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			p, err := f.load()
			if err != nil {
				return err
			}
			client, err := p.connect(ctx)
			if err != nil {
				return err
			}
			stages, lost, err := steps.ResetStorage(ctx, p.env(), client)
			if err != nil {
				return apiError(err)
			}
			fmt.Fprintln(env.Stderr, "storage reset erases "+strings.Join(lost, ", ")+".")
			if plan {
				return nil
			}
			if confirm == "" {
				if confirm, err = cli.Ask(ctx, env, "Type the cluster's name to erase it: "); err != nil {
					return err
				}
			}
			if confirm != p.cluster.Name {
				return cli.Exit(cli.Refused, errors.New("reset storage: that is not the cluster's name; nothing was erased"))
			}
			r := newRunReport(env.Stderr, stages)
			err = step.Run(ctx, client, stages, &step.Recorder{Log: env.Log, Observers: []step.Observer{r.observe}})
			return stepError(err)
		},
	}
}
