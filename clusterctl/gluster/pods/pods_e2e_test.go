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
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
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
	var tree topology.Topology
	tree.Clusters = []topology.Cluster{{}}
	for i, n := range w.Nodes {
		device := w.run(n, `truncate -s 4G /srv/disk; losetup --find --show /srv/disk`)
		tree.Clusters[0].Nodes = append(tree.Clusters[0].Nodes, topology.Node{
			Manage: []string{n.Name}, Storage: []string{n.Address}, Zone: i + 1, Devices: []topology.Device{{Name: device}},
		})
	}
	photos := w.run(w.Nodes[2], `truncate -s 1G /srv/photos; mkfs.ext4 -q -L photos /srv/photos; losetup --find --show /srv/photos`)
	last := &tree.Clusters[0].Nodes[2]
	last.Devices = append(last.Devices, topology.Device{Name: photos})

	store := pods.Store{Kube: w.Kube, Holder: "first"}
	w.must(store.Take(ctx))
	e := &engine.Engine{Store: store, Bricks: brick.LoopFile{}, Reach: pods.Nodes{Kube: w.Kube}.Reach,
		Options: map[string]string{"auth.allow": "10.77.0.0/24"}}
	problems := e.Converge(ctx, tree)
	if len(problems) != 1 || !errors.Is(problems[0], brick.ErrData) || !strings.Contains(problems[0].Error(), "ext4 “photos”") {
		t.Errorf("converging has problems %v, want one about photos", problems)
	}
	lap("three nodes, their devices")
	if again := e.Converge(ctx, tree); len(again) != 1 {
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
	second := &engine.Engine{Store: pods.Store{Kube: w.Kube, Holder: "second"}, Bricks: brick.LoopFile{}, Reach: e.Reach}
	w.must(pods.Store{Kube: w.Kube, Holder: "second"}.Take(ctx))
	if _, err := e.CreateVolume(ctx, engine.Request{Name: "late", Bytes: 300 << 20, Replicas: 3}); !errors.Is(err, pods.ErrTaken) {
		t.Errorf("the first controller makes a volume: %v", err)
	}
	v, err = second.ExpandVolume(ctx, "data", 600<<20)
	w.must(err)
	lap("volume expanded")
	if got := w.run(w.Client, `cat /tmp/mnt/file`); got != "kept" || v.Bytes != 600<<20 {
		t.Errorf("after that it has %q and is %+v", got, v)
	}
	w.run(w.Client, `umount /tmp/mnt`)
	w.must(second.DeleteVolume(ctx, "data"))
	lap("volume deleted")
	if state, err := (pods.Store{Kube: w.Kube}).Load(ctx); err != nil || len(state.Clusters) != 1 || len(state.Clusters[0].Nodes) != 3 || len(state.Pending) != 0 {
		t.Errorf("the state is %+v: %v", state, err)
	}
}
