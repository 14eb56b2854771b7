package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/allocator"
	"picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
)

// Request is a volume to be made.
type Request struct {
	Name     string   // gluster's; "" makes one of the id
	Clusters []string // ids of those that it may be in; none: any
	Bytes    int64
	Replicas int  // full copies
	Arbiter  bool // of each set, a brick with names only
	GID      int64
	Options  map[string]string // of gluster's
}

// Sizes. A volume that does not fit on any set of devices is split into at most
// maxSets.
const (
	mib     = 1 << 20
	maxSets = 4
)

// brickBytes is how large the bricks of a volume are: gluster stops writing to one
// that has less than 1 % free (storage.reserve), and keeps a link to each file.
func brickBytes(volume int64) int64 { return (volume + volume/64 + mib - 1) / mib * mib }

// arbiterBytes is a sixteenth, which is what 4 KiB for each file come to if files have
// 64 KiB on average: Heketi's figure.
func arbiterBytes(data int64) int64 { return max(data/16, 32*mib) / mib * mib }

// pingTimeout is how many seconds a client waits for a node that is silent before it
// goes on without it. Gluster's 42 keep a pod's write waiting for 83; with 10 it is
// 16 (measured with a cable that was cut).
const pingTimeout = "10"

// healTimeout is how often, in seconds, a self-heal daemon looks for what is to be
// healed. It is told when a node comes back, but whatever it cannot lock then waits for
// the next time; and a cable that was cut leaves locks behind for most of a minute (a
// node does not know that its client has gone). Gluster's 600 would have a volume stay
// unhealed for that long; to look at an empty list costs nothing.
const healTimeout = "60"

