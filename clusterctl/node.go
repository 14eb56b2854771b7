package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"picluster/clusterctl/kube"
	"picluster/internal/cli"
	"picluster/internal/joinapi"
	"picluster/internal/spec"
)

func nodeCommand() cli.Command {
	return cli.Command{
		Name: "node", Summary: "look after single nodes: list, add, approve, drain, remove, replace, reboot, revoke",
		Commands: []cli.Command{
			nodeListCommand(), nodeAddCommand(), nodeApproveCommand(),
			nodeCordonCommand(), nodeUncordonCommand(), nodeDrainCommand(), nodeRebootCommand(),
			nodeRemoveCommand(), nodeReplaceCommand(), nodeRevokeCommand(),
		},
	}
}

func nodeListCommand() cli.Command {
	var flags siteFlags
	var output string
	return cli.Command{
		Name: "list", Summary: "list nodes and cards",
		Details:  "Also cards that were made and never switched on, and those that are out.",
		Examples: []string{"clusterctl node list", "clusterctl node list -o json"},
		Flags:    func(f *pflag.FlagSet) { flags.register(f); cli.RegisterOutput(f, &output) },
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if err := cli.CheckOutput(output); err != nil {
				return cli.Exit(cli.Usage, err)
			}
			d, err := flags.open(env.Log)
			if err != nil {
				return err
			}
			if d.join == nil {
				return noSecrets("list cards")
			}
			cards, err := d.join.Cards(ctx)
			if err != nil {
				return joinError(err)
			}
			if output == "json" {
				return cli.WriteJSON(env.Stdout, struct {
					Version int                  `json:"version"`
					Cards   []joinapi.CardStatus `json:"cards"`
				}{outputVersion, cards})
			}
			return printCards(env, cards)
		},
	}
}

func printCards(env cli.Env, cards []joinapi.CardStatus) error {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tCARD\tID\tGENERATION\tSTATE\tBOARD\tWHY")
	for _, c := range cards {
		board := ""
		if c.Hardware != nil {
			board = c.Hardware.Model
		}
		why := c.Why
		if c.Conflict != nil {
			why = "also seen in " + c.Conflict.Model + " " + c.Conflict.Serial
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", dash(c.Node), c.Name, c.CardID, c.Generation, c.State, dash(plain(board)), plain(why))
	}
	t.Flush()
	_, err := fmt.Fprint(env.Stdout, trimLines(text.String()))
	return err
}

func nodeApproveCommand() cli.Command {
	var flags siteFlags
	var rebind bool
	return cli.Command{
		Name: "approve", Complete: completeNodes, Args: "NODE|CARD-ID", Summary: "let a card in that waits for it",
		Details: "A card waits if node0 was made before it, if a working node has its name, or if it\n" +
			"has had many tokens. --rebind accepts the board, or the key, that was in conflict: for\n" +
			"a card that you have put into another Pi yourself.",
		Examples: []string{"clusterctl node approve raspberrypi-node3", "clusterctl node approve --rebind raspberrypi-node1"},
		Flags: func(f *pflag.FlagSet) {
			flags.register(f)
			f.BoolVar(&rebind, "rebind", false, "accept the board that the card was seen in last")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.openFor(env, "node approve", args)
			if err != nil {
				return err
			}
			if d.join == nil {
				return noSecrets("approve a card")
			}
			action := joinapi.Approve
			if rebind {
				action = joinapi.Rebind
			}
			if err := d.approve(ctx, args[0], args[0], action); err != nil {
				return err
			}
			fmt.Fprintf(env.Stderr, "%s may go on; clusterctl wait %s shows how\n", args[0], args[0])
			return nil
		},
	}
}

// completeNodes offers the names of nodes, where cluster.yaml is.
func completeNodes([]string) []string {
	c, err := spec.Load("cluster.yaml")
	if err != nil {
		return nil
	}
	return c.NodeNames()
}

// openFor is open for a command about exactly one node.
func (f *siteFlags) openFor(env cli.Env, command string, args []string) (*site, error) {
	if len(args) != 1 {
		return nil, cli.Exit(cli.Usage, cli.Hint(fmt.Errorf("read operands of %s: it takes one node, not %d", command, len(args)), "clusterctl status lists them"))
	}
	return f.open(env.Log)
}

func noSecrets(what string) error {
	return cli.Exit(cli.Usage, cli.Hint(fmt.Errorf("%s: there are no secrets of this cluster beside cluster.yaml", what),
		"clusterctl works on the computer where `imagebuilder init` has made secrets/"))
}

// joinError gives what the join service said, or that it said nothing, its exit code.
func joinError(err error) error {
	var refusal *joinapi.Refusal
	switch {
	case errors.As(err, &refusal) && refusal.Reason == joinapi.NoSuchCard:
		return cli.Exit(cli.Usage, cli.Hint(err, "clusterctl node list lists the cards"))
	case errors.As(err, &refusal) && refusal.Reason == joinapi.NotAllowed:
		return cli.Hint(err, "remove secrets/operator/operator.crt and .key, then imagebuilder init makes new ones")
	case errors.As(err, &refusal):
		return err
	}
	return cli.Exit(cli.Device, cli.Hint(err, "the join service runs on node0: clusterctl status tells whether that is up"))
}

func nodeCordonCommand() cli.Command {
	return nodeChange("cordon", "give a node no new pods", "clusterctl node cordon raspberrypi-node2",
		func(ctx context.Context, client *kube.Client, node string) error {
			return client.Cordon(ctx, node, true)
		}, "gets no new pods")
}

func nodeUncordonCommand() cli.Command {
	return nodeChange("uncordon", "give a node pods again", "clusterctl node uncordon raspberrypi-node2",
		func(ctx context.Context, client *kube.Client, node string) error {
			return client.Cordon(ctx, node, false)
		}, "gets pods again")
}

// nodeChange is a command that does one thing to one node through the API server.
func nodeChange(name, summary, example string, change func(context.Context, *kube.Client, string) error, done string) cli.Command {
	var flags siteFlags
	return cli.Command{
		Name: name, Complete: completeNodes, Args: "NODE", Summary: summary, Examples: []string{example}, Flags: flags.register,
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.openFor(env, "node "+name, args)
			if err != nil {
				return err
			}
			client, err := d.connect(ctx)
			if err != nil {
				return err
			}
			if err := change(ctx, client, args[0]); err != nil {
				return apiError(err)
			}
			fmt.Fprintf(env.Stderr, "%s %s\n", args[0], done)
			return nil
		},
	}
}

