package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/heketi"
	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
)

func storageRenewCommand() cli.Command {
	var f projectFlags
	var wipe bool
	return cli.Command{
		Name:    "renew",
		Args:    "NODE",
		Summary: "fill a node that was set up anew with what the lost one had",
		Details: "For a node that has come back under its old name, with a new card or an empty disk. Its\n" +
			"bricks are made again and filled from the other copies; this waits until they are equal.\n" +
			"`clusterctl node replace` does it by itself.",
		Examples: []string{"clusterctl storage renew node1"},
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			flags.BoolVar(&wipe, "wipe", false, "permit to erase what is on the node's disks")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if len(args) != 1 {
				return cli.Exit(cli.Usage, errors.New("read operands of storage renew: it takes a node"))
			}
			return f.with(ctx, env, func(ctx context.Context, client *kube.Client, storage *heketi.Client) error {
				return renew(ctx, client, storage, args[0], wipe)
			})
		},
	}
}

// renew fills a node from the other copies, and waits until they are equal.
func renew(ctx context.Context, client *kube.Client, storage *heketi.Client, node string, wipe bool) error {
	n, err := findNode(ctx, storage, node)
	if err == nil {
		err = storage.RenewNode(ctx, n.ID, wipe)
	}
	if err != nil {
		return steps.StorageRefusal(err)
	}
	return steps.WaitWhole(ctx, client)
}

// refill is renew for a node that has just been replaced: its Kubernetes is new too and
// has to be told that it holds data, and its glusterd has yet to start.
func refill(ctx context.Context, env cli.Env, client *kube.Client, node string) error {
	deployed, err := client.Get(ctx, kube.Ref{APIVersion: "v1", Kind: "Secret", Namespace: pods.Namespace, Name: steps.StorageKeys})
	if err != nil || deployed == nil {
		return apiError(err)
	}
	ctx, cancel := context.WithCancel(ctx) // of the tunnel
	defer cancel()
	err = withWaits(ctx, env, func(ctx context.Context) error {
		if err := (steps.StorageNode{Node: node}).Apply(ctx, client); err != nil {
			return err
		}
		if err := steps.WaitGlusterd(ctx, client, node); err != nil {
			return err
		}
		storage, err := controller(ctx, client)
		if err != nil {
			return err
		}
		return renew(ctx, client, storage, node, false)
	})
	if err != nil {
		return cli.Hint(apiError(fmt.Errorf("fill %s from the other copies: %w", node, err)), "clusterctl storage renew "+node+" goes on with it")
	}
	fmt.Fprintf(env.Stderr, "%s has all its copies again\n", node)
	return nil
}
