package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"picluster/clusterctl/gluster/brick"
	. "picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/topology"
)

// A volume of more sets than there are devices has two bricks on one. A backend that
// looks for what is free on a device and then takes it is not to be asked for both at
// the same time: with xfs both would get one quota.
func TestCreateVolume_makesOneBrickAtATimeOnADevice(t *testing.T) {
	p := newPaper(t, 3, 1)
	v, err := p.CreateVolume(t.Context(), Request{Name: "data", Bytes: 12 * gib, Replicas: 2})
	p.ok(err)
	on := map[string]int{}
	for _, b := range v.Bricks() {
		on[b.Device]++
	}
	if len(v.Bricks()) != 6 || len(on) != 3 {
		t.Fatalf("the bricks are %v", v.Bricks())
	}
	p.ok(p.DeleteVolume(t.Context(), "data"))
	if left := p.onDisk(); len(left) > 0 {
		t.Errorf("bricks stay: %v", left)
	}
}

// Gluster means all volumes by that name: what is left of one could never be settled.
func TestCreateVolume_refusesTheNameOfAllVolumes(t *testing.T) {
	p := newPaper(t, 3, 1)
	_, err := p.CreateVolume(t.Context(), Request{Name: "all", Bytes: 1 << 20, Replicas: 3})
	if !errors.Is(err, ErrName) || err.Error() != "create volume all: no volume can have that name: gluster means all volumes by it" {
		t.Errorf("got %v", err)
	}
	if left := p.onDisk(); len(left) > 0 || len(p.now().Pending) > 0 {
		t.Errorf("left are bricks %v, pending %v", left, p.now().Pending)
	}
}

// What an earlier version has begun under that name ends.
func TestRecover_settlesAVolumeNamedAll(t *testing.T) {
	p := newPaper(t, 3, 1)
	_, err := p.CreateVolume(t.Context(), Request{Name: "data", Bytes: 1 << 20, Replicas: 3})
	p.ok(err)
	s := p.now()
	s.Pending = []Pending{{ID: NewID(), Kind: Create, Cluster: s.Clusters[0].ID, Volume: "all"}}
	p.ok(p.Save(t.Context(), s))
	p.ok(p.Recover(t.Context()))
}

// Whoever asked has gone while gluster works on, and then the volume is there: it is not
// left without bricks and without a word of whose it is.
func TestCreateVolume_waitsForWhatGlusterStillDoes(t *testing.T) {
	p := newPaper(t, 3, 1)
	var args []string
	p.before = func(command string) {
		switch {
		case strings.HasPrefix(command, "volume create data"):
			args = strings.Fields(command)[3:]
			p.lost = true
		case strings.HasPrefix(command, "volume status data") && args != nil: // it waits for the lock
			p.create("data", args)
			args = nil
		}
	}
	if _, err := p.CreateVolume(t.Context(), Request{Name: "data", Bytes: 1 << 20, Replicas: 3}); !errors.Is(err, errCut) {
		t.Fatalf("got %v", err)
	}
	if args != nil { // nobody has waited
		p.create("data", args)
	}
	if left := p.onDisk(); len(left) > 0 || len(p.volumes) > 0 || len(p.now().Pending) > 0 {
		t.Errorf("left are bricks %v, volumes %v, pending %v", left, p.volumes, p.now().Pending)
	}
}

// Wherever the engine is cut off while it prepares a device, the next try takes it; the
// permission to erase it is not needed.
func TestAddDevice_cutOffAnywhere(t *testing.T) {
	for n := 0; ; n++ {
		p := newPaper(t, 1, 0)
		node := p.now().Clusters[0].Nodes[0]
		p.restart(n)
		_, err := p.AddDevice(t.Context(), node.ID, Device{Name: "/dev/sda"}, false)
		whole := p.left >= 0
		if (err == nil) != whole {
			t.Fatalf("cut off after %d operations: %v", n, err)
		}
		p.restart(1 << 30)
		if problems := p.Converge(t.Context(), topologyOf(node, "/dev/sda")); len(problems) > 0 {
			t.Fatalf("cut off after %d operations: %v", n, problems)
		}
		is := p.now().Clusters[0].Nodes[0]
		if len(is.Devices) != 1 || is.Devices[0].Mode != Online || p.devices[is.Devices[0].ID] == nil || len(p.devices) != 1 || len(is.Preparing) > 0 {
			t.Fatalf("cut off after %d operations the node is %+v, with %v", n, is, p.devices)
		}
		if whole {
			return
		}
	}
}

