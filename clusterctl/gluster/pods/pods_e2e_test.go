//go:build e2e

package pods_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"picluster/clusterctl/gluster/brick"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/gluster/topology"
	"picluster/clusterctl/kube"
	"picluster/clusterctl/steps"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/spec"
	"picluster/internal/step"
)

// A node behind pods/exec is a machine like any other.
func TestNodes_conform(t *testing.T) {
	w := newWorld(t, 1)
	node := pods.Nodes{Kube: w.Kube}
	hosttest.Conform(t, func(t *testing.T) host.Host {
		h, err := node.On(t.Context(), "node0")
		if err != nil {
			t.Fatal(err)
		}
		return h
	})
}

// disks gives each node a device, and returns the topology of them.
func (w *world) disks() topology.Topology {
	w.t.Helper()
	tree := topology.Topology{Clusters: []topology.Cluster{{}}}
	for i, n := range w.Nodes {
		device := w.run(n, `truncate -s 4G /srv/disk; losetup --find --show /srv/disk`)
		tree.Clusters[0].Nodes = append(tree.Clusters[0].Nodes, topology.Node{
			Manage: []string{n.Name}, Storage: []string{n.Address}, Zone: i + 1, Devices: []topology.Device{{Name: device}},
		})
	}
	return tree
}

// engine is a controller's that has just started.
func (w *world) engine(holder string) *engine.Engine {
	w.t.Helper()
	store := pods.Store{Kube: w.Kube, Holder: holder}
	w.must(store.Take(w.t.Context()))
	return &engine.Engine{Store: store, Bricks: brick.LoopFile{}, Reach: pods.Nodes{Kube: w.Kube}.Reach}
}

// The engine makes volumes of a topology in the cluster, reaches nodes by nothing but
// the API server, and keeps what it knows there.
func TestEngine_worksThroughTheAPIServer(t *testing.T) {
	w := newWorld(t, 3)
	ctx := t.Context()
	began := time.Now()
	lap := func(what string) {
		t.Logf("%-40s %v", what, time.Since(began).Round(100*time.Millisecond))
		began = time.Now()
	}
	tree := w.disks()
	photos := w.run(w.Nodes[2], `truncate -s 1G /srv/photos; mkfs.ext4 -q -L photos /srv/photos; losetup --find --show /srv/photos`)
	last := &tree.Clusters[0].Nodes[2]
	last.Devices = append(last.Devices, topology.Device{Name: photos})
	tree.Clusters[0].Nodes = append(tree.Clusters[0].Nodes, topology.Node{Manage: []string{"stranger"}, Storage: []string{"10.77.0.99"}, Zone: 4})

	e := w.engine("first")
	e.Options = map[string]string{"auth.allow": "10.77.0.0/24"}
	problems := e.Converge(ctx, tree)
	if len(problems) != 2 || !errors.Is(problems[0], brick.ErrData) || !strings.Contains(problems[0].Error(), "ext4 “photos”") {
		t.Errorf("converging has problems %v, want one about photos", problems)
	}
	if last := problems[len(problems)-1]; !errors.Is(last, pods.ErrNoPod) || !strings.Contains(last.Error(), "add node stranger: ") {
		t.Errorf("a node that there is not: %v", last)
	}
	lap("three nodes, their devices")
	if again := e.Converge(ctx, tree); len(again) != 2 {
		t.Errorf("the second time it has problems %v", again)
	}
	lap("the same again")

	v, err := e.CreateVolume(ctx, engine.Request{Name: "data", Bytes: 300 << 20, Replicas: 3})
	w.must(err)
	lap("volume of three copies")
	w.run(w.Client, `mkdir /tmp/mnt; mount -t glusterfs "$1:/data" /tmp/mnt; echo kept >/tmp/mnt/file; sync /tmp/mnt/file`, w.Nodes[0].Address)
	if allow := v.Options["auth.allow"]; allow != "10.77.0.0/24" {
		t.Errorf("it may be mounted from %q", allow)
	}

	// Another controller takes over; the first one is told, and changes nothing more.
	second := w.engine("second")
	if _, err := e.CreateVolume(ctx, engine.Request{Name: "late", Bytes: 300 << 20, Replicas: 3}); !errors.Is(err, pods.ErrTaken) {
		t.Errorf("the first controller makes a volume: %v", err)
	}
	v, err = second.ExpandVolume(ctx, "data", 600<<20)
	w.must(err)
	lap("volume expanded")
	if got := w.run(w.Client, `cat /tmp/mnt/file`); got != "kept" || v.Bytes != 600<<20 {
		t.Errorf("after that it has %q and is %+v", got, v)
	}
	// A node is away: that is seen from the desk, and waited for until it is back.
	if why, err := steps.NotWhole(ctx, w.Kube); err != nil || why != "" {
		t.Errorf("the volume is not whole: %s, %v", why, err)
	}
	w.Nodes[2].Unplug()
	w.run(w.Client, `echo more >/tmp/mnt/more; sync /tmp/mnt/more`)
	if why, err := steps.NotWhole(ctx, w.Kube); err != nil || !strings.Contains(why, "volume data: brick 10.77.0.12:") || !strings.HasSuffix(why, "is not connected") {
		t.Errorf("with a node away: %q, %v", why, err)
	}
	w.Nodes[2].Plug()
	w.must(steps.WaitWhole(ctx, w.Kube))
	lap("a node away and back, whole")
	w.run(w.Client, `umount /tmp/mnt`)
	w.must(second.DeleteVolume(ctx, "data"))
	lap("volume deleted")
	if state, err := (pods.Store{Kube: w.Kube}).Load(ctx); err != nil || len(state.Clusters) != 1 || len(state.Clusters[0].Nodes) != 3 || len(state.Pending) != 0 {
		t.Errorf("the state is %+v: %v", state, err)
	}
}

