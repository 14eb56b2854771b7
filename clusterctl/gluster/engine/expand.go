package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/allocator"
	"picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
)

func placeOf(b gluster.Brick) Place {
	device, id, _ := brick.InPath(b.Path)
	return Place{Device: device, ID: id}
}

// ExpandVolume makes a volume at least so large, while it is in use. Its bricks grow
// where they are; if there is no room for that, it gets another set of bricks.
func (e *Engine) ExpandVolume(ctx context.Context, idOrName string, bytes int64) (Volume, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.settled(ctx)
	if err != nil {
		return Volume{}, err
	}
	v, err := e.find(ctx, s, idOrName)
	if err != nil || v.Bytes >= bytes {
		return v, err
	}
	c := *s.cluster(v.Cluster)
	cli, _, err := e.speaker(ctx, c)
	if err != nil {
		return v, err
	}
	grown := v.grown(bytes)
	devices := e.devices(ctx, cli, c)
	if e.fits(devices, v, grown) {
		err = e.grow(ctx, c, grown)
		if err == nil {
			err = cli.Set(ctx, v.Name, sizeOptions(bytes, sizesOf(grown)))
		}
	} else {
		err = e.addSet(ctx, &s, cli, devices, v, bytes)
	}
	if err != nil {
		return v, fmt.Errorf("expand volume %s: %w", v.Name, err)
	}
	e.log().Info("volume expanded", "volume", v.Name, "bytes", bytes)
	return e.find(ctx, s, v.ID)
}

func sizeOptions(bytes int64, sizes []setSize) map[string]string {
	return map[string]string{optionBytes: fmt.Sprint(bytes), optionSets: formatSets(sizes)}
}

// grown are the bricks of a volume as they are when it is that large: each set takes an
// equal part of what is new.
func (v Volume) grown(bytes int64) [][]Brick {
	n := int64(len(v.Sets))
	more := brickBytes((bytes - v.Bytes + n - 1) / n)
	var sets [][]Brick
	for i, size := range sizesOf(v.Sets) {
		set := slices.Clone(v.Sets[i])
		for j := range set {
			set[j].Bytes = size.data + more
			if set[j].At.Arbiter {
				set[j].Bytes = arbiterBytes(size.data + more)
			}
		}
		sets = append(sets, set)
	}
	return sets
}

// fits reports whether all bricks can grow where they are.
func (e *Engine) fits(devices []allocator.Device, v Volume, grown [][]Brick) bool {
	free := map[string]int64{}
	for _, d := range devices {
		free[d.ID] = d.Free
	}
	was := v.Bricks()
	for i, b := range slices.Concat(grown...) {
		if _, ok := free[b.Device]; !ok {
			return false // the device is away
		}
		if free[b.Device] -= e.Bricks.Footprint(b.Bytes) - e.Bricks.Footprint(was[i].Bytes); free[b.Device] < 0 {
			return false
		}
	}
	return true
}

// grow needs no note of what it does: a brick that has grown and is not said to have
// is only larger than it need be.
func (e *Engine) grow(ctx context.Context, c Cluster, grown [][]Brick) error {
	all := slices.Concat(grown...)
	return e.onEach(ctx, c, placesOf(grown), func(h host.Host, d Device, i int) error {
		return e.Bricks.Grow(ctx, h, d.brick(), brick.Brick{ID: all[i].ID, Bytes: all[i].Bytes})
	})
}

func (e *Engine) addSet(ctx context.Context, s *State, cli gluster.CLI, devices []allocator.Device, v Volume, bytes int64) error {
	c := *s.cluster(v.Cluster)
	request := allocator.Request{Bytes: brickBytes(bytes - v.Bytes), Replicas: v.Replicas, Footprint: e.Bricks.Footprint}
	if v.Arbiter {
		request.ArbiterBytes = arbiterBytes(request.Bytes)
	}
	placed, err := allocator.Place(devices, request)
	if err != nil {
		return err
	}
	sets := plan(c, placed)
	p := Pending{ID: NewID(), Kind: Expand, Cluster: c.ID, Volume: v.Name, Bricks: placesOf(sets),
		Options: sizeOptions(bytes, append(sizesOf(v.Sets), sizesOf(sets)...))}
	return e.pend(ctx, s, p, func() error {
		if err := e.makeBricks(ctx, c, sets, v.GID); err != nil {
			return err
		}
		if err := cli.AddBricks(ctx, v.Name, glusterSets(sets)); err != nil {
			return err
		}
		return finishExpand(ctx, cli, p)
	})
}

func finishExpand(ctx context.Context, cli gluster.CLI, p Pending) error {
	if err := cli.Set(ctx, p.Volume, p.Options); err != nil {
		return err
	}
	return cli.StartRebalance(ctx, p.Volume)
}

// SetDeviceMode says whether a device gets bricks. Failed also moves those that it has
// to other devices; the device need not be there any more.
func (e *Engine) SetDeviceMode(ctx context.Context, id string, mode Mode) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.settled(ctx)
	if err != nil {
		return err
	}
	c, _, d := s.device(id)
	if d == nil {
		return fmt.Errorf("device %s: %w", id, ErrNotFound)
	}
	return e.setMode(ctx, &s, c, &d.Mode, mode, id)
}

