package main

import (
	"context"
	"errors"

	"picluster/firstboot/join"
	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/joinapi"
	"picluster/internal/node"
	"picluster/internal/step"
)

func syncCommand() cli.Command {
	return cli.Command{
		Name:    "sync",
		Summary: "keep names and certificates of this node right",
		Details: "Started by picluster-sync.timer every ten minutes on a node of the cluster: the hosts file gets\n" +
			"the nodes that have come since, the certificates of the Pi and of a control plane are renewed,\n" +
			"and a node that was away until its certificate ran out joins again.",
		Examples: []string{"sudo firstboot sync", "systemctl list-timers picluster-sync"},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			a, c, err := thisPi(ctx, env, true)
			if err != nil {
				return err
			}
			return a.sync(ctx, c, steps.Env{})
		},
	}
}

// sync does what it can when node0 is not there: that is no reason to leave the
// node's own things as they are.
func (a agent) sync(ctx context.Context, c *node.Config, e steps.Env) error {
	if c.Kubernetes == nil || steps.Nameless(c) {
		return nil
	}
	others, heardErr := a.others(ctx, c, e)
	if heardErr != nil {
		a.log.Warn("sync", "error", heardErr)
	}
	r := &step.Recorder{Log: a.log, Boot: a.bootID(ctx)}
	return errors.Join(heardErr, step.Run[host.Host](ctx, a.host, steps.Sync(c, e, others), r))
}

// others are the nodes that there are by now, none where that cannot be learnt: node0 has
// written them down, and tells whoever reports to it.
func (a agent) others(ctx context.Context, c *node.Config, e steps.Env) ([]join.Member, error) {
	if c.Role == node.ControlPlane {
		return join.Members(a.host, c)
	}
	client, err := steps.JoinClient(ctx, a.host, c, e)
	if err != nil {
		return nil, err
	}
	standing, err := client.KeepUp(ctx, joinapi.Event{Phase: "sync", State: "ready"})
	if standing == nil {
		return nil, err
	}
	return members(standing.Identity.Peers), err
}

func members(peers []node.Peer) (all []join.Member) {
	for _, p := range peers {
		all = append(all, join.Member{Peer: p})
	}
	return all
}
