//go:build e2e

package csi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	driver "picluster/clusterctl/csi"
	"picluster/clusterctl/gluster/brick"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/heketi"
	"picluster/internal/host"
	"picluster/internal/lab/gluster"
	"picluster/internal/secret"
)

// cluster is three storage nodes, and the driver for the client.
type cluster struct {
	*gluster.Cluster
	*driver.Controller
	*driver.Node
	engine *engine.Engine
	t      *testing.T
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	c := gluster.Start(t, 3)
	e := &engine.Engine{
		Store:  engine.File{Host: c.Client, Path: "/srv/state.json"},
		Bricks: brick.LoopFile{},
		Reach: func(_ context.Context, n engine.Node) (host.Host, error) {
			return c.Nodes[slices.IndexFunc(c.Nodes, func(is *gluster.Node) bool { return is.Name == n.Manage })], nil
		},
	}
	pool, err := e.CreateCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := cluster{c, &driver.Controller{Volumes: e}, &driver.Node{ID: "client", Host: c.Client}, e, t}
	for i, n := range c.Nodes {
		added, err := e.AddNode(t.Context(), pool.ID, engine.Node{Manage: n.Name, Storage: n.Address, Zone: i + 1})
		if err != nil {
			t.Fatal(err)
		}
		device := w.run(n, `truncate -s 30G /srv/disk; losetup --find --show /srv/disk`)
		if _, err := e.AddDevice(t.Context(), added.ID, engine.Device{Name: device}, false); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (c cluster) run(on *gluster.Node, script string, args ...string) string {
	c.t.Helper()
	out, err := on.Run(c.t.Context(), host.Cmd{Args: append([]string{"sh", "-ec", script, "sh"}, args...)})
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// serve serves the driver on a socket of the client's.
func (c cluster) serve(path string) {
	c.t.Helper()
	l, err := net.Listen("unix", fmt.Sprintf("/proc/%d/root%s", c.Client.PID(), path))
	if err != nil {
		c.t.Fatal(err)
	}
	s := grpc.NewServer()
	driver.Register(s, "test", c.Controller, c.Node)
	go s.Serve(l)
	c.t.Cleanup(s.Stop)
}

var ran = regexp.MustCompile(`Ran ([0-9]+) of [0-9]+ Specs`)

// The tests that the makers of CSI have for drivers, against real storage and real
// mounts.
func TestDriver_passesSanity(t *testing.T) {
	passesSanity(t, newCluster(t))
}

// The same, where a Heketi makes the volumes: ours, reached as an original one is.
func TestDriver_passesSanityByHeketi(t *testing.T) {
	c := newCluster(t)
	keys := heketi.Keys{Admin: secret.New("the admin's key")}
	api, err := heketi.New(t.Context(), c.engine, keys)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api)
	t.Cleanup(func() { server.Close(); api.Close() })
	c.Controller.Volumes = heketi.Backend{Client: &heketi.Client{URL: server.URL, User: "admin", Key: keys.Admin}}
	passesSanity(t, c)
}

func passesSanity(t *testing.T, c cluster) {
	t.Helper()
	sanity := gluster.Judge(t, "csi-sanity")
	c.serve("/tmp/csi.sock")
	// The cache may be below /tmp, which the client has its own of.
	data, err := host.Local{}.ReadFile(t.Context(), sanity)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Client.Write(t.Context(), "/tmp/csi-sanity", host.File{Mode: 0o755, Data: data}); err != nil {
		t.Fatal(err)
	}
	out, err := c.Client.Run(t.Context(), host.Cmd{Args: []string{"/tmp/csi-sanity", "--csi.endpoint=/tmp/csi.sock",
		"--csi.stagingdir=/tmp/staging", "--csi.mountdir=/tmp/mount", "--ginkgo.no-color",
		"--csi.testvolumesize=1073741824", "--csi.testvolumeexpandsize=2147483648"}})
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	n := ran.FindSubmatch(out)
	if n == nil {
		t.Fatalf("it does not say how many tests it ran:\n%s", out)
	}
	if count, _ := strconv.Atoi(string(n[1])); count < 45 {
		t.Errorf("it ran only %d tests; a capability may be missing", count)
	}
	t.Logf("%s", n[0])
	if got := c.run(c.Client, `findmnt --noheadings --types fuse.glusterfs || true`); got != "" {
		t.Errorf("it leaves mounted:\n%s", got)
	}
	if volumes, err := c.Controller.Volumes.Volumes(t.Context()); err != nil || len(volumes) > 0 {
		t.Errorf("it leaves volumes %v: %v", volumes, err)
	}
}

func (c cluster) stage(v *csi.Volume, mode csi.VolumeCapability_AccessMode_Mode) error {
	_, err := c.NodeStageVolume(c.t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: v.VolumeId, VolumeContext: v.VolumeContext, StagingTargetPath: "/srv/staged", VolumeCapability: capability(mode),
	})
	return err
}

func (c cluster) publish(v *csi.Volume, target string, mode csi.VolumeCapability_AccessMode_Mode, readOnly bool) error {
	_, err := c.NodePublishVolume(c.t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: v.VolumeId, StagingTargetPath: "/srv/staged", TargetPath: target, VolumeCapability: capability(mode), Readonly: readOnly,
	})
	return err
}

