package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"picluster/clusterctl/observe"
	"picluster/internal/cli"
)

// Exit codes of status and doctor. They are answers; CONTRIBUTING.md has the table.
const (
	isHealthy  = 0
	isBroken   = 1
	isDegraded = 2
	isSlow     = 3 // something takes connections and does not answer in time
	isAway     = 4 // nothing of the cluster can be reached
)

const statusDetails = `Asks the API server, the join service on node0, the status pages of nodes that are
being set up and, where those are silent, the nodes themselves over ssh. It works
before there is a cluster and when its control plane is down.

The exit code is the answer: 0 healthy, 1 error, 2 degraded, 3 timeout, 4 nothing can
be reached; 64 for a mistake in the command or in cluster.yaml.`

func statusCommand() cli.Command {
	var flags siteFlags
	var output string
	var watch bool
	var limit time.Duration
	return cli.Command{
		Name: "status", Summary: "show nodes, storage, add-ons and what is wrong", Details: statusDetails, Verdict: true,
		Examples: []string{"clusterctl status", "clusterctl status --watch", "clusterctl status -o json | jq .health"},
		Flags: func(f *pflag.FlagSet) {
			flags.register(f)
			cli.RegisterOutput(f, &output)
			f.BoolVarP(&watch, "watch", "w", false, "show it again and again, until Ctrl-C")
			f.DurationVar(&limit, "timeout", sourceTime, "how long each source may take to answer")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if err := statusUsage(output, watch, limit); err != nil {
				return err
			}
			d, err := flags.open(env.Log)
			if err != nil {
				return err
			}
			if watch {
				return watchStatus(ctx, env, d.sources(limit))
			}
			s := d.sources(limit).Look(ctx)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if output == "json" {
				err = cli.WriteJSON(env.Stdout, s)
			} else {
				_, err = fmt.Fprint(env.Stdout, renderStatus(s))
			}
			if err != nil {
				return err
			}
			return cli.Answer(answerOf(s))
		},
	}
}

func statusUsage(output string, watch bool, limit time.Duration) error {
	if err := cli.CheckOutput(output); err != nil {
		return err
	}
	switch {
	case watch && output == "json":
		return cli.Exit(cli.Usage, errors.New("read flag --watch: it is for people, not with -o json"))
	case limit <= 0:
		return cli.Exit(cli.Usage, fmt.Errorf("read flag --timeout: it is %v, want more than 0", limit))
	}
	return nil
}

// answerOf is the exit code of a snapshot.
func answerOf(s *observe.Snapshot) int {
	switch s.Health {
	case observe.Healthy:
		return isHealthy
	case observe.Degraded:
		return isDegraded
	case observe.Broken:
		return isBroken
	}
	for _, source := range s.Sources {
		if strings.Contains(source.Text, observe.ErrSlow.Error()) {
			return isSlow
		}
	}
	return isAway
}

// watchEvery is between the end of one look and the next.
const watchEvery = 3 * time.Second

// watchStatus shows the status until Ctrl-C, which is its ordinary end. Without a
// terminal it is shown once for each change.
func watchStatus(ctx context.Context, env cli.Env, sources observe.Sources) error {
	live := cli.NewLive(env.Stdout)
	last := ""
	for {
		s := sources.Look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		text := renderStatus(s)
		if live.Terminal() {
			live.Draw(s.Time.Local().Format(time.TimeOnly) + "  " + text)
		} else if summary := fmt.Sprint(healthWord(s), states(s)); summary != last {
			last = summary
			fmt.Fprintf(env.Stdout, "%s\n%s", s.Time.Format(time.RFC3339), text)
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// states are what counts as a change for those who do not watch a terminal.
func states(s *observe.Snapshot) (all []string) {
	for _, n := range s.Nodes {
		all = append(all, n.Name+" "+n.State+" "+n.Place())
	}
	for _, w := range s.Warnings {
		all = append(all, w.ID+w.About)
	}
	return all
}
