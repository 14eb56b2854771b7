// Package engine makes volumes of nodes and devices: it decides where bricks go, has
// them made, and tells gluster. The CSI driver and the Heketi-compatible API are two
// faces of it.
//
// It has no database of volumes. Gluster is asked what there is, devices what is on
// them; the state that it keeps is the list of nodes and devices, and what has begun.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
)

// Engine is safe for concurrent use; changes run one after the other.
type Engine struct {
	Store  Store
	Bricks Backend
	Log    *slog.Logger // what is changed, and what could not be tidied up; nil: none

	// Reach connects to a node. The host is used for one operation after the other,
	// and belongs to whoever made it.
	Reach func(ctx context.Context, n Node) (host.Host, error)

	// Identify makes the glusterd of a node that knows nothing yet the pool's member
	// of that UUID, which knows the others; nil: nodes are not renewed.
	Identify func(ctx context.Context, h host.Host, uuid string, others []gluster.Peer) error

	// Options are gluster's that all volumes get, unless they ask for others.
	Options map[string]string

	mu sync.Mutex
}

// Backend makes bricks on a node's devices, see package brick.
type Backend interface {
	Prepare(ctx context.Context, h host.Host, d brick.Device, wipe bool) error
	Release(ctx context.Context, h host.Host, d brick.Device) error
	Footprint(bytes int64) int64
	Usage(ctx context.Context, h host.Host, d brick.Device) (brick.Usage, error)
	Create(ctx context.Context, h host.Host, d brick.Device, b brick.Brick) error
	Grow(ctx context.Context, h host.Host, d brick.Device, b brick.Brick) error
	Delete(ctx context.Context, h host.Host, d brick.Device, id string) error
}

// Backends are the ways to make bricks, by their names in cluster.yaml. A node needs
// them too, by itself, when it boots.
var Backends = map[string]interface {
	Backend
	brick.Kind
}{"xfs": brick.XFS{}, "loopfile": brick.LoopFile{}, "lvmthin": brick.LVMThin{}}

// What errors are about.
var (
	ErrNotFound = errors.New("there is none")
	ErrExists   = errors.New("it exists already")
	ErrInUse    = errors.New("it is in use")
	ErrName     = errors.New("no volume can have that name: gluster means all volumes by it")
)

func (e *Engine) log() *slog.Logger {
	if e.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.Log
}

// State returns what there is.
func (e *Engine) State(ctx context.Context) (State, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.Store.Load(ctx)
}

// change loads the state, lets f change it, and saves it unless f fails.
func (e *Engine) change(ctx context.Context, f func(s *State) error) error {
	s, err := e.Store.Load(ctx)
	if err == nil {
		err = f(&s)
	}
	if err == nil {
		err = e.Store.Save(ctx, s)
	}
	return err
}

// CreateCluster makes a pool without nodes.
func (e *Engine) CreateCluster(ctx context.Context) (Cluster, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := Cluster{ID: NewID()}
	return c, e.change(ctx, func(s *State) error {
		s.Clusters = append(s.Clusters, c)
		return nil
	})
}

// DeleteCluster forgets a pool without nodes.
func (e *Engine) DeleteCluster(ctx context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.change(ctx, func(s *State) error {
		c := s.cluster(id)
		if c == nil {
			return fmt.Errorf("delete cluster %s: %w", id, ErrNotFound)
		}
		if len(c.Nodes) > 0 {
			return fmt.Errorf("delete cluster %s: %w: it has %d nodes", id, ErrInUse, len(c.Nodes))
		}
		s.Clusters = slices.DeleteFunc(s.Clusters, func(c Cluster) bool { return c.ID == id })
		return nil
	})
}

// AddNode takes a node into a pool. Its glusterd must run; ID, Mode and Devices are
// given to it.
func (e *Engine) AddNode(ctx context.Context, cluster string, n Node) (Node, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n.ID, n.Mode, n.Devices = NewID(), Online, nil
	err := e.change(ctx, func(s *State) error {
		c := s.cluster(cluster)
		if c == nil {
			return fmt.Errorf("cluster %s: %w", cluster, ErrNotFound)
		}
		for _, c := range s.Clusters {
			for _, other := range c.Nodes {
				if other.Manage == n.Manage || other.Storage == n.Storage {
					return fmt.Errorf("%w, as %s with address %s", ErrExists, other.Manage, other.Storage)
				}
			}
		}
		if err := e.join(ctx, *c, n); err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, n)
		return nil
	})
	if err != nil {
		return Node{}, fmt.Errorf("add node %s: %w", n.Manage, err)
	}
	e.log().Info("node added", "node", n.Manage)
	return n, nil
}

