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
// what the lost one was: the pool's member of that UUID, with the same bricks at the
// same places, which are then filled from the other copies. Wipe permits to erase what
// is on its devices. It can be repeated, and has nothing to do where all is in place.
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

// renew makes the bricks before the node is who the lost one was. A glusterd that learns
// of a volume whose brick is not there does not know the brick's real path, takes it for
// a new one, and refuses to reset it (glusterd_is_brickpath_available, GlusterFS 11).
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
	fresh, lost, err := e.remakeBricks(ctx, h, n, volumes)
	if err == nil {
		err = e.rejoin(ctx, self, n, h, uuid)
	}
	if err != nil {
		return err
	}
	for volume, bricks := range fresh {
		if err := fill(ctx, cli, volume, bricks); err != nil {
			lost = append(lost, fmt.Errorf("volume %s: %w", volume, err))
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
// other.
func (e *Engine) rejoin(ctx context.Context, self, n Node, h host.Host, uuid string) error {
	if uuid != "" {
		if err := e.Identify(ctx, h, uuid); err != nil {
			return err
		}
		// It knows nobody: the pool's members do not talk to it before it has talked
		// to one of them.
		if err := (gluster.CLI{Host: h}).Probe(ctx, self.Storage); err != nil {
			return err
		}
	}
	return e.join(ctx, Cluster{Nodes: []Node{self}}, n)
}

// remakeBricks makes the node's bricks again where they are missing, and returns those
// that are empty, by volume. Volumes that are lost have an error each.
func (e *Engine) remakeBricks(ctx context.Context, h host.Host, n Node, volumes []Volume) (fresh map[string][]Brick, lost []error, err error) {
	fresh = map[string][]Brick{}
	for _, v := range volumes {
		for _, set := range v.Sets {
			for _, b := range set {
				if b.Node != n.ID {
					continue
				}
				there, err := isBrick(ctx, h, b.At.Path)
				if err != nil {
					return nil, nil, err
				}
				if there {
					continue
				}
				if len(set) == 1 {
					lost = append(lost, fmt.Errorf("volume %s: %w: %s had the only copy", v.Name, ErrNotFound, n))
					continue
				}
				if err := e.Bricks.Create(ctx, h, n.deviceOf(b), brick.Brick{ID: b.ID, Bytes: b.Bytes}); err != nil {
					return nil, nil, err
				}
				fresh[v.Name] = append(fresh[v.Name], b)
			}
		}
	}
	return fresh, lost, nil
}

// deviceOf is the device that a brick is on, by its id alone if it was removed.
func (n Node) deviceOf(b Brick) brick.Device {
	i := slices.IndexFunc(n.Devices, func(d Device) bool { return d.ID == b.Device })
	if i < 0 {
		return brick.Device{ID: b.Device}
	}
	return n.Devices[i].brick()
}

// fill has empty bricks of a volume filled from the others.
func fill(ctx context.Context, cli gluster.CLI, volume string, bricks []Brick) error {
	for _, b := range bricks {
		if err := cli.ResetBrick(ctx, volume, b.At); err != nil {
			return err
		}
	}
	return cli.StartHeal(ctx, volume)
}

// isBrick reports whether gluster has used a directory as a brick.
func isBrick(ctx context.Context, h host.Host, path string) (bool, error) {
	_, err := h.Stat(ctx, path+"/.glusterfs")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