// A device that holds something is left alone, and nothing is remembered of it.
func TestAddDevice_forgetsWhatItRefuses(t *testing.T) {
	p := newPaper(t, 1, 0)
	node := p.now().Clusters[0].Nodes[0]
	p.devices["photos"] = &paperDevice{name: "/dev/sda"}
	if _, err := p.AddDevice(t.Context(), node.ID, Device{Name: "/dev/sda"}, false); !errors.Is(err, brick.ErrData) {
		t.Errorf("got %v", err)
	}
	if is := p.now().Clusters[0].Nodes[0]; len(is.Preparing) > 0 || len(is.Devices) > 0 || p.devices["photos"] == nil {
		t.Errorf("the node is %+v, with %v", is, p.devices)
	}
	_, err := p.AddDevice(t.Context(), node.ID, Device{Name: "/dev/sda"}, true)
	p.ok(err)
}

func topologyOf(n Node, device string) topology.Topology {
	is := topology.Node{Zone: 1, Devices: []topology.Device{{Name: device}}}
	is.Manage, is.Storage = []string{n.Manage}, []string{n.Storage}
	return topology.Topology{Clusters: []topology.Cluster{{Nodes: []topology.Node{is}}}}
}

// evict empties a device as `disk evict` does.
func (p *paper) evict(device string) error {
	p.t.Helper()
	p.ok(p.SetDeviceMode(p.t.Context(), device, Offline))
	return p.SetDeviceMode(p.t.Context(), device, Failed)
}

// Wherever the engine is cut off while it moves a brick, no brick stays that nobody has.
func TestSetDeviceMode_cutOffAnywhere(t *testing.T) {
	for n := 0; ; n++ {
		p := newPaper(t, 4, 1)
		v, err := p.CreateVolume(t.Context(), Request{Name: "data", Bytes: 1 << 20, Replicas: 3})
		p.ok(err)
		device := v.Bricks()[0].Device
		p.ok(p.SetDeviceMode(t.Context(), device, Offline))
		p.restart(n)
		err = p.SetDeviceMode(t.Context(), device, Failed)
		whole := p.left >= 0
		if (err == nil) != whole {
			t.Fatalf("cut off after %d operations: %v", n, err)
		}
		p.restart(1 << 30)
		p.ok(p.Recover(t.Context()))
		if there, want := p.onDisk(), p.bricksOf(v.Name); !slices.Equal(there, want) {
			t.Fatalf("cut off after %d operations there are bricks %v, and the volume has %v", n, there, want)
		}
		p.ok(p.SetDeviceMode(t.Context(), device, Failed))
		p.ok(p.RemoveDevice(t.Context(), device, false))
		if whole {
			return
		}
	}
}

// bricksOf are the bricks that gluster has, as DEVICE/ID.
func (p *paper) bricksOf(volume string) (all []string) {
	for _, b := range p.volumes[volume].bricks {
		_, path, _ := strings.Cut(b, ":")
		device, id, _ := brick.InPath(path)
		all = append(all, device+"/"+id)
	}
	slices.Sort(all)
	return all
}

// A volume that has two bricks on a device is emptied of both.
func TestSetDeviceMode_movesAllBricksOfAVolume(t *testing.T) {
	p := newPaper(t, 3, 2)
	for _, n := range p.now().Clusters[0].Nodes { // so that each node has two bricks on one device
		p.ok(p.SetDeviceMode(t.Context(), n.Devices[1].ID, Offline))
	}
	v, err := p.CreateVolume(t.Context(), Request{Name: "data", Bytes: 12 * gib, Replicas: 2})
	p.ok(err)
	nodes := p.now().Clusters[0].Nodes
	for _, n := range nodes {
		p.ok(p.SetDeviceMode(t.Context(), n.Devices[1].ID, Online))
	}
	device := nodes[0].Devices[0].ID
	p.ok(p.evict(device))
	p.ok(p.RemoveDevice(t.Context(), device, false))
	if there, want := p.onDisk(), p.bricksOf(v.Name); len(there) != 6 || !slices.Equal(there, want) {
		t.Errorf("there are bricks %v, and the volume has %v", there, want)
	}
}