func (c cluster) health() []*csi.VolumeHealth_VolumeHealthEntry {
	c.t.Helper()
	is, err := c.NodeGetVolumeHealth(c.t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: "pvc-1"})
	if err != nil {
		c.t.Fatal(err)
	}
	return is.VolumeHealth.HealthStatuses
}

func TestDriver_mountsVolumes(t *testing.T) {
	c := newCluster(t)
	ctx := t.Context()
	made, err := c.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{capability(many)}, CapacityRange: &csi.CapacityRange{RequiredBytes: 300 << 20},
		Parameters: map[string]string{"volumetype": "replicate:3", "resturl": "http://10.0.0.1:8080", "restuser": "admin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	v := made.Volume
	if v.VolumeId != "pvc-1" || v.CapacityBytes != 300<<20 || v.VolumeContext["hosts"] != "10.77.0.10,10.77.0.11,10.77.0.12" {
		t.Errorf("the volume is %+v", v)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wants := func(code codes.Code, err error) {
		t.Helper()
		if status.Code(err) != code {
			t.Errorf("got %v, want %v", err, code)
		}
	}
	wants(codes.FailedPrecondition, c.publish(v, "/srv/pod1", many, false))
	must(c.stage(v, many))
	must(c.publish(v, "/srv/pod1", many, false))
	must(c.publish(v, "/srv/pod1", many, false))
	must(c.publish(v, "/srv/pod2", many, true))
	wants(codes.AlreadyExists, c.publish(v, "/srv/pod1", many, true))
	wants(codes.FailedPrecondition, c.publish(v, "/srv/pod3", single, false))
	c.run(c.Client, `echo shared >/srv/pod1/file; cat /srv/pod2/file; ! touch /srv/pod2/other 2>/dev/null`)

	_, err = c.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: "pvc-1", CapacityRange: &csi.CapacityRange{RequiredBytes: 600 << 20}})
	must(err)
	stats, err := c.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: "pvc-1", VolumePath: "/srv/pod1"})
	must(err)
	if stats.Usage[0].Available < 600<<20 || stats.Usage[1].Total == 0 {
		t.Errorf("the pod sees %+v", stats)
	}

	// The client dies, as a container that is stopped takes it along.
	c.run(c.Client, `pkill -KILL -x glusterfs; until ! stat /srv/staged >/dev/null 2>&1; do sleep 0.1; done`)
	if health := c.health(); len(health) != 1 || health[0].Status != csi.VolumeHealthErrorType_INACCESSIBLE {
		t.Errorf("a volume without its client is %+v", health)
	}
	// A driver that starts mounts it anew, for the pods too.
	must(c.Repair(ctx, slog.New(slog.DiscardHandler)))
	if got := c.run(c.Client, `cat /srv/pod1/file; ! touch /srv/pod2/other 2>/dev/null; cat /srv/pod2/file`); got != "shared\nshared" {
		t.Errorf("mounted anew the pods have %q", got)
	}
	must(c.Repair(ctx, slog.New(slog.DiscardHandler)))
	must(c.stage(v, many))
	for _, target := range []string{"/srv/pod1", "/srv/pod2", "/srv/pod2"} {
		_, err := c.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: "pvc-1", TargetPath: target})
		must(err)
	}
	must(c.publish(v, "/srv/pod1", single, false))
	if got := c.run(c.Client, `cat /srv/pod1/file; ls -d /srv/pod2 2>/dev/null || echo gone`); got != "shared\ngone" {
		t.Errorf("the pod has %q", got)
	}

	c.Nodes[2].PowerOff()
	if got := c.run(c.Client, `cat /srv/pod1/file`); got != "shared" {
		t.Errorf("with a node away the pod has %q", got)
	}
	is, err := c.ControllerGetVolumeHealth(ctx, &csi.ControllerGetVolumeHealthRequest{VolumeId: "pvc-1"})
	must(err)
	if health := is.VolumeHealth.HealthStatuses; len(health) != 1 || health[0].Message != "1 of 3 bricks are offline: those on 10.77.0.12" {
		t.Errorf("with a node away it is %+v", health)
	}
	if health := c.health(); len(health) != 0 {
		t.Errorf("with a node away the mounts are %+v", health)
	}
	_, err = c.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: "pvc-1", TargetPath: "/srv/pod1"})
	must(err)
	for range 2 {
		_, err = c.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: "pvc-1", StagingTargetPath: "/srv/staged"})
		must(err)
	}
}
