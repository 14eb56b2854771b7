package csi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"picluster/clusterctl/gluster/engine"
)

// Volumes are what the controller is a face of: the engine, or an original Heketi.
type Volumes interface {
	// CreateVolume returns a volume of that name, if there is one already, with an
	// engine.ErrExists.
	CreateVolume(ctx context.Context, r engine.Request) (engine.Volume, error)
	DeleteVolume(ctx context.Context, name string) error
	ExpandVolume(ctx context.Context, name string, bytes int64) (engine.Volume, error)
	Volume(ctx context.Context, name string) (engine.Volume, error)
	Volumes(ctx context.Context) ([]engine.Volume, error) // by name
	Room(ctx context.Context, r engine.Request) (bytes int64, err error)
	Condition(ctx context.Context, v engine.Volume) (wrong string, err error)
}

var _ Volumes = (*engine.Engine)(nil)

// Controller makes volumes.
type Controller struct {
	csi.UnimplementedControllerServer
	Volumes Volumes
	busy    busy
}

// Sizes in bytes: of a volume that nobody gives one, and what sizes are multiples of.
const (
	defaultBytes = 1 << 30
	mib          = 1 << 20
)

// contextHosts is what the node is told about a volume: where it can be mounted from,
// separated by commas.
const contextHosts = "hosts"

// ControllerGetCapabilities implements csi.ControllerServer.
func (c *Controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	answer := &csi.ControllerGetCapabilitiesResponse{}
	for _, t := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_GET_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		answer.Capabilities = append(answer.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return answer, nil
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// volumeName is gluster's name for a volume, which is also its id. Kubernetes' names,
// "pvc-UUID", stay as they are; the specification permits others, and longer ones.
func volumeName(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return fmt.Sprintf("csi_%x", sha256.Sum256([]byte(name)))[:36]
}

// size is how large a volume is to be, in bytes.
func size(r *csi.CapacityRange) (int64, error) {
	want, limit := r.GetRequiredBytes(), r.GetLimitBytes()
	if want < 0 || limit < 0 || want > 1<<60 {
		return 0, status.Errorf(codes.OutOfRange, "no volume has %d to %d bytes", want, limit)
	}
	if want == 0 {
		want = defaultBytes
		if limit > 0 {
			want = min(want, limit/mib*mib)
		}
	}
	want = max(mib, (want+mib-1)/mib*mib)
	if limit > 0 && want > limit {
		return 0, status.Errorf(codes.OutOfRange, "sizes are whole MiB: %d bytes are more than the limit of %d", want, limit)
	}
	return want, nil
}

// CreateVolume implements csi.ControllerServer.
func (c *Controller) CreateVolume(ctx context.Context, q *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if err := required(map[string]bool{"name": q.Name != ""}); err != nil {
		return nil, err
	}
	if err := checkCapabilities(q.VolumeCapabilities); err != nil {
		return nil, err
	}
	if q.VolumeContentSource != nil {
		return nil, status.Error(codes.InvalidArgument, "volumes are made empty: "+noSnapshots)
	}
	r, err := parse(q.Parameters)
	if err != nil {
		return nil, err
	}
	if r.Bytes, err = size(q.CapacityRange); err != nil {
		return nil, err
	}
	r.Name = volumeName(q.Name)
	end, err := c.busy.begin(r.Name)
	if err != nil {
		return nil, err
	}
	defer end()
	v, err := c.Volumes.CreateVolume(ctx, r)
	if errors.Is(err, engine.ErrExists) {
		err = compatible(v, r, q.CapacityRange)
	} else {
		err = failure(err)
	}
	if err != nil {
		return nil, err
	}
	return &csi.CreateVolumeResponse{Volume: describe(v)}, nil
}

// compatible reports whether a volume that exists is the one that is asked for.
func compatible(v engine.Volume, r engine.Request, capacity *csi.CapacityRange) error {
	limit := capacity.GetLimitBytes()
	if v.Bytes < capacity.GetRequiredBytes() || limit > 0 && v.Bytes > limit || v.Replicas != r.Replicas || v.Arbiter != r.Arbiter {
		return status.Errorf(codes.AlreadyExists, "volume %s exists, with %d bytes and %d copies", v.Name, v.Bytes, v.Replicas)
	}
	return nil
}

func describe(v engine.Volume) *csi.Volume {
	return &csi.Volume{VolumeId: v.Name, CapacityBytes: v.Bytes, VolumeContext: map[string]string{contextHosts: strings.Join(v.Hosts, ",")}}
}

// DeleteVolume implements csi.ControllerServer. It goes by the name: an id of the
// engine's would be another way to call the same volume.
func (c *Controller) DeleteVolume(ctx context.Context, q *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != ""}); err != nil {
		return nil, err
	}
	end, err := c.busy.begin(q.VolumeId)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := c.Volumes.DeleteVolume(ctx, q.VolumeId); err != nil && !errors.Is(err, engine.ErrNotFound) {
		return nil, failure(err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// ControllerExpandVolume implements csi.ControllerServer. The node has nothing to do:
// it sees the new size at once.
func (c *Controller) ControllerExpandVolume(ctx context.Context, q *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != "", "capacity range": q.CapacityRange != nil}); err != nil {
		return nil, err
	}
	bytes, err := size(q.CapacityRange)
	if err != nil {
		return nil, err
	}
	end, err := c.busy.begin(q.VolumeId)
	if err != nil {
		return nil, err
	}
	defer end()
	v, err := c.Volumes.ExpandVolume(ctx, q.VolumeId, bytes)
	if err != nil {
		return nil, failure(err)
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: v.Bytes}, nil
}

// ValidateVolumeCapabilities implements csi.ControllerServer.
func (c *Controller) ValidateVolumeCapabilities(ctx context.Context, q *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != "", "volume capabilities": len(q.VolumeCapabilities) > 0}); err != nil {
		return nil, err
	}
	if _, err := c.Volumes.Volume(ctx, q.VolumeId); err != nil {
		return nil, failure(err)
	}
	if err := checkCapabilities(q.VolumeCapabilities); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: q.VolumeContext, VolumeCapabilities: q.VolumeCapabilities, Parameters: q.Parameters,
	}}, nil
}

