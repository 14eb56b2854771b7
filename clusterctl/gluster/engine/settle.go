package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"picluster/clusterctl/gluster"
	"picluster/internal/host"
)

// Recover takes to an end what a power cut, or a node that was away, has left. Every
// change begins with it; who has just started may call it to have it done at once.
func (e *Engine) Recover(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.settled(ctx)
	if err == nil && len(s.Pending) > 0 {
		err = fmt.Errorf("recover: %d changes wait for their nodes", len(s.Pending))
	}
	return err
}

// settled loads the state and settles what it can. What has to wait for a node keeps
// nobody from other changes.
func (e *Engine) settled(ctx context.Context) (State, error) {
	s, err := e.Store.Load(ctx)
	for _, p := range slices.Clone(s.Pending) {
		if err := e.settle(ctx, s, p); err != nil {
			e.log().Warn("still unfinished", "change", p.Kind, "volume", p.Volume, "error", err)
			continue
		}
		if err := e.strike(ctx, &s, p); err != nil {
			return s, err
		}
	}
	return s, err
}

// settle ends one change. Of a volume that is being made, what is whole stays; all
// else goes. It can be repeated.
func (e *Engine) settle(ctx context.Context, s State, p Pending) error {
	c := s.cluster(p.Cluster)
	if c == nil {
		return nil
	}
	cli, _, err := e.speaker(ctx, *c)
	if err != nil {
		return err
	}
	// Whoever began it may have been cut off from a gluster that goes on with it.
	if err := cli.Idle(ctx, p.Volume); err != nil {
		return err
	}
	v, err := cli.Volume(ctx, p.Volume)
	if err != nil && !errors.Is(err, gluster.ErrNoVolume) {
		return err
	}
	drop := slices.Clone(p.Bricks)
	whole := v.Started && v.Options[optionSets] != ""
	switch {
	case v.Name == "" || !isOf(v, p): // one of that name that somebody else has made stays
	case p.Kind == Delete, p.Kind == Create && !whole:
		if err := remove(ctx, cli, v); err != nil {
			return err
		}
		for _, b := range v.Bricks { // they may have been moved since
			drop = append(drop, placeOf(b))
		}
		v.Bricks = nil
	case p.Kind == Expand && hasAll(v, p.Bricks):
		if err := finishExpand(ctx, cli, p); err != nil {
			return err
		}
	}
	return e.dropUnused(ctx, *c, v, drop)
}

// isOf reports whether the volume is the one that the change is about: to make or
// remove one touches all of its bricks. One that has not been made to its end may lack
// the id.
func isOf(v gluster.Volume, p Pending) bool {
	return v.Options[optionID] == p.ID || p.Kind != Create && p.Kind != Delete || !slices.ContainsFunc(v.Bricks, func(b gluster.Brick) bool {
		return !slices.Contains(p.Bricks, placeOf(b))
	})
}

// hasAll reports whether all of the places are bricks of the volume.
func hasAll(v gluster.Volume, places []Place) bool {
	return !slices.ContainsFunc(places, func(p Place) bool {
		return !slices.ContainsFunc(v.Bricks, func(b gluster.Brick) bool { return placeOf(b) == p })
	})
}

// remove leaves a volume as it is while gluster would refuse to delete it: of one that is
// stopped no brick can be moved off a node that is away for good.
func remove(ctx context.Context, cli gluster.CLI, v gluster.Volume) error {
	peers, err := cli.Peers(ctx)
	if err != nil {
		return err
	}
	for _, p := range peers {
		if !p.Local && !p.Ready {
			return fmt.Errorf("delete volume %s: %s is not connected to the storage pool", v.Name, p.Names[0])
		}
	}
	if v.Started {
		if err := cli.Stop(ctx, v.Name, true); err != nil {
			return err
		}
	}
	return cli.Delete(ctx, v.Name)
}

// dropUnused removes bricks that the volume does not have.
func (e *Engine) dropUnused(ctx context.Context, c Cluster, v gluster.Volume, places []Place) error {
	used := map[Place]bool{}
	for _, b := range v.Bricks {
		used[placeOf(b)] = true
	}
	unused := slices.DeleteFunc(slices.Clone(places), func(p Place) bool { return used[p] })
	return e.onEach(ctx, c, unused, func(h host.Host, d Device, i int) error {
		return e.Bricks.Delete(ctx, h, d.brick(), unused[i].ID)
	})
}

// DeleteVolume removes a volume and its bricks. One that does not exist is an
// ErrNotFound. All nodes of the pool must answer; if one does not, the volume goes
// when it is back, or out of the pool.
func (e *Engine) DeleteVolume(ctx context.Context, idOrName string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.settled(ctx)
	if err != nil {
		return err
	}
	for _, p := range s.Pending { // it has been found, and could not be settled
		if p.Kind == Delete && (p.Volume == idOrName || p.ID == idOrName) {
			return fmt.Errorf("delete volume %s: a node of the storage pool is away", idOrName)
		}
	}
	v, err := e.find(ctx, s, idOrName)
	if err != nil {
		return err
	}
	p := Pending{ID: v.ID, Kind: Delete, Cluster: v.Cluster, Volume: v.Name, Bricks: v.places()}
	s.Pending = append(s.Pending, p)
	if err := e.Store.Save(ctx, s); err != nil {
		return err
	}
	if err := e.settle(ctx, s, p); err != nil {
		return err
	}
	e.log().Info("volume deleted", "volume", v.Name)
	return e.strike(ctx, &s, p)
}
