package main

import (
	"context"
	"fmt"

	"picluster/internal/cli"
	"picluster/internal/version"
)

func versionCommand() cli.Command {
	return cli.Command{
		Name:    "version",
		Summary: "print the version",
		Run: func(_ context.Context, env cli.Env, _ []string) error {
			_, err := fmt.Fprintf(env.Stdout, "imagebuilder %s\n", version.String())
			return err
		},
	}
}