// SetNodeMode is SetDeviceMode for a node with all its devices.
func (e *Engine) SetNodeMode(ctx context.Context, id string, mode Mode) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.settled(ctx)
	if err != nil {
		return err
	}
	c, n := s.node(id)
	if n == nil {
		return fmt.Errorf("node %s: %w", id, ErrNotFound)
	}
	var devices []string
	for _, d := range n.Devices {
		devices = append(devices, d.ID)
	}
	return e.setMode(ctx, &s, c, &n.Mode, mode, devices...)
}

// setMode keeps what is to be emptied from getting bricks before it moves any. It says
// failed only when all have been moved.
func (e *Engine) setMode(ctx context.Context, s *State, c *Cluster, is *Mode, want Mode, devices ...string) error {
	if *is == want {
		return nil
	}
	if want == Failed && *is != Offline {
		return errors.New("it is online, and has to be offline before its bricks are moved")
	}
	if want == Failed {
		for _, id := range devices {
			if err := e.evict(ctx, s, *c, id); err != nil {
				return err
			}
		}
	}
	*is = want
	return e.Store.Save(ctx, *s)
}

// evict moves all bricks of a device.
func (e *Engine) evict(ctx context.Context, s *State, c Cluster, device string) error {
	cli, _, err := e.speaker(ctx, c)
	if err != nil {
		return err
	}
	volumes, err := e.bricksOn(ctx, c, device)
	if err != nil {
		return err
	}
	for _, v := range slices.CompactFunc(volumes, func(a, b Volume) bool { return a.ID == b.ID }) {
		if !v.Started && len(s.unfinished(c.ID, v.Name)) > 0 { // gluster moves no brick of a volume that is stopped
			if err := cli.Start(ctx, v.Name, true); err != nil {
				return err
			}
		}
		for _, set := range v.Sets {
			for i, b := range set {
				if b.Device != device {
					continue
				}
				if err := e.replace(ctx, s, cli, c, v, set, i); err != nil {
					return fmt.Errorf("move brick %s of volume %s: %w", b.At, v.Name, err)
				}
			}
		}
	}
	return nil
}

// replace puts a brick elsewhere, on a node that the set is not on. It refuses as long
// as the others of the set are not whole: what only this brick has would be lost.
func (e *Engine) replace(ctx context.Context, s *State, cli gluster.CLI, c Cluster, v Volume, set []Brick, i int) error {
	old := set[i]
	if len(set) == 1 {
		return fmt.Errorf("%w: it is the only copy", ErrInUse)
	}
	if why, err := e.othersWhole(ctx, cli, v, set, i); err != nil || why != "" {
		return errors.Join(err, whole(why))
	}
	request := allocator.Request{Bytes: old.Bytes, Replicas: 1, Footprint: e.Bricks.Footprint}
	devices := e.devices(ctx, cli, c)
	for j, b := range set {
		if j != i {
			_, n, _ := s.device(b.Device)
			if n != nil {
				request.Beside = append(request.Beside, allocator.Device{Node: n.Manage, Zone: n.Zone})
			}
		}
	}
	devices = slices.DeleteFunc(devices, func(d allocator.Device) bool { return d.ID == old.Device })
	placed, err := allocator.Place(devices, request)
	if err != nil {
		return err
	}
	return e.exchange(ctx, s, cli, c, v, old, plan(c, placed)[0][0])
}

// exchange makes a brick and has it take the place of another one, which goes, at the
// latest when its node is back. Gluster fills the new one from the others of the set.
func (e *Engine) exchange(ctx context.Context, s *State, cli gluster.CLI, c Cluster, v Volume, old, fresh Brick) error {
	for _, other := range s.unfinished(c.ID, v.Name) { // what removes the volume removes this brick too
		other.Bricks = append(other.Bricks, fresh.Place)
	}
	p := Pending{ID: NewID(), Kind: Replace, Cluster: c.ID, Volume: v.Name, Bricks: []Place{fresh.Place, old.Place}}
	return e.pend(ctx, s, p, func() error {
		if err := e.makeBricks(ctx, c, [][]Brick{{fresh}}, v.GID); err != nil {
			return err
		}
		if err := cli.ReplaceBrick(ctx, v.Name, old.At, fresh.At); err != nil {
			return err
		}
		if err := e.dropUnused(ctx, c, gluster.Volume{Bricks: []gluster.Brick{fresh.At}}, p.Bricks); err != nil {
			return fmt.Errorf("%w: remove brick %s: %w", errLater, old.At, err)
		}
		return nil
	})
}

func whole(why string) error {
	if why == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInUse, why)
}

// othersWhole says why the set cannot do without a brick, "" if it can.
func (e *Engine) othersWhole(ctx context.Context, cli gluster.CLI, v Volume, set []Brick, i int) (string, error) {
	heal, err := cli.Heal(ctx, v.Name)
	if err != nil {
		return "", err
	}
	var others []gluster.BrickHeal
	lost := false
	for _, b := range heal {
		if b.Name == set[i].At.String() {
			lost = !b.Connected
			continue
		}
		if slices.ContainsFunc(set, func(other Brick) bool { return other.At.String() == b.Name }) {
			others = append(others, b)
		}
	}
	if lost { // what others have pending is for the one that is lost
		for j := range others {
			others[j].Pending = 0
		}
	}
	return gluster.Healed(others), nil
}
