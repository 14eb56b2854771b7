package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"picluster/imagebuilder/patch"
	"picluster/imagebuilder/plan"
	"picluster/internal/cli"
)

func planCommand() cli.Command {
	var p projectFlags
	var node, output string
	return cli.Command{
		Name:    "plan",
		Summary: "show every file that will be changed on a card",
		Details: "Text files are shown as unified diffs, programs as sizes, secrets as dots. Nothing is\n" +
			"written. build and write make exactly these changes.",
		Examples: []string{"imagebuilder plan", "imagebuilder plan --node raspberrypi-node1", "imagebuilder plan -o json"},
		Flags: func(f *pflag.FlagSet) {
			p.register(f)
			f.StringVar(&node, "node", "", "only the card of this `node` (or spare-1 …)")
			cli.RegisterOutput(f, &output)
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if err := cli.CheckOutput(output); err != nil {
				return err
			}
			project, err := p.load()
			if err != nil {
				return err
			}
			b, made, err := p.planCards(ctx, env, project, node)
			if err != nil {
				return err
			}
			defer b.Close()
			return showPlan(env.Stdout, output, b, made)
		},
	}
}

// chooseCards returns the named card, or all of them.
func (p *project) chooseCards(name string) ([]string, error) {
	all := plan.CardNames(p.cluster)
	if name == "" {
		return all, nil
	}
	for _, n := range all {
		if n == name {
			return []string{n}, nil
		}
	}
	return nil, cli.Exit(cli.Usage, cli.Hint(fmt.Errorf("find node %q: cluster.yaml has none of that name", name),
		fmt.Sprintf("it has %s", strings.Join(all, ", "))))
}

// cardChanges is one card of the printed plan.
type cardChanges struct {
	Node    string         `json:"node"`
	Role    string         `json:"role"`
	Changes []patch.Change `json:"changes"`
}

func showPlan(w io.Writer, output string, b *base, p *plan.Plan) error {
	var cards []cardChanges
	for _, c := range p.Cards {
		previewed, err := previewCard(b, p, c)
		if err != nil {
			return err
		}
		cards = append(cards, cardChanges{c.Config.Name, string(c.Config.Role), previewed.changes})
	}
	if output == "json" {
		return cli.WriteJSON(w, struct {
			Version int           `json:"version"`
			Base    plan.Base     `json:"base"`
			Cards   []cardChanges `json:"cards"`
		}{1, p.Base, cards})
	}
	fmt.Fprintf(w, "image: %s (%s, %s, sha256 %.12s…)\n", p.Base.Name, p.Base.Facts.Release.Name, p.Base.Facts.Arch, p.Base.SHA256)
	for _, c := range cards {
		fmt.Fprintf(w, "\n=== card %s (%s): %s on the boot partition\n", c.Node, c.Role, cli.Count(len(c.Changes), "change"))
		for _, change := range c.Changes {
			if err := change.Print(w); err != nil {
				return err
			}
		}
	}
	return nil
}