// CreateVolume makes a volume and starts it. If that fails nothing of it is left, at
// the latest after the next change that reaches its nodes. If there is one of that
// name already, it is returned together with ErrExists.
func (e *Engine) CreateVolume(ctx context.Context, r Request) (Volume, error) {
	if r.Name == "all" { // gluster refuses it too, but shows all volumes for what is left of it
		return Volume{}, fmt.Errorf("create volume %s: %w", r.Name, ErrName)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.settled(ctx)
	if err != nil {
		return Volume{}, err
	}
	id := NewID()
	if r.Name == "" {
		r.Name = "vol_" + id
	}
	if there, err := e.find(ctx, s, r.Name); err == nil {
		return there, fmt.Errorf("create volume %s: %w", r.Name, ErrExists)
	} else if !errors.Is(err, ErrNotFound) {
		return Volume{}, err
	}
	var failed error
	for _, c := range s.Clusters {
		if len(c.Nodes) == 0 || len(r.Clusters) > 0 && !slices.Contains(r.Clusters, c.ID) {
			continue
		}
		v, err := e.createIn(ctx, s, c, id, r)
		if !errors.Is(err, allocator.ErrNoSpace) {
			return v, err
		}
		failed = errors.Join(failed, err)
	}
	if failed == nil {
		failed = fmt.Errorf("create volume %s: no cluster has nodes", r.Name)
	}
	return Volume{}, failed
}

func (e *Engine) createIn(ctx context.Context, s State, c Cluster, id string, r Request) (Volume, error) {
	cli, _, err := e.speaker(ctx, c)
	if err != nil {
		return Volume{}, err
	}
	placed, err := allocator.Place(e.devices(ctx, cli, c), r.allocation(e.Bricks.Footprint))
	if err != nil {
		return Volume{}, fmt.Errorf("create volume %s: %w", r.Name, err)
	}
	sets := plan(c, placed)
	p := Pending{ID: id, Kind: Create, Cluster: c.ID, Volume: r.Name, Bricks: placesOf(sets)}
	err = e.pend(ctx, &s, p, func() error {
		if err := e.makeBricks(ctx, c, sets, r.GID); err != nil {
			return err
		}
		if err := cli.Create(ctx, r.Name, glusterSets(sets)); err != nil {
			return err
		}
		if err := cli.Set(ctx, r.Name, e.options(id, r, sizesOf(sets))); err != nil {
			return err
		}
		return cli.Start(ctx, r.Name, false)
	})
	if err != nil {
		return Volume{}, err
	}
	e.log().Info("volume created", "volume", r.Name, "bytes", r.Bytes)
	return e.find(ctx, s, id)
}

func (r Request) allocation(footprint func(bytes int64) int64) allocator.Request {
	a := allocator.Request{Bytes: brickBytes(r.Bytes), Replicas: r.Replicas, MaxSets: maxSets, Footprint: footprint}
	if r.Arbiter {
		a.ArbiterBytes = arbiterBytes(a.Bytes)
	}
	return a
}

func (e *Engine) options(id string, r Request, sizes []setSize) map[string]string {
	all := map[string]string{"network.ping-timeout": pingTimeout, "cluster.heal-timeout": healTimeout}
	maps.Copy(all, e.Options)
	maps.Copy(all, r.Options)
	all[optionID], all[optionBytes] = id, fmt.Sprint(r.Bytes)
	all[optionSets], all[optionGID] = formatSets(sizes), fmt.Sprint(r.GID)
	return all
}

// devices are those that bricks can be made on now, with what they have free. Nodes
// that do not answer, or are not connected to the pool, are left out.
func (e *Engine) devices(ctx context.Context, cli gluster.CLI, c Cluster) []allocator.Device {
	peers, err := cli.Peers(ctx)
	if err != nil {
		return nil
	}
	var mu sync.Mutex
	var all []allocator.Device
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		away := slices.ContainsFunc(peers, func(p gluster.Peer) bool { return n.isPeer(p) && !p.Ready })
		if n.Mode != Online || away {
			continue
		}
		wg.Go(func() {
			for _, d := range n.Devices {
				if d.Mode != Online {
					continue
				}
				is, err := e.look(ctx, n, d)
				if err != nil {
					e.log().Warn("device left out", "node", n.Manage, "device", d.Name, "error", err)
					continue
				}
				mu.Lock()
				all = append(all, is)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

func (e *Engine) look(ctx context.Context, n Node, d Device) (allocator.Device, error) {
	h, err := e.Reach(ctx, n)
	if err != nil {
		return allocator.Device{}, err
	}
	u, err := e.Bricks.Usage(ctx, h, d.brick())
	return allocator.Device{ID: d.ID, Node: n.Manage, Zone: n.Zone, Free: u.Free(), Role: role(n, d)}, err
}

// role reads Heketi's tag "arbiter", of the device or of its node: required, disabled,
// or supported.
func role(n Node, d Device) allocator.Role {
	tag, ok := d.Tags["arbiter"]
	if !ok {
		tag = n.Tags["arbiter"]
	}
	switch strings.ToLower(tag) {
	case "required":
		return allocator.ArbiterOnly
	case "disabled":
		return allocator.DataOnly
	}
	return allocator.Any
}

// plan gives bricks their ids and paths.
func plan(c Cluster, placed [][]allocator.Brick) [][]Brick {
	var sets [][]Brick
	for _, set := range placed {
		var bricks []Brick
		for _, b := range set {
			is := Brick{Place: Place{Device: b.Device, ID: NewID()}, Bytes: b.Bytes}
			n := c.Nodes[slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Manage == b.Node })]
			is.Node = n.ID
			is.At = gluster.Brick{Host: n.Storage, Path: brick.Path(brick.Device{ID: b.Device}, is.ID), Arbiter: b.Arbiter}
			bricks = append(bricks, is)
		}
		sets = append(sets, bricks)
	}
	return sets
}

func placesOf(sets [][]Brick) []Place { return Volume{Sets: sets}.places() }

func glusterSets(sets [][]Brick) [][]gluster.Brick {
	var all [][]gluster.Brick
	for _, set := range sets {
		var bricks []gluster.Brick
		for _, b := range set {
			bricks = append(bricks, b.At)
		}
		all = append(all, bricks)
	}
	return all
}

func sizesOf(sets [][]Brick) []setSize {
	var sizes []setSize
	for _, set := range sets {
		var s setSize
		for _, b := range set {
			if b.At.Arbiter {
				s.arbiter = b.Bytes
			} else {
				s.data = b.Bytes
			}
		}
		sizes = append(sizes, s)
	}
	return sizes
}

// makeBricks makes bricks on all nodes at once. The group gets the right to write.
func (e *Engine) makeBricks(ctx context.Context, c Cluster, sets [][]Brick, gid int64) error {
	return e.onEach(ctx, c, placesOf(sets), func(h host.Host, d Device, i int) error {
		b := slices.Concat(sets...)[i]
		if err := e.Bricks.Create(ctx, h, d.brick(), brick.Brick{ID: b.ID, Bytes: b.Bytes}); err != nil || gid == 0 {
			return err
		}
		return h.Write(ctx, b.At.Path, host.File{Mode: fs.ModeDir | fs.ModeSetgid | 0o775, GID: int(gid)})
	})
}

// onEach does something with each place, and joins what goes wrong. All devices are
// worked on at once, the places of one device one after the other: a backend looks for
// what is free on its device, and then takes it.
func (e *Engine) onEach(ctx context.Context, c Cluster, places []Place, f func(h host.Host, d Device, i int) error) error {
	s := State{Clusters: []Cluster{c}}
	on := map[string][]int{}
	for i, p := range places {
		on[p.Device] = append(on[p.Device], i)
	}
	errs := make([]error, len(places))
	var wg sync.WaitGroup
	for device, indexes := range on {
		_, n, d := s.device(device)
		if d == nil {
			continue // removed since, with all that was on it
		}
		wg.Go(func() {
			h, err := e.Reach(ctx, *n)
			if err != nil {
				errs[indexes[0]] = fmt.Errorf("%s: %w", n, err)
				return
			}
			for _, i := range indexes {
				if err := f(h, *d, i); err != nil {
					errs[i] = fmt.Errorf("%s: %w", n, err)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// tidyTime is how long undoing may take after the caller has gone.
const tidyTime = 2 * time.Minute

// errLater is what a change ends with that is done, but for something that has to wait.
var errLater = errors.New("the rest is left for later")

// pend writes down what begins, does it, and strikes it out again. If it fails it is
// undone, as after a power cut; what cannot be undone now stays written down, and so
// does what is left for later.
func (e *Engine) pend(ctx context.Context, s *State, p Pending, do func() error) error {
	s.Pending = append(s.Pending, p)
	if err := e.Store.Save(ctx, *s); err != nil {
		return err
	}
	failed := do()
	if errors.Is(failed, errLater) {
		e.log().Warn("not all is done", "change", p.Kind, "volume", p.Volume, "error", failed)
		return nil
	}
	tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
	defer cancel()
	if failed != nil {
		if err := e.settle(tidy, *s, p); err != nil {
			e.log().Warn("left for later", "change", p.Kind, "volume", p.Volume, "error", err)
			return failed
		}
	}
	return errors.Join(failed, e.strike(tidy, s, p))
}

func (e *Engine) strike(ctx context.Context, s *State, p Pending) error {
	s.Pending = slices.DeleteFunc(s.Pending, func(other Pending) bool { return other.ID == p.ID })
	return e.Store.Save(ctx, *s)
}
