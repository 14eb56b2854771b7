package gluster_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	. "picluster/clusterctl/gluster"
	"picluster/internal/host"
	"picluster/internal/lab/gluster"
	"picluster/internal/step"
)

// pool is a cluster whose nodes know each other.
type pool struct {
	*gluster.Cluster
	CLI
	t *testing.T
}

func newPool(t *testing.T, n int) pool {
	t.Helper()
	c := gluster.Start(t, n)
	p := pool{c, CLI{Host: c.Nodes[0]}, t}
	var members []string
	for _, n := range c.Nodes {
		members = append(members, n.Address)
	}
	stages := []step.Stage[CLI]{{Name: "storage", Steps: []step.Step[CLI]{
		Pool{Members: members, Self: members[0]},
		PoolOptions{Want: map[string]string{"cluster.brick-multiplex": "on"}},
	}}}
	p.must(step.Run(t.Context(), p.CLI, stages, nil))
	drifts, err := step.Plan(t.Context(), p.CLI, stages)
	if err != nil || len(drifts) > 0 {
		t.Fatalf("a second run would do %v: %v", drifts, err)
	}
	return p
}

func (p pool) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p pool) run(on *gluster.Node, script string, args ...string) string {
	p.t.Helper()
	out, err := on.Run(p.t.Context(), host.Cmd{Args: append([]string{"sh", "-ec", script, "sh"}, args...)})
	p.must(err)
	return strings.TrimSpace(string(out))
}

// bricks makes a directory of that name on each node, on a file system of its own:
// gluster refuses bricks next to the system.
func (p pool) bricks(name string) []Brick {
	p.t.Helper()
	var set []Brick
	for _, n := range p.Nodes {
		p.run(n, `mkdir -p /srv/bricks
			if ! mountpoint -q /srv/bricks; then
				truncate -s 600M /srv/disk; mkfs.xfs -q /srv/disk; mount -o loop /srv/disk /srv/bricks
			fi
			mkdir "/srv/bricks/$1"`, name)
		set = append(set, Brick{Host: n.Address, Path: "/srv/bricks/" + name})
	}
	return set
}

func (p pool) remount(n *gluster.Node) {
	p.t.Helper()
	p.run(n, `mount -o loop /srv/disk /srv/bricks`)
}

// whole waits until a volume has nothing to heal.
func (p pool) whole(name string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 4*time.Minute)
	defer cancel()
	p.must(step.Wait{For: "healing", Every: time.Second}.Until(ctx, func(ctx context.Context) error {
		bricks, err := p.Heal(ctx, name)
		if err == nil && (Healed(bricks) != "" || len(bricks) != 3) {
			err = fmt.Errorf("%s: %+v", Healed(bricks), bricks)
		}
		return err
	}))
}

// sums are the digests of all files of a brick, by name, gluster's own apart.
func (p pool) sums(n *gluster.Node, b Brick) string {
	return p.run(n, `cd "$1"; find . -path ./.glusterfs -prune -o -type f -print0 | sort -z | xargs -0 sha256sum`, b.Path)
}

func TestCLI_volumeOutlivesItsNodes(t *testing.T) {
	p := newPool(t, 3)
	ctx := t.Context()
	set := p.bricks("data")
	p.must(p.Create(ctx, "data", [][]Brick{set}))
	p.must(p.Set(ctx, "data", map[string]string{"network.ping-timeout": "10", "cluster.heal-timeout": "60", "user.size": "1 G"}))
	p.must(p.Start(ctx, "data", false))
	v, err := p.Volume(ctx, "data")
	p.must(err)
	if !v.Started || v.Replicas != 3 || v.Arbiters != 0 || len(v.Sets()) != 1 || fmt.Sprint(v.Bricks) != fmt.Sprint(set) || v.Options["user.size"] != "1 G" {
		t.Errorf("the volume is %+v", v)
	}
	content := make([]byte, 5<<20)
	rand.Read(content)
	p.must(p.Client.Write(ctx, "/tmp/content", host.File{Data: content}))
	p.run(p.Client, `mkdir /tmp/mnt; mount -t glusterfs "$1:/data" /tmp/mnt; cp /tmp/content /tmp/mnt/before; sync /tmp/mnt/before`, p.Nodes[0].Address)

	lost := p.Nodes[2]
	lost.PowerOff()
	p.run(p.Client, `cp /tmp/content /tmp/mnt/during; for i in 1 2 3 4 5; do echo $i >/tmp/mnt/$i; done; sync /tmp/mnt/*`)
	status, err := p.Status(ctx, v)
	p.must(err)
	if len(status) != 3 || !status[0].Online || !status[1].Online || status[2].Online || status[0].Total < 500<<20 || status[0].Total > 600<<20 {
		t.Errorf("with a node away the bricks are %+v", status)
	}
	heal, err := p.Heal(ctx, "data")
	p.must(err)
	if len(heal) != 3 || !heal[0].Connected || heal[2].Connected || heal[0].Pending < 6 || !strings.Contains(Healed(heal), "is not connected") {
		t.Errorf("with a node away %+v are to be healed: %s", heal, Healed(heal))
	}
	lost.PowerOn()
	p.remount(lost)
	p.must(p.Start(ctx, "data", true)) // glusterd found no file system under the brick when it came
	p.whole("data")
	for i, n := range p.Nodes {
		if got, want := p.sums(n, set[i]), p.sums(p.Nodes[0], set[0]); got != want || strings.Count(got, "\n") != 6 {
			t.Errorf("brick %d has\n%s\nthe first has\n%s", i, got, want)
		}
	}

	fresh := p.bricks("fresh")[2]
	p.must(p.ReplaceBrick(ctx, "data", set[2], fresh))
	p.must(p.StartHeal(ctx, "data"))
	p.whole("data")
	if got, want := p.sums(lost, fresh), p.sums(p.Nodes[0], set[0]); got != want {
		t.Errorf("the new brick has\n%s\nwant\n%s", got, want)
	}
	back, err := p.Client.ReadFile(ctx, "/tmp/mnt/during")
	if p.must(err); !bytes.Equal(back, content) {
		t.Error("the file has changed")
	}

	p.must(p.Stop(ctx, "data", false))
	p.must(p.Delete(ctx, "data"))
	if _, err := p.Volume(ctx, "data"); !errors.Is(err, ErrNoVolume) {
		t.Errorf("a deleted volume: %v", err)
	}
}