// A node dies, a volume is deleted, and the dead node's bricks are moved: the volume is
// not stopped as long as it cannot go, and goes with all its bricks when the node has.
func TestDeleteVolume_keepsNoDeadNodeInThePool(t *testing.T) {
	for _, stopped := range []bool{false, true} { // an earlier version has stopped it
		p := newPaper(t, 4, 1)
		ctx := t.Context()
		v, err := p.CreateVolume(ctx, Request{Name: "data", Bytes: 1 << 20, Replicas: 3})
		p.ok(err)
		dead := v.Bricks()[0]
		p.away[dead.At.Host] = true
		want := fmt.Sprintf("delete volume data: %s is not connected to the storage pool", dead.At.Host)
		if err := p.DeleteVolume(ctx, "data"); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if !p.volumes["data"].started || len(p.now().Pending) != 1 {
			t.Errorf("the volume is %+v, pending is %v", p.volumes["data"], p.now().Pending)
		}
		p.volumes["data"].started = !stopped
		p.ok(p.evict(dead.Device))
		p.ok(p.RemoveDevice(ctx, dead.Device, true))
		delete(p.devices, dead.Device)
		p.ok(p.RemoveNode(ctx, dead.Node))
		delete(p.away, dead.At.Host)
		p.ok(p.Recover(ctx))
		if left := p.onDisk(); len(left) > 0 || len(p.volumes) > 0 {
			t.Errorf("left are bricks %v, volumes %v", left, p.volumes)
		}
	}
}

// A brick that has been moved goes with its volume, wherever the engine is cut off.
func TestDeleteVolume_cutOffAfterABrickHasMoved(t *testing.T) {
	for n := 0; ; n++ {
		p := newPaper(t, 4, 1)
		v, err := p.CreateVolume(t.Context(), Request{Name: "data", Bytes: 1 << 20, Replicas: 3})
		p.ok(err)
		dead := v.Bricks()[0]
		p.away[dead.At.Host] = true
		if err := p.DeleteVolume(t.Context(), "data"); err == nil {
			t.Fatal("a volume is deleted while a node is away")
		}
		p.ok(p.evict(dead.Device))
		delete(p.away, dead.At.Host)
		p.restart(n)
		whole := p.Recover(t.Context()) == nil
		p.restart(1 << 30)
		p.ok(p.Recover(t.Context()))
		if left := p.onDisk(); len(left) > 0 || len(p.volumes) > 0 {
			t.Fatalf("cut off after %d operations left are bricks %v, volumes %v", n, left, p.volumes)
		}
		if whole {
			return
		}
	}
}

// A volume of that name that somebody else has made stays, with all its bricks.
func TestRecover_leavesOthersVolumes(t *testing.T) {
	p := newPaper(t, 3, 1)
	v, err := p.CreateVolume(t.Context(), Request{Name: "data", Bytes: 1 << 20, Replicas: 3})
	p.ok(err)
	s := p.now()
	s.Pending = []Pending{{ID: NewID(), Kind: Delete, Cluster: s.Clusters[0].ID, Volume: "data", Bricks: []Place{v.Bricks()[0].Place}}}
	p.ok(p.Save(t.Context(), s))
	p.ok(p.Recover(t.Context()))
	if there := p.onDisk(); len(there) != 3 || p.volumes["data"] == nil {
		t.Errorf("there are bricks %v, volumes %v", there, p.volumes)
	}
}

// A brick that is on the disk is not given up while the others of its set are not there.
func TestRenewNode_keepsABrickThatOthersLack(t *testing.T) {
	p := newPaper(t, 3, 1)
	v, err := p.CreateVolume(t.Context(), Request{Name: "data", Bytes: 1 << 20, Replicas: 3})
	p.ok(err)
	b, other := v.Bricks()[0], v.Bricks()[1]
	p.devices[b.Device].unused[b.ID] = true
	p.away[other.At.Host] = true
	if err := p.RenewNode(t.Context(), b.Node, false); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "volume data: ") || !strings.Contains(err.Error(), "is not connected") {
		t.Errorf("got %v", err)
	}
	if there := p.onDisk(); len(there) != 3 {
		t.Errorf("there are bricks %v", there)
	}
	delete(p.away, other.At.Host)
	p.ok(p.RenewNode(t.Context(), b.Node, false))
	if there, want := p.onDisk(), p.bricksOf("data"); !slices.Equal(there, want) || slices.Contains(there, b.Device+"/"+b.ID) {
		t.Errorf("there are bricks %v, and the volume has %v", there, want)
	}
}
