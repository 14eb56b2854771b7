package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/allocator"
	"picluster/clusterctl/gluster/brick"
)

// Options of a volume that say what gluster has no word for. Whatever begins with
// "user." is not looked at by gluster (glusterd-volume-set.c).
const (
	optionID    = "user.picluster.id"
	optionBytes = "user.picluster.bytes"
	optionSets  = "user.picluster.sets" // of each set, bytes of a data brick/bytes of the arbiter
	optionGID   = "user.picluster.gid"
)

// Volume is a volume that this engine has made.
type Volume struct {
	ID       string
	Name     string // gluster's
	Cluster  string
	Bytes    int64 // that can be written to it
	Replicas int   // full copies
	Arbiter  bool
	GID      int64
	Started  bool
	Options  map[string]string // gluster's, without our own
	Sets     [][]Brick
	Hosts    []string // of its bricks: where it can be mounted from
}

// Brick is one of a volume.
type Brick struct {
	Place
	Node  string // id of the node; "" if it is none of the cluster's any more
	Bytes int64  // that can be written to it
	At    gluster.Brick
}

// Bricks are those of all sets.
func (v Volume) Bricks() []Brick { return slices.Concat(v.Sets...) }

// places are where a volume's bricks are.
func (v Volume) places() []Place {
	var all []Place
	for _, b := range v.Bricks() {
		all = append(all, b.Place)
	}
	return all
}

// Volumes lists all volumes, those of other makers left out, by name. Those that are
// only half made, or half removed, are left out as well.
func (e *Engine) Volumes(ctx context.Context) ([]Volume, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.Store.Load(ctx)
	if err != nil {
		return nil, err
	}
	return e.volumes(ctx, s)
}

