package main

import (
	"context"
	"errors"

	"picluster/internal/cli"
)

// serveCommand is not in the agent for 32-bit systems: Kubernetes has no 32-bit ARM
// build since 1.27, and the client would be a third of the agent.
func serveCommand() cli.Command {
	return cli.Command{
		Name:    "serve",
		Summary: "admit the other Pis to the cluster (64-bit systems only)",
		Run: func(context.Context, cli.Env, []string) error {
			return cli.Exit(cli.Usage, errors.New("serve joins: Kubernetes needs a 64-bit system"))
		},
	}
}