func TestCLI_setsOfBricks(t *testing.T) {
	p := newPool(t, 3)
	ctx := t.Context()
	first, second := p.bricks("first"), p.bricks("second")
	first[2].Arbiter, second[2].Arbiter = true, true
	p.must(p.Create(ctx, "two", [][]Brick{first}))
	p.must(p.Start(ctx, "two", false))
	p.must(p.AddBricks(ctx, "two", [][]Brick{second}))
	p.must(p.StartRebalance(ctx, "two"))
	p.must(step.Wait{For: "the rebalance", Limit: time.Minute}.Until(ctx, func(ctx context.Context) error {
		state, err := p.Rebalance(ctx, "two")
		if err == nil && state != "completed" {
			err = errors.New(state)
		}
		return err
	}))
	v, err := p.Volume(ctx, "two")
	p.must(err)
	if got, want := fmt.Sprintf("%+v", v.Sets()), fmt.Sprintf("%+v", [][]Brick{first, second}); got != want || v.Arbiters != 1 || v.Replicas != 3 {
		t.Errorf("got %+v", v)
	}
	all, err := p.Volumes(ctx)
	if p.must(err); len(all) != 1 || all[0].Name != "two" {
		t.Errorf("there are %+v", all)
	}

	p.must(p.Idle(ctx, "two"))
	p.must(p.Idle(ctx, "none")) // one that is being made is not there either

	// Whatever gluster refuses is an error, although it exits with 0.
	for want, do := range map[string]func() error{
		"create volume two: Volume two already exists":                           func() error { return p.Create(ctx, "two", [][]Brick{p.bricks("third")}) },
		"create volume again: Brick: 10.77.0.10:/srv/bricks/first not available": func() error { return p.Create(ctx, "again", [][]Brick{first}) },
		"start volume two: Volume two already started":                           func() error { return p.Start(ctx, "two", false) },
		"delete volume two: Volume two has been started":                         func() error { return p.Delete(ctx, "two") },
		"set options of volume two: option : no.such does not exist":             func() error { return p.Set(ctx, "two", map[string]string{"no.such": "1"}) },
		"detach peer 10.77.0.12: Peer 10.77.0.12 hosts one or more bricks":       func() error { return p.Detach(ctx, "10.77.0.12", false) },
		"probe peer 10.77.0.99: Probe returned with Transport endpoint is":       func() error { return p.Probe(ctx, "10.77.0.99") },
		"stop volume none: Volume none does not exist":                           func() error { return p.Stop(ctx, "none", true) },
		"look at what is to heal in volume none: Volume none does not exist":     func() error { _, err := p.Heal(ctx, "none"); return err },
		"heal volume none: run gluster":                                          func() error { return p.StartHeal(ctx, "none") },
		"look at volume none: Volume does not exist":                             func() error { _, err := p.Volume(ctx, "none"); return err },
	} {
		if err := do(); err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got  %v\nwant %s", err, want)
		} else if missing := strings.Contains(want, "volume none: Volume"); missing != errors.Is(err, ErrNoVolume) {
			t.Errorf("%v: is it about a missing volume? %v", err, !missing)
		}
	}
	if _, err := (CLI{Host: p.Client}).Peers(ctx); err == nil || !strings.HasPrefix(err.Error(), "list peers: glusterd does not answer on client: ") {
		t.Errorf("without glusterd: %v", err)
	}
}

// Two changes at once wait for each other.
func TestCLI_waitsForThePoolsLock(t *testing.T) {
	p := newPool(t, 2)
	p.must(p.Create(t.Context(), "data", [][]Brick{p.bricks("data")[:1]}))
	results := make(chan error)
	for i := range 6 {
		go func() {
			on := CLI{Host: p.Nodes[i%2]}
			results <- on.Set(t.Context(), "data", map[string]string{fmt.Sprintf("user.n%d", i): "1"})
		}()
	}
	for range 6 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	v, err := p.Volume(t.Context(), "data")
	p.must(err)
	for i := range 6 {
		if v.Options[fmt.Sprintf("user.n%d", i)] != "1" {
			t.Errorf("option %d is lost: %v", i, v.Options)
		}
	}
}
