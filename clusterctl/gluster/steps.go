package gluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"picluster/internal/step"
)

// Pool wants all of these nodes in one trusted pool, and connected.
type Pool struct {
	Members []string // names or addresses by which they reach each other
	Self    string   // the one among them that is the target
}

var _ step.Step[CLI] = Pool{}

// Name implements step.Step.
func (p Pool) Name() string { return "pool" }

// peerTime is how long a node may take from a probe until it takes part: it is told
// of all volumes first. A Pi that has just joined the cluster is busy with other things
// too: more than a minute was seen.
const peerTime = 5 * time.Minute

// Check implements step.Step.
func (p Pool) Check(ctx context.Context, on CLI) (string, error) {
	absent, waiting, err := p.missing(ctx, on)
	switch {
	case err != nil:
		return "", err
	case len(absent) > 0:
		return "not in the storage pool: " + strings.Join(absent, ", "), nil
	case len(waiting) > 0:
		return "not connected to the storage pool: " + strings.Join(waiting, ", "), nil
	}
	return "", nil
}

// others leaves out the target, which does not know itself by any name.
func (p Pool) others() []string {
	return slices.DeleteFunc(slices.Clone(p.Members), func(name string) bool { return name == p.Self })
}

func (p Pool) missing(ctx context.Context, on CLI) (absent, waiting []string, err error) {
	peers, err := on.Peers(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range p.others() {
		i := slices.IndexFunc(peers, func(p Peer) bool { return slices.Contains(p.Names, name) })
		switch {
		case i < 0:
			absent = append(absent, name)
		case !peers[i].Ready:
			waiting = append(waiting, name)
		}
	}
	return absent, waiting, nil
}

// Apply implements step.Step.
func (p Pool) Apply(ctx context.Context, on CLI) error {
	for _, name := range p.others() {
		if err := on.Probe(ctx, name); err != nil {
			return err
		}
	}
	return step.Wait{For: "the storage pool", Limit: peerTime, Every: time.Second}.Until(ctx, func(ctx context.Context) error {
		drift, err := p.Check(ctx, on)
		if err == nil && drift != "" {
			err = errors.New(drift)
		}
		return err
	})
}

// PoolOptions wants options of the whole pool, such as cluster.brick-multiplex.
type PoolOptions struct {
	Want map[string]string
}

var _ step.Step[CLI] = PoolOptions{}

// Name implements step.Step.
func (o PoolOptions) Name() string { return "pool options" }

// Check implements step.Step.
func (o PoolOptions) Check(ctx context.Context, on CLI) (string, error) {
	for _, key := range slices.Sorted(maps.Keys(o.Want)) {
		is, err := on.PoolOption(ctx, key)
		if err != nil {
			return "", err
		}
		if is != o.Want[key] {
			return fmt.Sprintf("%s is %s, want %s", key, is, o.Want[key]), nil
		}
	}
	return "", nil
}

// Apply implements step.Step.
func (o PoolOptions) Apply(ctx context.Context, on CLI) error { return on.Set(ctx, "all", o.Want) }
