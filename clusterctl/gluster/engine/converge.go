package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"picluster/clusterctl/gluster/topology"
)

// Converge takes into the storage what the topology names and it does not have yet:
// nodes, and their devices. What is not in the topology stays; so does what has been
// added by other ways. A node or device that has trouble does not keep the others from
// it. It returns one error for each that has.
func (e *Engine) Converge(ctx context.Context, t topology.Topology) []error {
	var problems []error
	for _, c := range t.Clusters {
		id, err := e.clusterOf(ctx, c)
		if err != nil {
			return append(problems, err)
		}
		for _, n := range c.Nodes {
			problems = append(problems, e.convergeNode(ctx, id, n)...)
		}
	}
	return problems
}

// clusterOf is the pool that has one of the nodes already; else the first one without
// any; else a new one.
func (e *Engine) clusterOf(ctx context.Context, t topology.Cluster) (string, error) {
	s, err := e.State(ctx)
	if err != nil {
		return "", err
	}
	for _, c := range s.Clusters {
		if slices.ContainsFunc(c.Nodes, func(n Node) bool {
			return slices.ContainsFunc(t.Nodes, func(want topology.Node) bool { return want.Manage[0] == n.Manage })
		}) {
			return c.ID, nil
		}
	}
	for _, c := range s.Clusters {
		if len(c.Nodes) == 0 {
			return c.ID, nil
		}
	}
	c, err := e.CreateCluster(ctx)
	return c.ID, err
}

func (e *Engine) convergeNode(ctx context.Context, cluster string, want topology.Node) (problems []error) {
	s, err := e.State(ctx)
	if err != nil {
		return []error{err}
	}
	is, ok := s.nodeByName(want.Manage[0])
	if !ok {
		added, err := e.AddNode(ctx, cluster, Node{Manage: want.Manage[0], Storage: want.Storage[0], Zone: want.Zone, Tags: want.Tags})
		if err != nil {
			return []error{err}
		}
		is = added
	}
	if is.Storage != want.Storage[0] {
		problems = append(problems, fmt.Errorf("node %s: its address for storage is %s, and the topology has %s", is, is.Storage, want.Storage[0]))
	}
	for _, d := range want.Devices {
		if slices.ContainsFunc(is.Devices, func(there Device) bool { return there.Name == d.Name }) {
			continue
		}
		_, err := e.AddDevice(ctx, is.ID, Device{Name: d.Name, Tags: d.Tags}, d.DestroyData)
		if err != nil && !errors.Is(err, ErrExists) {
			problems = append(problems, err)
		}
	}
	return problems
}

func (s State) nodeByName(name string) (Node, bool) {
	for _, c := range s.Clusters {
		for _, n := range c.Nodes {
			if n.Manage == name {
				return n, true
			}
		}
	}
	return Node{}, false
}
