package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/step"
)

// deployFlags are those of deploy and remove.
type deployFlags struct {
	projectFlags
	plan   bool
	output string
}

func (f *deployFlags) register(flags *pflag.FlagSet) {
	f.projectFlags.register(flags)
	flags.BoolVar(&f.plan, "plan", false, "only list what would be changed")
	cli.RegisterOutput(flags, &f.output)
}

func deployCommand() cli.Command {
	var f deployFlags
	return cli.Command{
		Name:    "deploy",
		Args:    "[ADDON...]",
		Summary: "bring into the cluster what cluster.yaml wants there",
		Details: "Without names all that cluster.yaml wants, in this order:\n\n" + describeAddons() + "\n" +
			"What is right already is left alone, so it may be run at any time and any number of\n" +
			"times; what somebody has changed by hand is set back.",
		Examples: []string{"clusterctl deploy", "clusterctl deploy --plan", "clusterctl deploy registry dashboard", "clusterctl deploy -o json"},
		Flags:    f.register,
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			p, addons, err := f.choose(args)
			if err != nil {
				return err
			}
			for _, a := range addons {
				if why := a.Unwanted(p.cluster); why != "" {
					return cli.Exit(cli.Usage, fmt.Errorf("deploy %s: cluster.yaml has %s", a.Name, why))
				}
			}
			if len(args) == 0 {
				addons = steps.Wanted(p.cluster)
			}
			stages, err := steps.Deploy(p.env(), addons)
			if err != nil {
				return err
			}
			return f.do(ctx, env, p, stages, "the cluster is as cluster.yaml wants it")
		},
	}
}

func removeCommand() cli.Command {
	var f deployFlags
	var yes bool
	return cli.Command{
		Name:     "remove",
		Args:     "ADDON...",
		Summary:  "take add-ons off the cluster",
		Details:  "Add-ons:\n\n" + describeAddons() + "\nOnly what picluster has put there is removed, and what is in its namespaces.",
		Examples: []string{"clusterctl remove dashboard", "clusterctl remove --plan registry", "clusterctl remove --yes registry"},
		Flags: func(flags *pflag.FlagSet) {
			f.register(flags)
			flags.BoolVar(&yes, "yes", false, "do not ask")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if len(args) == 0 {
				return cli.Exit(cli.Usage, cli.Hint(errors.New("read operands of remove: name an add-on"), "clusterctl remove --help lists them"))
			}
			p, addons, err := f.choose(args)
			if err != nil {
				return err
			}
			stages, err := steps.Remove(p.env(), addons)
			if err != nil {
				return err
			}
			if !f.plan && !yes {
				if err := confirmRemoval(ctx, env, addons); err != nil {
					return err
				}
			}
			return f.do(ctx, env, p, stages, "the cluster has nothing of it")
		},
	}
}

// choose reads cluster.yaml and finds the add-ons by their names, in the order of
// deployment.
func (f *deployFlags) choose(names []string) (*project, []steps.Addon, error) {
	if err := cli.CheckOutput(f.output); err != nil {
		return nil, nil, err
	}
	all := steps.Addons()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(a steps.Addon) bool { return a.Name == name }) {
			return nil, nil, cli.Exit(cli.Usage, cli.Hint(fmt.Errorf("find add-on %q: there is none of that name", name),
				"there are "+strings.Join(addonNames(), ", ")))
		}
	}
	p, err := f.load()
	return p, slices.DeleteFunc(all, func(a steps.Addon) bool { return !slices.Contains(names, a.Name) }), err
}

// do runs the stages, or lists what they would do. fine is said where that is nothing.
func (f *deployFlags) do(ctx context.Context, env cli.Env, p *project, stages []kube.Stage, fine string) error {
	client, err := p.connect(ctx)
	if err != nil {
		return err
	}
	if f.plan {
		drifts, err := step.Plan(ctx, client, steps.WithoutWaits(stages))
		if err != nil {
			return err
		}
		return showDrifts(env.Stdout, f.output, drifts, fine)
	}
	r := newRunReport(env.Stderr, stages)
	err = step.Run(ctx, client, stages, &step.Recorder{Log: env.Log, Observers: []step.Observer{r.observe}})
	if showErr := r.show(env.Stdout, f.output, err, fine); err == nil {
		err = showErr
	}
	return stepError(err)
}

// stepError gives the error of a run its exit code.
func stepError(err error) error {
	if errors.Is(err, step.ErrGaveUp) {
		return cli.Exit(cli.Timeout, cli.Hint(err, "run it again: it goes on where it is"))
	}
	return apiError(err)
}

// confirmRemoval asks once for all.
func confirmRemoval(ctx context.Context, env cli.Env, addons []steps.Addon) error {
	for _, a := range addons {
		if a.Loses != "" {
			fmt.Fprintf(env.Stderr, "remove %s: %s\n", a.Name, a.Loses)
		}
	}
	answer, err := cli.Ask(ctx, env, "Remove "+strings.Join(namesOf(addons), ", ")+"? Type yes: ")
	if err != nil {
		return err
	}
	if answer != "yes" {
		return cli.Exit(cli.Refused, errors.New("remove: the answer was not yes; nothing was removed"))
	}
	return nil
}

func (p *project) env() steps.Env { return steps.Env{Cluster: p.cluster, ID: p.id} }

func addonNames() []string { return namesOf(steps.Addons()) }

func namesOf(addons []steps.Addon) []string {
	var names []string
	for _, a := range addons {
		names = append(names, a.Name)
	}
	return names
}

func describeAddons() string {
	var b strings.Builder
	for _, a := range steps.Addons() {
		fmt.Fprintf(&b, "  %-11s %s\n", a.Name, a.Summary)
	}
	return b.String()
}
