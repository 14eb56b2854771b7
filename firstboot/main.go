// Command firstboot is picluster's agent on every Pi. It travels on the card's
// FAT partition next to node.json, configures the Pi at its first boot and
// makes it a member of the cluster.
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
		Name:    "firstboot",
		Summary: "configure this Pi from node.json",
		Commands: func() []cli.Command {
			return []cli.Command{earlyCommand(), runCommand(), planCommand(), reapplyCommand(), statusCommand(), logsCommand(), serveCommand(), versionCommand()}
		},
	}
}

func versionCommand() cli.Command {
	return cli.Command{
		Name:    "version",
		Summary: "print the version",
		Run: func(_ context.Context, env cli.Env, _ []string) error {
			fmt.Fprintf(env.Stdout, "firstboot %s\n", version.String())
			return nil
		},
	}
}
