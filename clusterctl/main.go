// Command clusterctl looks after a cluster from the desk: it waits for its nodes,
// deploys what they share, and repairs it.
package main

import (
	"context"
	"fmt"

	"picluster/internal/cli"
	"picluster/internal/version"
)

func main() { cli.Main(program()) }

func program() cli.Program {
	return cli.Program{
		Name:    "clusterctl",
		Summary: "deploy and look after a cluster of Pis",
		Commands: func() []cli.Command {
			return []cli.Command{versionCommand()}
		},
	}
}

func versionCommand() cli.Command {
	return cli.Command{
		Name:    "version",
		Summary: "print the version",
		Run: func(_ context.Context, env cli.Env, _ []string) error {
			fmt.Fprintf(env.Stdout, "clusterctl %s\n", version.String())
			return nil
		},
	}
}
