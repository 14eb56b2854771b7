package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"picluster/clusterctl/doctor"
	"picluster/internal/cli"
	"picluster/internal/joinapi"
	"picluster/internal/status"
)

const doctorDetails = `Looks at this computer, the network, the control plane, each node, storage and add-ons,
and says for each thing that is not right what helps. It changes nothing.

  --pre    only what has to be right before Pis are switched on
  --node   one node from within, over ssh: power, heat, card, memory, clock, services

The exit code is the answer: 0 healthy, 1 error, 2 degraded, 3 timeout, 4 nothing can
be reached; 64 for a mistake in the command or in cluster.yaml.`

func doctorCommand() cli.Command {
	var flags siteFlags
	var output, node string
	var pre bool
	var limit time.Duration
	return cli.Command{
		Name: "doctor", Summary: "look for what is wrong, and say what helps", Details: doctorDetails, Verdict: true,
		Examples: []string{"clusterctl doctor", "clusterctl doctor --pre", "clusterctl doctor --node raspberrypi-node1"},
		Flags: func(f *pflag.FlagSet) {
			flags.register(f)
			cli.RegisterOutput(f, &output)
			f.BoolVar(&pre, "pre", false, "only what has to be right before Pis are switched on")
			f.StringVar(&node, "node", "", "look at this `node` from within")
			f.DurationVar(&limit, "timeout", sourceTime, "how long each part may take to answer")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			err := cli.CheckOutput(output)
			if err == nil && (pre && node != "" || limit <= 0) {
				err = errors.New("read flags of doctor: --pre or --node, and a --timeout of more than 0")
			}
			if err != nil {
				return cli.Exit(cli.Usage, err)
			}
			d, err := flags.open(env.Log)
			if err != nil {
				return err
			}
			groups, answer, err := d.examine(ctx, pre, node, limit)
			if err != nil {
				return err
			}
			if err := printGroups(env, output, groups); err != nil {
				return err
			}
			return cli.Answer(answer)
		},
	}
}

// examine looks at what was asked for and judges it.
func (d *site) examine(ctx context.Context, pre bool, node string, limit time.Duration) (groups []doctor.Group, answer int, err error) {
	switch {
	case node != "":
		g, err := d.examineNode(ctx, node, limit)
		if err != nil {
			return nil, 0, err
		}
		groups = []doctor.Group{g}
	case pre:
		groups = []doctor.Group{doctor.Desk(d.cluster, d.keys, time.Now())}
	default:
		groups = []doctor.Group{doctor.Desk(d.cluster, d.keys, time.Now()), d.network(ctx, limit)}
		s := d.sources(limit).Look(ctx)
		groups = append(groups, doctor.Cluster(s)...)
		if code := answerOf(s); code == isSlow || code == isAway {
			return groups, code, context.Cause(ctx)
		}
	}
	switch doctor.Worst(groups) {
	case doctor.Fail:
		answer = isBroken
	case doctor.Warn:
		answer = isDegraded
	}
	return groups, answer, context.Cause(ctx)
}

func (d *site) examineNode(ctx context.Context, node string, limit time.Duration) (doctor.Group, error) {
	remote, err := d.openNode(ctx, node)
	if err != nil {
		return doctor.Group{}, err
	}
	defer remote.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, 6*limit, errors.New("the node does not answer in time"))
	defer cancel()
	return doctor.Node(ctx, remote, d.cluster.Kubernetes.Enabled), nil
}

// network tries node0's ports, one after the other: each says more than the one
// before.
func (d *site) network(ctx context.Context, limit time.Duration) doctor.Group {
	g := doctor.Group{Name: "network"}
	add := func(name, port, closed string) {
		g.Checks = append(g.Checks, d.port(ctx, limit, name, port, closed))
	}
	add("ssh of "+d.node0(), "22", "it has not come that far, or a firewall is in between")
	if d.cluster.Kubernetes.Enabled {
		add("join service of "+d.node0(), strconv.Itoa(joinapi.Port), "node0 starts it once its control plane is up")
		add("API server of "+d.node0(), apiPort, "node0 has no control plane yet, or it is restarting")
	}
	return g
}

// port looks whether anybody answers at a port.
func (d *site) port(ctx context.Context, limit time.Duration, name, port, closed string) doctor.Check {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := d.finder.Dial(ctx, d.node0(), port)
	if err == nil {
		at := conn.RemoteAddr().String()
		conn.Close()
		return doctor.Check{Name: name, Result: doctor.Pass, Text: "at " + at}
	}
	hint := closed
	var op *net.OpError
	if errors.As(err, &op) && op.Timeout() || strings.Contains(err.Error(), "nobody in the local network") {
		hint = "is it switched on and in the same network? http://" + d.node0() + ".local:" + status.Port + "/ in a browser; --at names its address"
	}
	return doctor.Check{Name: name, Result: doctor.Fail, Text: err.Error(), Hint: hint}
}

func printGroups(env cli.Env, output string, groups []doctor.Group) error {
	if output == "json" {
		return cli.WriteJSON(env.Stdout, struct {
			Version int            `json:"version"`
			Result  doctor.Result  `json:"result"`
			Groups  []doctor.Group `json:"groups"`
		}{outputVersion, doctor.Worst(groups), groups})
	}
	for i := range groups {
		for j := range groups[i].Checks {
			c := &groups[i].Checks[j]
			c.Name, c.Text, c.Hint = plain(c.Name), plain(c.Text), plain(c.Hint)
		}
	}
	if err := doctor.Print(env.Stdout, groups); err != nil {
		return err
	}
	words := map[doctor.Result]string{doctor.Pass: "all is well", doctor.Warn: "some things are not as they should be", doctor.Fail: "something does not work"}
	_, err := fmt.Fprintf(env.Stdout, "\n%s\n", words[doctor.Worst(groups)])
	return err
}
