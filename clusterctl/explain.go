package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"picluster/clusterctl/observe"
	"picluster/internal/cli"
)

func explainCommand() cli.Command {
	return cli.Command{
		Name: "explain", Args: "[ID]", Summary: "explain a warning of status and what helps",
		Details:  "Without an id it lists all warnings that there are. Ids keep their meaning for ever.",
		Examples: []string{"clusterctl explain N201", "clusterctl explain"},
		Complete: func([]string) (ids []string) {
			for _, p := range observe.Problems {
				ids = append(ids, p.ID)
			}
			return ids
		},
		Run: func(_ context.Context, env cli.Env, args []string) error {
			switch len(args) {
			case 0:
				t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
				for _, p := range observe.Problems {
					fmt.Fprintf(t, "%s\t%s\t%s\n", p.ID, p.Severity, p.Title)
				}
				return t.Flush()
			case 1:
				p, ok := observe.Explain(args[0])
				if !ok {
					return cli.Exit(cli.Usage, cli.Hint(fmt.Errorf("explain %q: there is no such warning", args[0]), "clusterctl explain lists them"))
				}
				_, err := fmt.Fprint(env.Stdout, renderProblem(p))
				return err
			}
			return cli.Exit(cli.Usage, fmt.Errorf("read operands of explain: it takes one id, not %d", len(args)))
		},
	}
}

func renderProblem(p observe.Problem) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s\n\n%s\n", p.ID, p.Severity, p.Title, p.Cause)
	fmt.Fprintf(&b, "\nBy itself: %s\n\nWhat helps:\n", p.Itself)
	for _, do := range p.Do {
		fmt.Fprintf(&b, "  %s\n", do)
	}
	return b.String()
}
