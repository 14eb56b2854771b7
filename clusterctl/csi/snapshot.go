package csi

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// noSnapshots is why there are none, whatever bricks are made of. Gluster's own
// snapshots are of thin volumes alone, and what is cloned from them has its bricks in
// /run/gluster/snaps (glusterd-snapshot.c), out of reach of what makes, moves and renews
// bricks here: a clone would be a volume that no node can be replaced under.
const noSnapshots = "there are no snapshots and no clones; copy what is in the volume into another one"

// CreateSnapshot implements csi.ControllerServer, and is not announced.
func (*Controller) CreateSnapshot(context.Context, *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	return nil, status.Error(codes.Unimplemented, noSnapshots)
}

// DeleteSnapshot implements csi.ControllerServer, and is not announced.
func (*Controller) DeleteSnapshot(context.Context, *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	return nil, status.Error(codes.Unimplemented, noSnapshots)
}

// ListSnapshots implements csi.ControllerServer, and is not announced.
func (*Controller) ListSnapshots(context.Context, *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	return nil, status.Error(codes.Unimplemented, noSnapshots)
}
