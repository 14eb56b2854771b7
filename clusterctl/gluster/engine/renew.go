package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
)

// RenewNode makes a node that has been set up anew, under its old name and address,
// what the lost one was: the pool's member of that UUID, with a brick in the place of
// each that the lost one had, which is then filled from the other copies. Wipe permits
// to erase what is on its devices. It can be repeated, and has nothing to do where all
// is in place.
//
// Volumes of which the lost node had the only copy are beyond that; they are named in
// the error, and the others have been renewed.
func (e *Engine) RenewNode(ctx context.Context, id string, wipe bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.settled(ctx)
	if err != nil {
		return err
	}
	c, n := s.node(id)
	if n == nil {
		return fmt.Errorf("renew node %s: %w", id, ErrNotFound)
	}
	if err := e.renew(ctx, s, *c, *n, wipe); err != nil {
		return fmt.Errorf("renew node %s: %w", n, err)
	}
	e.log().Info("node renewed", "node", n.Manage)
	return nil
}

func (e *Engine) renew(ctx context.Context, s State, c Cluster, n Node, wipe bool) error {
	others := slices.DeleteFunc(slices.Clone(c.Nodes), func(other Node) bool { return other.ID == n.ID })
	cli, self, err := e.speaker(ctx, Cluster{ID: c.ID, Nodes: others})
	if err != nil {
		return err
	}
	h, err := e.Reach(ctx, n)
	if err != nil {
		return err
	}
	uuid, err := e.missingIdentity(ctx, cli, n, h)
	if err == nil {
		err = e.rejoin(ctx, cli, self, n, h, uuid)
	}
	if err != nil {
		return err
	}
	for _, d := range n.Devices {
		if err := e.Bricks.Prepare(ctx, h, d.brick(), wipe); err != nil {
			return err
		}
	}
	volumes, err := e.volumesOf(ctx, cli, s, c)
	if err != nil {
		return err
	}
	var lost []error
	for _, v := range volumes {
		if err := e.renewBricks(ctx, &s, cli, c, n, h, v); err != nil {
			lost = append(lost, fmt.Errorf("volume %s: %w", v.Name, err))
		}
	}
	return errors.Join(lost...)
}

// missingIdentity is the UUID that the pool has under the node's address, "" if the
// node has it. Gluster itself may call a stranger at a member's address connected.
func (e *Engine) missingIdentity(ctx context.Context, cli gluster.CLI, n Node, h host.Host) (string, error) {
	peers, err := cli.Peers(ctx)
	if err != nil {
		return "", err
	}
	own, err := gluster.CLI{Host: h}.Peers(ctx)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(peers, n.isPeer)
	switch {
	case i < 0 || slices.ContainsFunc(own, func(p gluster.Peer) bool { return p.Local && p.UUID == peers[i].UUID }):
		return "", nil
	case len(own) > 1:
		return "", fmt.Errorf("%w: it is a member of another pool", ErrInUse)
	case e.Identify == nil:
		return "", errors.New("it is another machine than the pool knows, and nobody can tell it to be that one")
	}
	return peers[i].UUID, nil
}

// rejoin gives the node an identity that it lacks, and has it and the pool know each
// other. With the identity it gets to know all members at once: from a member that it
// knows alone it would hear of volumes first, and a glusterd that is started with volumes
// on hosts that it does not know ends at once (glusterd-store.c, glusterd_resolve_all_bricks).
func (e *Engine) rejoin(ctx context.Context, cli gluster.CLI, self, n Node, h host.Host, uuid string) error {
	if uuid != "" {
		peers, err := cli.Peers(ctx)
		if err != nil {
			return err
		}
		for i := range peers {
			if peers[i].Local {
				peers[i].Names = []string{self.Storage}
			}
		}
		others := slices.DeleteFunc(peers, func(p gluster.Peer) bool { return p.UUID == uuid })
		if err := e.Identify(ctx, h, uuid, others); err != nil {
			return err
		}
	}
	return e.join(ctx, Cluster{Nodes: []Node{self}}, n)
}

// renewBricks puts a new brick in the place of each of the node's that is missing. It is
// another one, with an id of its own: of a brick that was not there when glusterd learned
// of the volume, glusterd does not know where it is, and refuses to begin it anew
// (volume reset-brick, GlusterFS 10 and 11).
func (e *Engine) renewBricks(ctx context.Context, s *State, cli gluster.CLI, c Cluster, n Node, h host.Host, v Volume) error {
	renewed := false
	for _, set := range v.Sets {
		for i, old := range set {
			if old.Node != n.ID {
				continue
			}
			there, err := isBrick(ctx, h, old.At.Path)
			if err != nil {
				return err
			}
			if there {
				continue
			}
			if len(set) == 1 {
				return fmt.Errorf("%w: %s had the only copy", ErrNotFound, n)
			}
			if err := e.spare(ctx, s, cli, h, v, set, i); err != nil {
				return err
			}
			fresh := old
			fresh.ID = NewID()
			fresh.At.Path = brick.Path(brick.Device{ID: old.Device}, fresh.ID)
			if err := e.exchange(ctx, s, cli, c, v, old, fresh); err != nil {
				return err
			}
			renewed = true
		}
	}
	if !renewed {
		return nil
	}
	return cli.StartHeal(ctx, v.Name)
}

// spare refuses to give up a brick that is on its device, although gluster could not use
// it, as long as the others of its set are not whole.
func (e *Engine) spare(ctx context.Context, s *State, cli gluster.CLI, h host.Host, v Volume, set []Brick, i int) error {
	_, _, d := s.device(set[i].Device)
	if d == nil {
		return nil
	}
	u, err := e.Bricks.Usage(ctx, h, d.brick())
	if err != nil {
		return err
	}
	if _, there := u.Bricks[set[i].ID]; !there {
		return nil
	}
	why, err := e.othersWhole(ctx, cli, v, set, i)
	return errors.Join(err, whole(why))
}

// isBrick reports whether gluster has used a directory as a brick.
func isBrick(ctx context.Context, h host.Host, path string) (bool, error) {
	_, err := h.Stat(ctx, path+"/.glusterfs")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
