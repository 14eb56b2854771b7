package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"picluster/internal/cli"
)

func validateCommand() cli.Command {
	var file string
	return cli.Command{
		Name:    "validate",
		Summary: "check cluster.yaml and the files it names; needs no image and no secrets",
		Details: "Prints every problem at once, with line and column, and exits with 2 if there is one.",
		Examples: []string{
			"imagebuilder validate",
			"imagebuilder validate -f lab/cluster.yaml",
		},
		Flags: func(f *pflag.FlagSet) {
			f.StringVarP(&file, "file", "f", "cluster.yaml", "the cluster's `file`")
		},
		Run: func(_ context.Context, env cli.Env, args []string) error {
			cluster, err := loadSpec(file)
			if err != nil {
				return err
			}
			for _, w := range cluster.Warnings() {
				fmt.Fprintf(env.Stderr, "imagebuilder: warning: %s\n", w)
			}
			_, err = fmt.Fprintf(env.Stdout, "%s: cluster %s, %s\n", file, cluster.Name, countCards(len(cluster.Nodes), cluster.Spares))
			return err
		},
	}
}

// countCards says "3 nodes and 1 spare".
func countCards(nodes, spares int) string {
	text := cli.Count(nodes, "node")
	if spares > 0 {
		text += " and " + cli.Count(spares, "spare")
	}
	return text
}

// oneOperand returns the only operand, which the message calls what.
func oneOperand(args []string, what string) (string, error) {
	switch {
	case len(args) == 0:
		return "", cli.Exit(cli.Usage, fmt.Errorf("read arguments: name the %s", what))
	case len(args) > 1:
		return "", cli.Exit(cli.Usage, fmt.Errorf("read arguments: %q is one too many", args[1]))
	}
	return args[0], nil
}
