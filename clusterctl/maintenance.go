package main

import (
	"context"
	"fmt"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
)

func maintenanceCommand() cli.Command {
	return cli.Command{
		Name:     "maintenance",
		Summary:  "take a node out of work and back, without harm to volumes",
		Commands: []cli.Command{maintenanceEnterCommand(), maintenanceExitCommand()},
	}
}

func maintenanceEnterCommand() cli.Command {
	var f drainFlags
	return cli.Command{
		Name:    "enter",
		Args:    "NODE",
		Summary: "empty a node, once the others have all that is on it",
		Details: "Waits until every volume is whole: a copy that is behind must not become the only one that\n" +
			"answers. One node at a time: while another one is out this waits for it.",
		Examples: []string{"clusterctl maintenance enter node2"},
		Flags:    f.register,
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			client, err := f.maintain(ctx, env, "enter", args)
			if err != nil {
				return err
			}
			if err := withWaits(ctx, env, func(ctx context.Context) error { return steps.WaitWhole(ctx, client) }); err != nil {
				return err
			}
			if err := f.drain(ctx, env, client, args[0]); err != nil {
				return apiError(err)
			}
			fmt.Fprintf(env.Stdout, "%s is empty and may be switched off. clusterctl maintenance exit %s brings it back.\n", args[0], args[0])
			return nil
		},
	}
}

func maintenanceExitCommand() cli.Command {
	var f drainFlags
	return cli.Command{
		Name:     "exit",
		Args:     "NODE",
		Summary:  "give a node work again, and wait until its volumes have caught up",
		Flags:    f.register,
		Examples: []string{"clusterctl maintenance exit node2"},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			client, err := f.maintain(ctx, env, "exit", args)
			if err != nil {
				return err
			}
			return withWaits(ctx, env, func(ctx context.Context) error {
				ready := kube.Ready{Ref: nodeRef(args[0])}
				if err := ready.Apply(ctx, client); err != nil {
					return err
				}
				if err := client.Cordon(ctx, args[0], false); err != nil {
					return err
				}
				return steps.WaitWhole(ctx, client)
			})
		},
	}
}

// maintain connects. A name that is no node's is found out before anything is waited
// for.
func (f *drainFlags) maintain(ctx context.Context, env cli.Env, verb string, args []string) (*kube.Client, error) {
	d, err := f.openFor(env, "maintenance "+verb, args)
	if err != nil {
		return nil, err
	}
	client, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	o, err := client.Get(ctx, nodeRef(args[0]))
	if err == nil && o == nil {
		err = cli.Exit(cli.Usage, fmt.Errorf("maintenance of %s: %w", args[0], kube.ErrNoNode))
	}
	return client, apiError(err)
}
