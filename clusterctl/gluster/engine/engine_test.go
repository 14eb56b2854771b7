//go:build e2e

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/allocator"
	"picluster/clusterctl/gluster/brick"
	. "picluster/clusterctl/gluster/engine"
	"picluster/internal/host"
	lab "picluster/internal/lab/gluster"
	"picluster/internal/step"
)

const mib = 1 << 20

// world is a cluster with an engine that knows its nodes, each with a device of a
// size.
type world struct {
	*lab.Cluster
	*Engine
	t     *testing.T
	id    string
	power *lab.Power // of the engine
}

func newWorld(t *testing.T, n int, size string) *world {
	t.Helper()
	w := &world{Cluster: lab.Start(t, n), t: t, power: lab.NewPower(1 << 30)}
	w.Engine = &Engine{
		Store:  File{Host: w.Client, Path: "/srv/state.json"},
		Bricks: brick.LoopFile{},
		Reach:  w.reach,
	}
	c, err := w.CreateCluster(t.Context())
	w.must(err)
	w.id = c.ID
	for i, node := range w.Nodes {
		added, err := w.AddNode(t.Context(), c.ID, Node{Manage: node.Name, Storage: node.Address, Zone: i + 1})
		w.must(err)
		device := w.run(node, `truncate -s "$1" /srv/disk; losetup --find --show /srv/disk`, size)
		_, err = w.AddDevice(t.Context(), added.ID, Device{Name: device}, false)
		w.must(err)
	}
	return w
}

func (w *world) reach(_ context.Context, n Node) (host.Host, error) {
	i := slices.IndexFunc(w.Nodes, func(is *lab.Node) bool { return is.Name == n.Manage })
	if w.Nodes[i].PID() == 0 {
		return nil, fmt.Errorf("dial %s: no route to host", n.Manage)
	}
	return w.power.On(w.Nodes[i]), nil
}