// join takes the node into the pool of the others, if there are any.
func (e *Engine) join(ctx context.Context, c Cluster, n Node) error {
	h, err := e.Reach(ctx, n)
	if err != nil {
		return err
	}
	if _, err := (gluster.CLI{Host: h}).Peers(ctx); err != nil || len(c.Nodes) == 0 {
		return err
	}
	cli, self, err := e.speaker(ctx, c)
	if err != nil {
		return err
	}
	pool := gluster.Pool{Members: []string{self.Storage, n.Storage}, Self: self.Storage}
	drift, err := pool.Check(ctx, cli)
	if err == nil && drift != "" {
		err = pool.Apply(ctx, cli)
	}
	if err != nil {
		return err
	}
	// The one that probes is known to the others by whatever its address resolves to,
	// until it is probed itself.
	return gluster.CLI{Host: h}.Probe(ctx, self.Storage)
}

// isPeer reports whether the pool means the node, under one of its names.
func (n Node) isPeer(p gluster.Peer) bool {
	return slices.Contains(p.Names, n.Storage) || slices.Contains(p.Names, n.Manage)
}

// answerTime is how long a node is waited for that is to speak for its pool. Glusterd
// answers at once from what it knows; a node that has just died may keep the connection
// waiting.
const answerTime = 2 * time.Minute

// speaker finds a node that speaks for the pool: the first one whose glusterd answers.
func (e *Engine) speaker(ctx context.Context, c Cluster) (gluster.CLI, Node, error) {
	var errs []error
	for _, n := range c.Nodes {
		h, err := e.Reach(ctx, n)
		if err == nil {
			cli := gluster.CLI{Host: h}
			limited, cancel := context.WithTimeout(ctx, answerTime)
			_, err = cli.Peers(limited)
			cancel()
			if err == nil {
				return cli, n, nil
			}
		}
		if ctx.Err() != nil {
			return gluster.CLI{}, Node{}, context.Cause(ctx)
		}
		errs = append(errs, err)
	}
	if errs == nil {
		return gluster.CLI{}, Node{}, fmt.Errorf("cluster %s has no nodes", c.ID)
	}
	return gluster.CLI{}, Node{}, fmt.Errorf("no node answers: %w", errors.Join(errs...))
}

// RemoveNode takes a node without devices out of its pool. One that is away for good is
// removed as well.
func (e *Engine) RemoveNode(ctx context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.change(ctx, func(s *State) error {
		c, n := s.node(id)
		if n == nil {
			return fmt.Errorf("remove node %s: %w", id, ErrNotFound)
		}
		if len(n.Devices) > 0 {
			return fmt.Errorf("remove node %s: %w: it has %d devices", n, ErrInUse, len(n.Devices))
		}
		others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n Node) bool { return n.ID == id })
		if len(others) > 0 {
			cli, _, err := e.speaker(ctx, Cluster{ID: c.ID, Nodes: others})
			if err == nil {
				err = e.detach(ctx, cli, *n)
			}
			if err != nil {
				return fmt.Errorf("remove node %s: %w", n, err)
			}
		}
		c.Nodes = others
		return nil
	})
}

func (e *Engine) detach(ctx context.Context, cli gluster.CLI, n Node) error {
	peers, err := cli.Peers(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(peers, n.isPeer)
	if i < 0 {
		return nil
	}
	return cli.Detach(ctx, n.Storage, !peers[i].Connected)
}

// SetNodeTags changes a node's tags.
func (e *Engine) SetNodeTags(ctx context.Context, id string, change func(tags map[string]string)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.change(ctx, func(s *State) error {
		_, n := s.node(id)
		if n == nil {
			return fmt.Errorf("tag node %s: %w", id, ErrNotFound)
		}
		retag(&n.Tags, change)
		return nil
	})
}

// SetDeviceTags changes a device's tags.
func (e *Engine) SetDeviceTags(ctx context.Context, id string, change func(tags map[string]string)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.change(ctx, func(s *State) error {
		_, _, d := s.device(id)
		if d == nil {
			return fmt.Errorf("tag device %s: %w", id, ErrNotFound)
		}
		retag(&d.Tags, change)
		return nil
	})
}

func retag(tags *map[string]string, change func(map[string]string)) {
	if *tags == nil {
		*tags = map[string]string{}
	}
	change(*tags)
}