// ListVolumes implements csi.ControllerServer. A token is the name of the last volume
// that has been listed, so that volumes that come and go do no harm.
func (c *Controller) ListVolumes(ctx context.Context, q *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	volumes, err := c.Volumes.Volumes(ctx)
	if err != nil {
		return nil, failure(err)
	}
	after, err := afterToken(q.StartingToken)
	if err != nil {
		return nil, err
	}
	answer := &csi.ListVolumesResponse{}
	for _, v := range volumes {
		if v.Name <= after {
			continue
		}
		if q.MaxEntries > 0 && len(answer.Entries) == int(q.MaxEntries) {
			answer.NextToken = tokenPrefix + answer.Entries[len(answer.Entries)-1].Volume.VolumeId
			break
		}
		answer.Entries = append(answer.Entries, &csi.ListVolumesResponse_Entry{Volume: describe(v)})
	}
	return answer, nil
}

const tokenPrefix = "after:"

func afterToken(token string) (string, error) {
	after, ok := strings.CutPrefix(token, tokenPrefix)
	if token != "" && !ok {
		return "", status.Errorf(codes.Aborted, "starting token %.40q is not one of this driver", token)
	}
	return after, nil
}

// ControllerGetVolume implements csi.ControllerServer.
func (c *Controller) ControllerGetVolume(ctx context.Context, q *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != ""}); err != nil {
		return nil, err
	}
	v, err := c.Volumes.Volume(ctx, q.VolumeId)
	if err != nil {
		return nil, failure(err)
	}
	return &csi.ControllerGetVolumeResponse{Volume: describe(v), Status: &csi.ControllerGetVolumeResponse_VolumeStatus{}}, nil
}

// ControllerGetVolumeHealth implements csi.ControllerServer.
func (c *Controller) ControllerGetVolumeHealth(ctx context.Context, q *csi.ControllerGetVolumeHealthRequest) (*csi.ControllerGetVolumeHealthResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != ""}); err != nil {
		return nil, err
	}
	v, err := c.Volumes.Volume(ctx, q.VolumeId)
	if err != nil {
		return nil, failure(err)
	}
	wrong, err := c.Volumes.Condition(ctx, v)
	if err != nil {
		return nil, failure(err)
	}
	health := &csi.VolumeHealth{VolumeId: q.VolumeId}
	if wrong != "" {
		health.HealthStatuses = []*csi.VolumeHealth_VolumeHealthEntry{
			{Status: csi.VolumeHealthErrorType_DEGRADED, Reason: "BricksOffline", Message: wrong},
		}
	}
	return &csi.ControllerGetVolumeHealthResponse{VolumeHealth: health}, nil
}

// GetCapacity implements csi.ControllerServer: the size of the largest volume that can
// be made.
func (c *Controller) GetCapacity(ctx context.Context, q *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	r, err := parse(q.Parameters)
	if err != nil {
		return nil, err
	}
	if len(q.VolumeCapabilities) > 0 && checkCapabilities(q.VolumeCapabilities) != nil {
		return &csi.GetCapacityResponse{}, nil
	}
	room, err := c.Volumes.Room(ctx, r)
	if err != nil {
		return nil, failure(err)
	}
	return &csi.GetCapacityResponse{AvailableCapacity: room}, nil
}
