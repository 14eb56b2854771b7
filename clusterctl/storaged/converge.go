package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/gluster/topology"
	"picluster/clusterctl/kube"
	"picluster/internal/step"
)

// convergeTime is how often the topology is looked at. A node that is away is tried
// again just as often.
const convergeTime = 15 * time.Second

// converger makes the storage what the topology in the cluster says. What keeps it from
// that is written beside it, for people to see.
type converger struct {
	Kube   *kube.Client
	Engine *engine.Engine
	Log    *slog.Logger
}

// run returns only when another controller has taken over, or the context ends.
func (c converger) run(ctx context.Context) error {
	for {
		err := c.once(ctx)
		if errors.Is(err, pods.ErrTaken) || ctx.Err() != nil {
			return err
		}
		if err != nil {
			c.Log.Warn("the storage's topology waits", "error", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(convergeTime):
		}
	}
}

func (c converger) once(ctx context.Context) error {
	text, version, err := pods.ReadTopology(ctx, c.Kube)
	if err != nil || text == "" {
		return err
	}
	t, err := topology.Parse(pods.TopologyKey, []byte(text))
	if err != nil {
		return pods.WriteProblems(ctx, c.Kube, version, []string{err.Error()})
	}
	problems := c.Engine.Converge(ctx, t)
	if err := c.poolOptions(ctx); err != nil {
		problems = append(problems, err)
	}
	var lines []string
	for _, p := range problems {
		if errors.Is(p, pods.ErrTaken) {
			return p
		}
		c.Log.Warn("the storage is not as its topology says", "problem", p)
		lines = append(lines, p.Error())
	}
	return pods.WriteProblems(ctx, c.Kube, version, lines)
}

// poolOptions of all pools: bricks share a process, which on ten volumes saves two
// thirds of the memory (measured).
func (c converger) poolOptions(ctx context.Context) error {
	stages := []step.Stage[gluster.CLI]{{Name: "pool", Steps: []step.Step[gluster.CLI]{
		gluster.PoolOptions{Want: map[string]string{"cluster.brick-multiplex": "on"}},
	}}}
	return c.Engine.EachPool(ctx, func(cli gluster.CLI) error { return step.Run(ctx, cli, stages, nil) })
}