// After a reset nodes and devices are as they were before there was any storage, and
// what is deployed right after it is as good as the first time.
func TestReset_leavesNodesAsTheyWere(t *testing.T) {
	w := newWorld(t, 3)
	ctx := t.Context()
	tree := w.disks()
	request := engine.Request{Name: "data", Bytes: 300 << 20, Replicas: 3}
	deploy := func(holder string) {
		t.Helper()
		e := w.engine(holder)
		if problems := e.Converge(ctx, tree); len(problems) > 0 {
			t.Fatalf("%s has problems: %v", holder, problems)
		}
		_, err := e.CreateVolume(ctx, request)
		w.must(err)
	}
	deploy("first")

	cluster := &spec.Cluster{Storage: spec.Storage{Backend: "glusterfs", Bricks: "loopfile"}}
	stages, lost, err := steps.ResetStorage(ctx, steps.Env{Cluster: cluster}, w.Kube)
	w.must(err)
	device := tree.Clusters[0].Nodes[2].Devices[0].Name
	if want := "all that is on " + device + " of node2"; len(lost) != 3 || lost[2] != want {
		t.Errorf("it says that %q are lost, want also %q", lost, want)
	}
	erase := stages[:1] // the other one removes objects, of which there are none here
	w.must(step.Run(ctx, w.Kube, erase, nil))
	for i, n := range w.Nodes {
		left := w.run(n, `pgrep -l gluster || true; ls /var/lib/glusterd /var/lib/picluster/bricks; findmnt --noheadings --list --output TARGET | grep picluster || true; wipefs --no-act --parsable "$1"`,
			tree.Clusters[0].Nodes[i].Devices[0].Name)
		if left = strings.ReplaceAll(strings.ReplaceAll(left, "/var/lib/glusterd:", ""), "/var/lib/picluster/bricks:", ""); strings.TrimSpace(left) != "" {
			t.Errorf("%s has after the reset %s", n, left)
		}
	}
	if drifts, err := step.Plan(ctx, w.Kube, erase); err != nil || len(drifts) > 0 {
		t.Errorf("a second reset would do %v: %v", drifts, err)
	}
	// Its containers are new, and so is the namespace with all that was in it.
	for _, n := range w.Nodes {
		w.run(n, `rm /run/picluster-hold; glusterd --pid-file=/run/glusterd.pid`)
	}
	w.must(w.Kube.Delete(ctx, kube.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: pods.Namespace, Name: "storage-state"}))
	deploy("second")
}
