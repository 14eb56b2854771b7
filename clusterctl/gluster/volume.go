package gluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Volume is a volume as the pool knows it.
type Volume struct {
	Name     string
	ID       string // gluster's own, a UUID
	Started  bool
	Replicas int // bricks of a set, arbiters included; 1: none
	Arbiters int // of a set, 0 or 1
	Bricks   []Brick
	Options  map[string]string // those that have been set
}

// Brick is a directory on a node.
type Brick struct {
	Host    string // name or address of the node
	Path    string
	Arbiter bool // holds names and no data
}

// String is the brick as gluster has it: HOST:PATH.
func (b Brick) String() string { return b.Host + ":" + b.Path }

// Sets are the bricks that hold the same files, in the volume's order.
func (v Volume) Sets() [][]Brick {
	return slices.Collect(slices.Chunk(v.Bricks, max(1, v.Replicas)))
}

type volumeInfo struct {
	Count   int `xml:"volumes>count"`
	Volumes []struct {
		Name     string `xml:"name"`
		ID       string `xml:"id"`
		Status   string `xml:"statusStr"`
		Count    int    `xml:"brickCount"`
		Replicas int    `xml:"replicaCount"`
		Arbiters int    `xml:"arbiterCount"`
		Bricks   []struct {
			Name    string `xml:"name"`
			Arbiter int    `xml:"isArbiter"`
		} `xml:"bricks>brick"`
		Options []struct {
			Name  string `xml:"name"`
			Value string `xml:"value"`
		} `xml:"options>option"`
	} `xml:"volumes>volume"`
}

// Volumes lists all volumes, by name.
func (c CLI) Volumes(ctx context.Context) ([]Volume, error) {
	return c.info(ctx, "list volumes", "all")
}

// Volume looks at one volume. If there is none, the error is an ErrNoVolume.
func (c CLI) Volume(ctx context.Context, name string) (Volume, error) {
	op := "look at volume " + name
	if name == "all" { // it would list them all, and so no volume can have that name
		return Volume{}, &Error{Op: op, Errno: errnoNoVolume, Text: "no volume has that name"}
	}
	volumes, err := c.info(ctx, op, name)
	if err == nil && (len(volumes) != 1 || volumes[0].Name != name) {
		err = fmt.Errorf("%s: read gluster's answer: it is about %d other volumes", op, len(volumes))
	}
	if err != nil {
		return Volume{}, err
	}
	return volumes[0], nil
}

func (c CLI) info(ctx context.Context, op, name string) ([]Volume, error) {
	out, err := c.do(ctx, op, "volume", "info", name)
	if err != nil {
		return nil, err
	}
	volumes, err := out.Info.volumes()
	if err != nil {
		return nil, fmt.Errorf("%s: read gluster's answer: %w", op, err)
	}
	return volumes, nil
}

func (i *volumeInfo) volumes() ([]Volume, error) {
	if i == nil || i.Count != len(i.Volumes) {
		return nil, fmt.Errorf("it counts other volumes than it lists")
	}
	var volumes []Volume
	for _, v := range i.Volumes {
		is := Volume{Name: v.Name, ID: v.ID, Started: v.Status == "Started", Replicas: v.Replicas, Arbiters: v.Arbiters, Options: map[string]string{}}
		if v.Name == "" || v.Count != len(v.Bricks) || v.Replicas < 1 || v.Count%v.Replicas != 0 {
			return nil, fmt.Errorf("volume %q has %d bricks, lists %d, and has %d in a set", v.Name, v.Count, len(v.Bricks), v.Replicas)
		}
		for _, b := range v.Bricks {
			host, path, ok := strings.Cut(b.Name, ":")
			if !ok || host == "" || !strings.HasPrefix(path, "/") {
				return nil, fmt.Errorf("volume %s has a brick %.80q, want HOST:PATH", v.Name, b.Name)
			}
			is.Bricks = append(is.Bricks, Brick{Host: host, Path: path, Arbiter: b.Arbiter == 1})
		}
		for _, o := range v.Options {
			is.Options[o.Name] = o.Value
		}
		volumes = append(volumes, is)
	}
	slices.SortFunc(volumes, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	return volumes, nil
}

// Create makes a volume of sets of bricks that are alike: each has as many bricks,
// and an arbiter as its last one or not. The bricks' directories must be there and
// have been no bricks before. The volume is not started.
func (c CLI) Create(ctx context.Context, name string, sets [][]Brick) error {
	args := []string{"volume", "create", name}
	n, arbiters := len(sets[0]), 0
	if sets[0][n-1].Arbiter {
		arbiters = 1
	}
	switch {
	case arbiters == 1: // the count is that of full copies
		args = append(args, "replica", strconv.Itoa(n-1), "arbiter", "1")
	case n > 1:
		args = append(args, "replica", strconv.Itoa(n))
	}
	_, err := c.do(ctx, "create volume "+name, append(args, names(sets)...)...)
	return err
}

func names(sets [][]Brick) []string {
	var all []string
	for _, set := range sets {
		for _, b := range set {
			all = append(all, b.String())
		}
	}
	return all
}

// Set sets options of a volume, all or none; the volume "all" has those of the pool.
func (c CLI) Set(ctx context.Context, name string, options map[string]string) error {
	args := []string{"volume", "set", name}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		args = append(args, key, options[key])
	}
	_, err := c.do(ctx, "set options of volume "+name, args...)
	return err
}

