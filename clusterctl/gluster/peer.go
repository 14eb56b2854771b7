package gluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Peer is a node of the trusted pool.
type Peer struct {
	UUID      string
	Names     []string // names and addresses that it has been probed by; none for the node that was asked
	Local     bool     // the node that was asked
	Connected bool
	Ready     bool // takes part in changes: connected, and in the pool on both sides
}

// peer is one as gluster prints it. The state is glusterd's: 3 is "Peer in Cluster".
type peer struct {
	UUID      string   `xml:"uuid"`
	Hostname  string   `xml:"hostname"`
	Hostnames []string `xml:"hostnames>hostname"`
	Connected int      `xml:"connected"`
	State     *int     `xml:"state"`
}

const peerInCluster = 3

// Peers lists the pool; the node that was asked is in it.
func (c CLI) Peers(ctx context.Context) ([]Peer, error) {
	out, err := c.do(ctx, "list peers", "pool", "list")
	if err != nil {
		return nil, err
	}
	var peers []Peer
	for _, p := range out.Peers {
		is := Peer{UUID: p.UUID, Connected: p.Connected == 1}
		// Only the local one has no state; its name is always localhost.
		if p.State == nil && p.Hostname == "localhost" {
			is.Local, is.Ready = true, is.Connected
		} else {
			is.Names = append(is.Names, p.Hostname)
			for _, name := range p.Hostnames {
				if !slices.Contains(is.Names, name) {
					is.Names = append(is.Names, name)
				}
			}
			is.Ready = is.Connected && p.State != nil && *p.State == peerInCluster
		}
		if p.UUID == "" || p.Hostname == "" {
			return nil, errors.New("list peers: read gluster's answer: a peer has no uuid or no name")
		}
		peers = append(peers, is)
	}
	return peers, nil
}

// Probe takes a node into the pool, by a name or address that the pool reaches it
// by. A node that is in it already is no error. The node may take a moment longer
// until it is Ready.
func (c CLI) Probe(ctx context.Context, name string) error {
	_, err := c.do(ctx, "probe peer "+name, "peer", "probe", name)
	return err
}

// Detach takes a node without bricks out of the pool; force, also one that does not
// answer.
func (c CLI) Detach(ctx context.Context, name string, force bool) error {
	args := []string{"peer", "detach", name}
	if force {
		args = append(args, "force")
	}
	_, err := c.do(ctx, fmt.Sprintf("detach peer %s", name), args...)
	return err
}