// again is an engine that has just started, with power for so many operations.
func (w *world) again(operations int) {
	w.power = lab.NewPower(operations)
	w.Engine = &Engine{Store: File{Host: w.power.On(w.Client), Path: "/srv/state.json"}, Bricks: brick.LoopFile{}, Reach: w.reach}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run(on *lab.Node, script string, args ...string) string {
	w.t.Helper()
	out, err := on.Run(w.t.Context(), host.Cmd{Args: append([]string{"sh", "-ec", script, "sh"}, args...)})
	w.must(err)
	return strings.TrimSpace(string(out))
}

// mount mounts a volume on the client.
func (w *world) mount(v Volume) string {
	w.t.Helper()
	at := "/tmp/" + v.Name
	w.run(w.Client, `mkdir -p "$2"; mount -t glusterfs "$1" "$2"`, v.Hosts[0]+":/"+v.Name, at)
	return at
}

// onDisk lists the bricks that there are on all nodes that are on.
func (w *world) onDisk() []string {
	w.t.Helper()
	var all []string
	for _, n := range w.Nodes {
		if n.PID() != 0 {
			all = append(all, strings.Fields(w.run(n, `find `+brick.Root+` -mindepth 2 -maxdepth 2 -not -name '[!.]*.img' 2>/dev/null`))...)
		}
	}
	return all
}

// nothing wants no volume and no brick to be left, and nothing unfinished.
func (w *world) nothing(when string) {
	w.t.Helper()
	volumes, err := gluster.CLI{Host: w.Nodes[0]}.Volumes(w.t.Context())
	w.must(err)
	s, err := w.State(w.t.Context())
	w.must(err)
	if bricks := w.onDisk(); len(bricks) > 0 || len(volumes) > 0 || len(s.Pending) > 0 {
		w.t.Errorf("%s there are bricks %v, volumes %v, pending %v", when, bricks, volumes, s.Pending)
	}
}

func TestEngine_volumesLiveAndGrow(t *testing.T) {
	w := newWorld(t, 3, "3G")
	ctx := t.Context()
	v, err := w.CreateVolume(ctx, Request{Name: "data", Bytes: 400 * mib, Replicas: 3, GID: 1234, Options: map[string]string{"performance.read-ahead": "off"}})
	w.must(err)
	if v.Bytes != 400*mib || v.Replicas != 3 || v.Arbiter || !v.Started || v.GID != 1234 || len(v.Sets) != 1 || len(v.Bricks()) != 3 ||
		v.Options["performance.read-ahead"] != "off" || v.Options["network.ping-timeout"] != "10" || fmt.Sprint(v.Hosts) != "[10.77.0.10 10.77.0.11 10.77.0.12]" {
		t.Errorf("the volume is %+v", v)
	}
	at := w.mount(v)
	if got := w.run(w.Client, `stat -c '%a %g' "$1"; dd if=/dev/zero of="$1/file" bs=1M count=399 status=none; sync "$1/file"; echo written`, at); got != "2775 1234\nwritten" {
		t.Errorf("the volume has mode, group and room %q", got)
	}

	if there, err := w.CreateVolume(ctx, Request{Name: "data", Bytes: mib, Replicas: 3}); !errors.Is(err, ErrExists) || there.ID != v.ID {
		t.Errorf("a second one of that name: %+v, %v", there, err)
	}
	v, err = w.ExpandVolume(ctx, v.ID, 800*mib) // in place
	w.must(err)
	if v.Bytes != 800*mib || len(v.Sets) != 1 {
		t.Errorf("it has grown to %+v", v)
	}
	w.run(w.Client, `dd if=/dev/zero of="$1/more" bs=1M count=399 status=none; sync "$1/more"`, at)
	small, err := w.CreateVolume(ctx, Request{Bytes: 10 * mib, Replicas: 2, Arbiter: true})
	w.must(err)
	if set := small.Sets[0]; small.Name != "vol_"+small.ID || !small.Arbiter || small.Replicas != 2 || len(set) != 3 || !set[2].At.Arbiter || set[2].Bytes != 32*mib {
		t.Errorf("with an arbiter it is %+v", small)
	}
	all, err := w.Volumes(ctx)
	if w.must(err); len(all) != 2 || all[0].Name != "data" {
		t.Errorf("there are %+v", all)
	}
	if _, err := w.CreateVolume(ctx, Request{Bytes: 100 << 30, Replicas: 3}); !errors.Is(err, allocator.ErrNoSpace) {
		t.Errorf("too large a volume: %v", err)
	}
	if _, err := w.ExpandVolume(ctx, "data", 100<<30); !errors.Is(err, allocator.ErrNoSpace) {
		t.Errorf("too large an expansion: %v", err)
	}
	s, err := w.State(ctx)
	w.must(err)
	if err := w.RemoveDevice(ctx, s.Clusters[0].Nodes[0].Devices[0].ID, false); !errors.Is(err, ErrInUse) {
		t.Errorf("a device in use is removed: %v", err)
	}
	if err := w.RemoveNode(ctx, s.Clusters[0].Nodes[0].ID); !errors.Is(err, ErrInUse) {
		t.Errorf("a node in use is removed: %v", err)
	}
	w.run(w.Client, `umount "$1"`, at)
	w.must(w.DeleteVolume(ctx, "data"))
	w.must(w.DeleteVolume(ctx, small.ID))
	if err := w.DeleteVolume(ctx, "data"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a second delete: %v", err)
	}
	w.nothing("in the end")

	for _, n := range s.Clusters[0].Nodes {
		w.must(w.RemoveDevice(ctx, n.Devices[0].ID, false))
		w.must(w.RemoveNode(ctx, n.ID))
		if got := w.run(w.Nodes[0], `wipefs --no-act --parsable "$1"`, n.Devices[0].Name); got != "" {
			t.Errorf("%s has %s on its device", n, got)
		}
	}
	w.must(w.DeleteCluster(ctx, w.id))
}

// A device that is too small to grow on gets help from another; what has been written
// before is there after, on both.
func TestEngine_expandsByAnotherSet(t *testing.T) {
	w := newWorld(t, 2, "1500M")
	ctx := t.Context()
	s, err := w.State(ctx)
	w.must(err)
	v, err := w.CreateVolume(ctx, Request{Name: "data", Bytes: 700 * mib, Replicas: 2})
	w.must(err)
	at := w.mount(v)
	w.run(w.Client, `for i in 1 2 3 4 5 6 7 8; do echo $i >"$1/$i"; done`, at)
	for _, n := range s.Clusters[0].Nodes {
		node := w.Nodes[0]
		if n.Manage != node.Name {
			node = w.Nodes[1]
		}
		_, err := w.AddDevice(ctx, n.ID, Device{Name: w.run(node, `truncate -s 1500M /srv/disk2; losetup --find --show /srv/disk2`)}, false)
		w.must(err)
	}
	v, err = w.ExpandVolume(ctx, "data", 1400*mib)
	w.must(err)
	if v.Bytes != 1400*mib || len(v.Sets) != 2 || v.Sets[1][0].Bytes < 700*mib {
		t.Errorf("it has grown to %+v", v)
	}
	if got := w.run(w.Client, `cat "$1"/*| tr -d '\n'; df --block-size=1M --output=size "$1" | tail -1`, at); !strings.HasPrefix(got, "12345678") {
		t.Errorf("it holds %q", got)
	}
	w.run(w.Client, `umount "$1"`, at)
	w.must(w.DeleteVolume(ctx, "data"))
	w.nothing("in the end")
}

// Whatever the engine is cut off in, what is left is a whole volume or nothing, and
// the next one goes on from there.
func TestEngine_cutOffAnywhere(t *testing.T) {
	w := newWorld(t, 3, "1G")
	ctx := t.Context()
	request := Request{Name: "data", Bytes: mib, Replicas: 3}
	for n := 3; ; n += 11 {
		w.again(n)
		_, err := w.CreateVolume(ctx, request)
		created := w.power.Lasted()
		if (err == nil) != created {
			t.Fatalf("cut off after %d operations: %v", n, err)
		}
		w.again(1 << 30)
		w.must(w.Recover(ctx))
		volumes, err := w.Volumes(ctx)
		w.must(err)
		if len(volumes) == 0 {
			w.nothing(fmt.Sprintf("cut off after %d operations", n))
		} else if !volumes[0].Started || len(w.onDisk()) != 3 {
			t.Errorf("cut off after %d operations it is %+v with bricks %v", n, volumes[0], w.onDisk())
		}
		if _, err := w.CreateVolume(ctx, request); err != nil && !errors.Is(err, ErrExists) {
			t.Fatalf("after a cut after %d operations: %v", n, err)
		}
		w.again(n)
		if err := w.DeleteVolume(ctx, "data"); (err == nil) != w.power.Lasted() {
			t.Fatalf("cut off after %d operations: %v", n, err)
		}
		deleted := w.power.Lasted()
		w.again(1 << 30)
		if err := w.DeleteVolume(ctx, "data"); err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatalf("after a cut after %d operations: %v", n, err)
		}
		w.nothing(fmt.Sprintf("deleted, cut off after %d operations,", n))
		if created && deleted {
			return
		}
	}
}