type poolOption struct {
	Name  string `xml:"Option"`
	Value string `xml:"Value"`
}

// PoolOption returns an option of the whole pool, or what it is by default.
func (c CLI) PoolOption(ctx context.Context, name string) (string, error) {
	op := "look at option " + name
	out, err := c.do(ctx, op, "volume", "get", "all", name)
	if err == nil && (len(out.Options) != 1 || out.Options[0].Name != name) {
		err = fmt.Errorf("%s: read gluster's answer: it is about %d other options", op, len(out.Options))
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(out.Options[0].Value, " (DEFAULT)"), nil
}

// Start starts a volume that is stopped. Force starts bricks that are missing in one
// that is started.
func (c CLI) Start(ctx context.Context, name string, force bool) error {
	return c.change(ctx, "start", name, force)
}

// Stop stops a volume; force, also one that is stopped, or whose nodes are away.
// Whoever has it mounted gets errors from now on.
func (c CLI) Stop(ctx context.Context, name string, force bool) error {
	return c.change(ctx, "stop", name, force)
}

func (c CLI) change(ctx context.Context, verb, name string, force bool) error {
	args := []string{"volume", verb, name}
	if force {
		args = append(args, "force")
	}
	_, err := c.do(ctx, verb+" volume "+name, args...)
	return err
}

// Delete removes a stopped volume. What its bricks hold stays there. All nodes of
// the pool must be connected.
func (c CLI) Delete(ctx context.Context, name string) error {
	_, err := c.do(ctx, "delete volume "+name, "volume", "delete", name)
	return err
}

// AddBricks adds sets to a volume. Files that are there already stay where they are
// until a Rebalance.
func (c CLI) AddBricks(ctx context.Context, name string, sets [][]Brick) error {
	_, err := c.do(ctx, "add bricks to volume "+name, append([]string{"volume", "add-brick", name}, names(sets)...)...)
	return err
}

// ReplaceBrick puts an empty brick in the place of another, which may be lost. The
// self-heal daemon then fills it from the others of the set.
func (c CLI) ReplaceBrick(ctx context.Context, name string, old, new Brick) error {
	_, err := c.do(ctx, fmt.Sprintf("replace brick %s of volume %s", old, name),
		"volume", "replace-brick", name, old.String(), new.String(), "commit", "force")
	return err
}

// StartRebalance begins to spread files over sets that have been added.
func (c CLI) StartRebalance(ctx context.Context, name string) error {
	_, err := c.do(ctx, "rebalance volume "+name, "volume", "rebalance", name, "start")
	return err
}

type rebalance struct {
	State string `xml:"aggregate>statusStr"`
}

// Rebalance says how far a rebalance is: "in progress", "completed", "failed" and so
// on, in gluster's words.
func (c CLI) Rebalance(ctx context.Context, name string) (state string, err error) {
	out, err := c.do(ctx, "look at the rebalance of volume "+name, "volume", "rebalance", name, "status")
	if err == nil && (out.Balance == nil || out.Balance.State == "") {
		err = fmt.Errorf("look at the rebalance of volume %s: read gluster's answer: it has no state", name)
	}
	if err != nil {
		return "", err
	}
	return out.Balance.State, nil
}
