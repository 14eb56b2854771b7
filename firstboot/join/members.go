package join

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"picluster/internal/host"
	"picluster/internal/joinapi"
	"picluster/internal/node"
)

// StateDir is where the service's unit keeps its state. Root can read it there.
const StateDir = "/var/lib/picluster/join"

// Member is a node of the cluster.
type Member struct {
	node.Peer
	Joined bool
	Labels map[string]string
}

// Members are the nodes of the cluster by the state that the service on node0 has
// written: those of node.json, and those that came later. It reads beside a service
// that runs; each record is replaced in one go.
func Members(h host.Host, c *node.Config) ([]Member, error) {
	all, err := (&store{path.Join(StateDir, "cards"), h}).loadAll()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read state of the join service: %w", err)
	}
	var members []Member
	for _, p := range peersOf(c.Peers, all) {
		m := Member{Peer: p}
		for _, r := range all {
			if r.Node == p.Name && r.State == joinapi.Joined {
				m.Joined, m.Labels = true, r.Labels
			}
		}
		if p.Name == c.Name {
			m.Joined, m.Labels = true, c.Kubernetes.Labels
		}
		members = append(members, m)
	}
	return members, nil
}

// peersOf adds to the nodes of the desk those whose cards came later.
func peersOf(desk []node.Peer, all []*record) []node.Peer {
	peers := slices.Clone(desk)
	for _, r := range all {
		known := slices.ContainsFunc(peers, func(p node.Peer) bool { return p.Name == r.Node })
		if r.Node != "" && r.State != joinapi.Waiting && !r.State.Out() && !known && r.Address.IsValid() {
			peers = append(peers, node.Peer{Name: r.Node, Address: r.Address.Addr()})
		}
	}
	return peers
}
