package csi_test

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	driver "picluster/clusterctl/csi"
)

func capability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

const (
	many   = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	single = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
)

// What is refused is refused before anything is asked of the storage: there is none.
func TestCreateVolume_refuses(t *testing.T) {
	good := func() *csi.CreateVolumeRequest {
		return &csi.CreateVolumeRequest{Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{capability(many)}}
	}
	with := func(name, value string) func(*csi.CreateVolumeRequest) {
		return func(q *csi.CreateVolumeRequest) { q.Parameters = map[string]string{name: value} }
	}
	for name, test := range map[string]struct {
		change func(*csi.CreateVolumeRequest)
		code   codes.Code
		want   string
	}{
		"no name":                        {func(q *csi.CreateVolumeRequest) { q.Name = "" }, codes.InvalidArgument, "name is missing"},
		"no capabilities":                {func(q *csi.CreateVolumeRequest) { q.VolumeCapabilities = nil }, codes.InvalidArgument, "capabilities are missing"},
		"no access mode":                 {func(q *csi.CreateVolumeRequest) { q.VolumeCapabilities[0].AccessMode = nil }, codes.InvalidArgument, "access mode is missing"},
		"a block device":                 {func(q *csi.CreateVolumeRequest) { q.VolumeCapabilities[0].AccessType = &csi.VolumeCapability_Block{} }, codes.InvalidArgument, "no block device"},
		"ext4":                           {func(q *csi.CreateVolumeRequest) { q.VolumeCapabilities[0].GetMount().FsType = "ext4" }, codes.InvalidArgument, "not ext4"},
		"a clone":                        {func(q *csi.CreateVolumeRequest) { q.VolumeContentSource = &csi.VolumeContentSource{} }, codes.InvalidArgument, "volumes are made empty: there are no snapshots"},
		"an unknown parameter":           {with("replica", "3"), codes.InvalidArgument, `parameter "replica" is unknown`},
		"seven copies":                   {with("replicas", "7"), codes.InvalidArgument, `parameter replicas is "7"`},
		"a dispersed volume":             {with("volumetype", "disperse:4:2"), codes.InvalidArgument, `parameter volumetype is "disperse:4:2"`},
		"an arbiter of nothing":          {func(q *csi.CreateVolumeRequest) { q.Parameters = map[string]string{"replicas": "1", "arbiter": "true"} }, codes.InvalidArgument, "an arbiter is for"},
		"an option of gluster's program": {with("volumeoptions", "--xml 1"), codes.InvalidArgument, "parameter volumeoptions is"},
		"an option of ours":              {with("volumeoptions", "user.picluster.bytes 1"), codes.InvalidArgument, "parameter volumeoptions is"},
		"an odd limit": {func(q *csi.CreateVolumeRequest) {
			q.CapacityRange = &csi.CapacityRange{RequiredBytes: 1<<20 + 1, LimitBytes: 1<<20 + 2}
		}, codes.OutOfRange, "whole MiB"},
		"less than nothing": {func(q *csi.CreateVolumeRequest) { q.CapacityRange = &csi.CapacityRange{RequiredBytes: -1} }, codes.OutOfRange, "no volume has"},
	} {
		q := good()
		test.change(q)
		_, err := new(driver.Controller).CreateVolume(t.Context(), q)
		if status.Code(err) != test.code || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %v %s", name, err, test.code, test.want)
		}
	}
}

// What no back end can is not announced, and who asks all the same is told what else
// to do.
func TestController_hasNoSnapshots(t *testing.T) {
	c, ctx := new(driver.Controller), t.Context()
	_, create := c.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "before", SourceVolumeId: "pvc-1"})
	_, remove := c.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: "before"})
	_, list := c.ListSnapshots(ctx, &csi.ListSnapshotsRequest{})
	for _, err := range []error{create, remove, list} {
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "copy what is in the volume into another one") {
			t.Errorf("it says %v", err)
		}
	}
	can, err := c.ControllerGetCapabilities(ctx, &csi.ControllerGetCapabilitiesRequest{})
	if err != nil || strings.Contains(can.String(), "SNAPSHOT") || strings.Contains(can.String(), "CLONE") {
		t.Errorf("it announces %s: %v", can, err)
	}
}