func TestEngine_nodesGoAndComeBack(t *testing.T) {
	w := newWorld(t, 4, "1G")
	ctx := t.Context()
	cli := gluster.CLI{Host: w.Nodes[0]}
	v, err := w.CreateVolume(ctx, Request{Name: "data", Bytes: mib, Replicas: 3})
	w.must(err)
	at := w.mount(v)
	w.run(w.Client, `echo kept >"$1/file"; sync "$1/file"`, at)

	// Somebody else's volume is never taken for ours.
	foreign := gluster.Brick{Host: w.Nodes[0].Address, Path: "/srv/foreign"}
	w.run(w.Nodes[0], `truncate -s 400M /srv/other; mkfs.xfs -q /srv/other; mkdir /srv/foreign; mount -o loop /srv/other /srv/foreign; mkdir /srv/foreign/brick`)
	foreign.Path += "/brick"
	w.must(cli.Create(ctx, "theirs", [][]gluster.Brick{{foreign}}))
	if _, err := w.CreateVolume(ctx, Request{Name: "theirs", Bytes: mib, Replicas: 3}); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := cli.Volume(ctx, "theirs"); err != nil {
		t.Errorf("somebody else's volume has gone: %v", err)
	}
	if err := w.DeleteVolume(ctx, "theirs"); !errors.Is(err, ErrNotFound) {
		t.Errorf("somebody else's volume: %v", err)
	}
	w.must(cli.Delete(ctx, "theirs"))

	// Without one node of four there is room for three copies still.
	state, err := w.State(ctx)
	w.must(err)
	lost := slices.IndexFunc(w.Nodes, func(n *lab.Node) bool { return n != w.Nodes[0] && slices.Contains(v.Hosts, n.Address) })
	node := state.Clusters[0].Nodes[lost]
	w.Nodes[lost].PowerOff()
	w.untilAway(w.Nodes[lost])
	other, err := w.CreateVolume(ctx, Request{Name: "other", Bytes: mib, Replicas: 3})
	w.must(err)
	if slices.Contains(other.Hosts, w.Nodes[lost].Address) {
		t.Errorf("a brick is on a node that is away: %v", other.Hosts)
	}
	if _, err := w.CreateVolume(ctx, Request{Name: "four", Bytes: mib, Replicas: 4}); !errors.Is(err, allocator.ErrNoSpace) {
		t.Errorf("four copies on three nodes: %v", err)
	}
	// A volume cannot be deleted now, and is when the node is back.
	if err := w.DeleteVolume(ctx, "other"); err == nil || !strings.Contains(err.Error(), w.Nodes[lost].Address+" is not connected to the storage pool") {
		t.Errorf("a node is away: %v", err)
	}

	// Its bricks move, although it is away for good.
	if err := w.SetNodeMode(ctx, node.ID, Failed); err == nil {
		t.Error("a node that is online is emptied")
	}
	w.must(w.SetNodeMode(ctx, node.ID, Offline))
	w.must(w.SetNodeMode(ctx, node.ID, Failed))
	v, err = w.Engine.Volume(ctx, "data")
	w.must(err)
	if slices.Contains(v.Hosts, w.Nodes[lost].Address) || len(v.Bricks()) != 3 {
		t.Errorf("a node that has been emptied has bricks: %+v", v)
	}
	w.must(step.Wait{For: "healing", Limit: 2 * time.Minute}.Until(ctx, func(ctx context.Context) error {
		bricks, err := cli.Heal(ctx, "data")
		if why := gluster.Healed(bricks); err == nil && why != "" {
			err = errors.New(why)
		}
		return err
	}))
	for _, b := range v.Bricks() {
		i := slices.IndexFunc(w.Nodes, func(n *lab.Node) bool { return n.Address == b.At.Host })
		if got := w.run(w.Nodes[i], `cat "$1/file"`, b.At.Path); got != "kept" {
			t.Errorf("brick %s has %q", b.At, got)
		}
	}

	// The node is back, with bricks that are nobody's any more.
	w.Nodes[lost].PowerOn()
	device := w.run(w.Nodes[lost], `losetup --find --show /srv/disk`)
	w.must(brick.LoopFile{}.Attach(ctx, w.Nodes[lost], brick.Device{ID: node.Devices[0].ID, Name: device}))
	w.must(step.Wait{For: "the rest of it", Limit: 2 * time.Minute}.Until(ctx, w.Recover))
	if bricks := w.onDisk(); len(bricks) != 3 {
		t.Errorf("there are bricks %v", bricks)
	}
	if got := w.run(w.Client, `cat "$1/file"; umount "$1"`, at); got != "kept" {
		t.Errorf("the file has %q", got)
	}
	w.must(w.DeleteVolume(ctx, "data"))
	w.nothing("in the end")
}

// untilAway waits until the pool has noticed.
func (w *world) untilAway(n *lab.Node) {
	w.t.Helper()
	w.must(step.Wait{For: n.Name + " to be away", Limit: time.Minute}.Until(w.t.Context(), func(ctx context.Context) error {
		peers, err := gluster.CLI{Host: w.Nodes[0]}.Peers(ctx)
		for _, p := range peers {
			if err == nil && slices.Contains(p.Names, n.Address) && p.Connected {
				err = errors.New("it is connected")
			}
		}
		return err
	}))
}