// drainFlags are those of the commands that empty a node.
type drainFlags struct {
	siteFlags
	force   bool
	timeout time.Duration
}

func (f *drainFlags) register(flags *pflag.FlagSet) {
	f.siteFlags.register(flags)
	flags.BoolVar(&f.force, "force", false, "also end pods that nothing starts again elsewhere")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Minute, "how long pods may take to end")
}

// drain empties a node and says what it waits for.
func (f *drainFlags) drain(ctx context.Context, env cli.Env, client *kube.Client, node string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, cli.Exit(cli.Timeout, fmt.Errorf("drain %s: pods are left after %v", node, f.timeout)))
	defer cancel()
	lines := 0
	err := client.Drain(ctx, node, kube.DrainOptions{Force: f.force, Waiting: func(text string) {
		if lines++; lines <= 20 {
			fmt.Fprintln(env.Stderr, text)
		}
	}})
	var alone *kube.UnmanagedError
	if errors.As(err, &alone) {
		return cli.Exit(cli.Refused, cli.Hint(err, "--force ends them for good"))
	}
	return err
}

func nodeDrainCommand() cli.Command {
	var flags drainFlags
	return cli.Command{
		Name: "drain", Complete: completeNodes, Args: "NODE", Summary: "move all pods off a node",
		Details: "The node is cordoned and its pods are evicted, which respects PodDisruptionBudgets; those\n" +
			"of DaemonSets stay. `clusterctl node uncordon` undoes it.",
		Examples: []string{"clusterctl node drain raspberrypi-node2"},
		Flags:    flags.register,
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.openFor(env, "node drain", args)
			if err != nil {
				return err
			}
			client, err := d.connect(ctx)
			if err != nil {
				return err
			}
			if err := flags.drain(ctx, env, client, args[0]); err != nil {
				return apiError(err)
			}
			fmt.Fprintf(env.Stderr, "%s is empty\n", args[0])
			return nil
		},
	}
}

// waitReady waits for nodes, with the table of `clusterctl wait`.
func (d *site) waitReady(ctx context.Context, env cli.Env, limit time.Duration, nodes ...string) error {
	return newWaiter(env, limit, nodes).run(ctx, d.sources(patientTime))
}