func (e *Engine) volumes(ctx context.Context, s State) ([]Volume, error) {
	var all []Volume
	for _, c := range s.Clusters {
		if len(c.Nodes) == 0 {
			continue
		}
		cli, _, err := e.speaker(ctx, c)
		if err != nil {
			return nil, err
		}
		volumes, err := e.volumesOf(ctx, cli, s, c)
		if err != nil {
			return nil, err
		}
		all = append(all, volumes...)
	}
	slices.SortFunc(all, func(a, b Volume) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

func (e *Engine) volumesOf(ctx context.Context, cli gluster.CLI, s State, c Cluster) ([]Volume, error) {
	found, err := cli.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	var all []Volume
	for _, g := range found {
		if g.Options[optionID] == "" || len(s.unfinished(c.ID, g.Name)) > 0 {
			continue
		}
		v, err := read(g, c)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// read makes sense of a volume's options and of the paths of its bricks.
func read(g gluster.Volume, c Cluster) (Volume, error) {
	v := Volume{
		ID: g.Options[optionID], Name: g.Name, Cluster: c.ID, Started: g.Started,
		Replicas: g.Replicas - g.Arbiters, Arbiter: g.Arbiters > 0, Options: map[string]string{},
	}
	for key, value := range g.Options {
		if !strings.HasPrefix(key, "user.picluster.") {
			v.Options[key] = value
		}
	}
	var err error
	if v.Bytes, err = strconv.ParseInt(g.Options[optionBytes], 10, 64); err != nil {
		return v, fmt.Errorf("read volume %s: option %s is %q", g.Name, optionBytes, g.Options[optionBytes])
	}
	v.GID, _ = strconv.ParseInt(g.Options[optionGID], 10, 64) // none is 0
	sizes, err := parseSets(g.Options[optionSets])
	if err != nil {
		return v, fmt.Errorf("read volume %s: %w", g.Name, err)
	}
	for len(sizes) < len(g.Sets()) { // an expansion that a power cut has kept from saying so
		sizes = append(sizes, setSize{})
	}
	hosts := map[string]bool{}
	for i, set := range g.Sets() {
		var bricks []Brick
		for _, b := range set {
			hosts[b.Host] = true
			is := Brick{At: b, Bytes: sizes[i].of(b.Arbiter)}
			is.Device, is.ID, _ = brick.InPath(b.Path)
			if n := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.Storage == b.Host }); n >= 0 {
				is.Node = c.Nodes[n].ID
			}
			bricks = append(bricks, is)
		}
		v.Sets = append(v.Sets, bricks)
	}
	v.Hosts = slices.Sorted(maps.Keys(hosts))
	return v, nil
}

// setSize is how large the bricks of a set are, in bytes.
type setSize struct{ data, arbiter int64 }

func (s setSize) of(arbiter bool) int64 {
	if arbiter {
		return s.arbiter
	}
	return s.data
}

func formatSets(sizes []setSize) string {
	var words []string
	for _, s := range sizes {
		words = append(words, fmt.Sprintf("%d/%d", s.data, s.arbiter))
	}
	return strings.Join(words, ",")
}

func parseSets(text string) ([]setSize, error) {
	var sizes []setSize
	for _, word := range strings.Split(text, ",") {
		data, arbiter, _ := strings.Cut(word, "/")
		d, err := strconv.ParseInt(data, 10, 64)
		a, arbiterErr := strconv.ParseInt(arbiter, 10, 64)
		if err != nil || arbiterErr != nil {
			return nil, fmt.Errorf("read sizes of bricks: %q", text)
		}
		sizes = append(sizes, setSize{d, a})
	}
	return sizes, nil
}

// Volume finds a volume by its id or its name.
func (e *Engine) Volume(ctx context.Context, idOrName string) (Volume, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.Store.Load(ctx)
	if err != nil {
		return Volume{}, err
	}
	return e.find(ctx, s, idOrName)
}

func (e *Engine) find(ctx context.Context, s State, idOrName string) (Volume, error) {
	all, err := e.volumes(ctx, s)
	if err != nil {
		return Volume{}, err
	}
	i := slices.IndexFunc(all, func(v Volume) bool { return v.ID == idOrName || v.Name == idOrName })
	if i < 0 {
		return Volume{}, fmt.Errorf("look for volume %s: %w", idOrName, ErrNotFound)
	}
	return all[i], nil
}

// bricksOn returns the volumes that have a brick on a device, once for each brick.
func (e *Engine) bricksOn(ctx context.Context, c Cluster, device string) ([]Volume, error) {
	cli, _, err := e.speaker(ctx, c)
	if err != nil {
		return nil, err
	}
	volumes, err := e.volumesOf(ctx, cli, State{}, c)
	if err != nil {
		return nil, err
	}
	var on []Volume
	for _, v := range volumes {
		for _, b := range v.Bricks() {
			if b.Device == device {
				on = append(on, v)
			}
		}
	}
	return on, nil
}

// Room is how large a volume of that kind could be now, in bytes; 0 if there is no
// room for any.
func (e *Engine) Room(ctx context.Context, r Request) (int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.Store.Load(ctx)
	if err != nil {
		return 0, err
	}
	var room int64
	for _, c := range s.Clusters {
		if len(c.Nodes) == 0 || len(r.Clusters) > 0 && !slices.Contains(r.Clusters, c.ID) {
			continue
		}
		cli, _, err := e.speaker(ctx, c)
		if err != nil {
			return 0, err
		}
		room = max(room, Largest(e.devices(ctx, cli, c), r, e.Bricks.Footprint))
	}
	return room, nil
}

// Largest is how large a volume of that kind could be on these devices, in bytes.
func Largest(devices []allocator.Device, r Request, footprint func(bytes int64) int64) int64 {
	// The first size, in MiB, that does not fit; none of 1 EiB does.
	size := sort.Search(1<<40, func(n int) bool {
		r.Bytes = int64(n+1) * mib
		_, err := allocator.Place(devices, r.allocation(footprint))
		return err != nil
	})
	return int64(size) * mib
}

// Condition says in a sentence what is wrong with a volume, "" if nothing is.
func (e *Engine) Condition(ctx context.Context, v Volume) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.Store.Load(ctx)
	if err != nil {
		return "", err
	}
	c := s.cluster(v.Cluster)
	if c == nil {
		return "", fmt.Errorf("look at volume %s: %w", v.Name, ErrNotFound)
	}
	if !v.Started {
		return "it is stopped", nil
	}
	cli, _, err := e.speaker(ctx, *c)
	if err != nil {
		return "", err
	}
	g := gluster.Volume{Name: v.Name}
	for _, b := range v.Bricks() {
		g.Bricks = append(g.Bricks, b.At)
	}
	bricks, err := cli.Status(ctx, g)
	if err != nil {
		return "", err
	}
	var away []string
	for _, b := range bricks {
		if !b.Online {
			away = append(away, b.Host)
		}
	}
	if away == nil {
		return "", nil
	}
	return fmt.Sprintf("%d of %d bricks are offline: those on %s", len(away), len(bricks), strings.Join(away, ", ")), nil
}

// EachPool does something by a node that speaks for its pool, for each pool.
func (e *Engine) EachPool(ctx context.Context, do func(cli gluster.CLI) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.Store.Load(ctx)
	for _, c := range s.Clusters {
		if err != nil || len(c.Nodes) == 0 {
			continue
		}
		var cli gluster.CLI
		if cli, _, err = e.speaker(ctx, c); err == nil {
			err = do(cli)
		}
	}
	return err
}

// Bytes is how large a volume of gluster's is by its options, 0 if it is not ours.
func Bytes(v gluster.Volume) int64 {
	n, _ := strconv.ParseInt(v.Options[optionBytes], 10, 64) // of another maker's there is none
	return n
}
