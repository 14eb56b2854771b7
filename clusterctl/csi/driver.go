// Package csi is a driver of the Container Storage Interface for GlusterFS: what
// Kubernetes asks for volumes and has them mounted by. The controller is a face of the
// engine; the node part mounts, and keeps nothing but what the kernel knows.
//
// It makes file systems only, for one node or many. Volumes grow while they are in
// use. There are no snapshots and clones, see noSnapshots.
package csi

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"picluster/clusterctl/gluster/allocator"
	"picluster/clusterctl/gluster/engine"
)

// Name is the driver's name in Kubernetes: in the CSIDriver, the StorageClass and the
// volumes themselves. It can never change.
const Name = "glusterfs.picluster"

// Register makes a server answer for the driver, with the parts that are not nil.
func Register(s grpc.ServiceRegistrar, version string, c *Controller, n *Node) {
	csi.RegisterIdentityServer(s, identity{version: version, controller: c != nil})
	if c != nil {
		csi.RegisterControllerServer(s, c)
	}
	if n != nil {
		csi.RegisterNodeServer(s, n)
	}
}

// Log is an interceptor that logs what fails. Requests can carry secrets; they are not
// logged.
func Log(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, q any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		answer, err := handle(ctx, q)
		if err != nil {
			log.Warn("request failed", "method", info.FullMethod, "error", err)
		}
		return answer, err
	}
}

type identity struct {
	csi.UnimplementedIdentityServer
	version    string
	controller bool
}

func (i identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: Name, VendorVersion: i.version}, nil
}

func (i identity) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	answer := &csi.GetPluginCapabilitiesResponse{}
	if i.controller {
		answer.Capabilities = []*csi.PluginCapability{
			{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE}}},
			{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE}}},
		}
	}
	return answer, nil
}

func (i identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

// failure gives an error the code that the caller acts by.
func failure(err error) error {
	code := codes.Internal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, engine.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, engine.ErrName):
		code = codes.InvalidArgument
	case errors.Is(err, engine.ErrInUse):
		code = codes.FailedPrecondition
	case errors.Is(err, allocator.ErrNoSpace):
		code = codes.ResourceExhausted
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	return status.Error(code, err.Error())
}

// required refuses requests without one of their parts.
func required(parts map[string]bool) error {
	for name, given := range parts {
		if !given {
			return status.Errorf(codes.InvalidArgument, "%s is missing", name)
		}
	}
	return nil
}

// busy lets one request at a time at a volume. The specification wants the second one
// refused with ABORTED; the caller tries again.
type busy struct {
	mu      sync.Mutex
	volumes map[string]bool
}

func (b *busy) begin(volume string) (end func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.volumes[volume] {
		return nil, status.Errorf(codes.Aborted, "another request for volume %s is under way", volume)
	}
	if b.volumes == nil {
		b.volumes = map[string]bool{}
	}
	b.volumes[volume] = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.volumes, volume)
	}, nil
}

// checkCapability refuses what a volume cannot be used as.
func checkCapability(c *csi.VolumeCapability) error {
	if c.GetMount() == nil {
		return status.Error(codes.InvalidArgument, "a volume is a file system, and no block device")
	}
	if t := c.GetMount().GetFsType(); t != "" && t != "glusterfs" {
		return status.Errorf(codes.InvalidArgument, "a volume is of file system type glusterfs, not %s", t)
	}
	if c.GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_UNKNOWN {
		return status.Error(codes.InvalidArgument, "the access mode is missing")
	}
	return nil
}

func checkCapabilities(all []*csi.VolumeCapability) error {
	if len(all) == 0 {
		return status.Error(codes.InvalidArgument, "volume capabilities are missing")
	}
	for _, c := range all {
		if err := checkCapability(c); err != nil {
			return err
		}
	}
	return nil
}
