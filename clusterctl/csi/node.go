package csi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"picluster/internal/host"
)

// Node mounts volumes on one node.
type Node struct {
	csi.UnimplementedNodeServer
	ID string

	// Host is the node itself: programs run in its mount namespace, and not in the
	// container's. What they start must outlive the container, or pods lose their
	// volumes when the driver is replaced.
	Host host.Host

	busy busy
}

// NodeGetInfo implements csi.NodeServer.
func (n *Node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.ID}, nil
}

// NodeGetCapabilities implements csi.NodeServer.
func (n *Node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	answer := &csi.NodeGetCapabilitiesResponse{}
	for _, t := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		answer.Capabilities = append(answer.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}},
		})
	}
	return answer, nil
}

// NodeStageVolume implements csi.NodeServer. A mount whose client has died, which the
// kernel keeps and nobody can use, gives way to a new one.
func (n *Node) NodeStageVolume(ctx context.Context, q *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != "", "staging path": q.StagingTargetPath != "", "volume capability": q.VolumeCapability != nil}); err != nil {
		return nil, err
	}
	if err := checkCapability(q.VolumeCapability); err != nil {
		return nil, err
	}
	hosts := strings.Split(q.VolumeContext[contextHosts], ",")
	if hosts[0] == "" {
		return nil, status.Errorf(codes.InvalidArgument, "the volume context has no %s", contextHosts)
	}
	end, err := n.busy.begin(q.VolumeId)
	if err != nil {
		return nil, err
	}
	defer end()
	at := path.Clean(q.StagingTargetPath)
	if err := n.stage(ctx, q.VolumeId, hosts, at, q.VolumeCapability.GetMount().GetMountFlags()); err != nil {
		return nil, failure(err)
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (n *Node) stage(ctx context.Context, volume string, hosts []string, at string, flags []string) error {
	all, err := n.mounts(ctx)
	if err != nil {
		return err
	}
	m, mounted := all.at(at)
	if mounted {
		if m.volume() != volume {
			return fmt.Errorf("mount volume %s: %s is mounted there", volume, m.Source)
		}
		if lost, err := n.lost(ctx, at); err != nil || !lost {
			return err
		}
	}
	note, err := json.Marshal(stageNote{Hosts: hosts, Flags: flags})
	if err == nil {
		err = n.Host.Write(ctx, notePath(at), host.File{Mode: 0o600, Data: note})
	}
	if err != nil {
		return err
	}
	if mounted {
		return n.renew(ctx, volume, hosts, at, flags)
	}
	return n.mount(ctx, volume, hosts, at, flags)
}

// mount starts a client.
func (n *Node) mount(ctx context.Context, volume string, hosts []string, at string, flags []string) error {
	options := append([]string{"log-level=WARNING"}, flags...)
	if len(hosts) > 1 { // whom to ask for the volume's bricks if the first one is away
		options = append(options, "backup-volfile-servers="+strings.Join(hosts[1:], ":"))
	}
	if err := n.Host.Write(ctx, at, host.File{Mode: fs.ModeDir | 0o750}); err != nil {
		return err
	}
	program, err := n.mountProgram(ctx)
	if err != nil {
		return err
	}
	return n.run(ctx, append(program, "-t", "glusterfs", "-o", strings.Join(options, ","), hosts[0]+":/"+volume, at)...)
}

// mountProgram starts the client as a child of nobody: in a scope of its own, where
// there is systemd, so that it is no part of the container and outlives it.
func (n *Node) mountProgram(ctx context.Context) ([]string, error) {
	if _, err := n.Host.Stat(ctx, "/sbin/mount.glusterfs"); errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("the node has no client of GlusterFS: install the Debian package glusterfs-client")
	}
	_, err := n.Host.Stat(ctx, "/run/systemd/system") // sd_booted(3)
	if errors.Is(err, fs.ErrNotExist) {
		return []string{"mount"}, nil
	}
	return []string{"systemd-run", "--scope", "--quiet", "--collect", "--slice=picluster-storage", "mount"}, err
}

// stageNote is kept beside a staged volume: what the kernel does not know of it, for
// Repair.
type stageNote struct{ Hosts, Flags []string }

func notePath(staged string) string { return staged + ".json" }

// NodeUnstageVolume implements csi.NodeServer.
func (n *Node) NodeUnstageVolume(ctx context.Context, q *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != "", "staging path": q.StagingTargetPath != ""}); err != nil {
		return nil, err
	}
	end, err := n.busy.begin(q.VolumeId)
	if err != nil {
		return nil, err
	}
	defer end()
	at := path.Clean(q.StagingTargetPath)
	err = n.dropSpare(ctx, at)
	if err == nil {
		err = n.unmount(ctx, at)
	}
	if err == nil {
		err = n.Host.Remove(ctx, notePath(at))
	}
	if err != nil {
		return nil, failure(err)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// NodePublishVolume implements csi.NodeServer.
func (n *Node) NodePublishVolume(ctx context.Context, q *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != "", "staging path": q.StagingTargetPath != "", "target path": q.TargetPath != "", "volume capability": q.VolumeCapability != nil}); err != nil {
		return nil, err
	}
	if err := checkCapability(q.VolumeCapability); err != nil {
		return nil, err
	}
	end, err := n.busy.begin(q.VolumeId)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := n.publish(ctx, q, path.Clean(q.StagingTargetPath), path.Clean(q.TargetPath)); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *Node) publish(ctx context.Context, q *csi.NodePublishVolumeRequest, staged, target string) error {
	all, err := n.mounts(ctx)
	if err != nil {
		return failure(err)
	}
	note, noted := n.noteOf(ctx, staged)
	m, ok := all.at(staged)
	if !ok && !noted || ok && m.volume() != q.VolumeId {
		return status.Errorf(codes.FailedPrecondition, "volume %s is not staged at %s", q.VolumeId, staged)
	}
	if noted { // its client may have died since
		if err := n.stage(ctx, q.VolumeId, note.Hosts, staged, note.Flags); err != nil {
			return failure(err)
		}
	}
	mode := q.VolumeCapability.GetAccessMode().GetMode()
	readOnly := q.Readonly || mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY || mode == csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	if m, ok := all.at(target); ok {
		if m.volume() != q.VolumeId || m.readOnly() != readOnly {
			return status.Errorf(codes.AlreadyExists, "%s is mounted at %s in another way", m.Source, target)
		}
		return failure(n.bindAnew(ctx, staged, m))
	}
	isPods := func(m mount) bool { return m.Target != staged && m.Target != sparePath(staged) }
	if mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER && slices.ContainsFunc(all.of(q.VolumeId), isPods) {
		return status.Errorf(codes.FailedPrecondition, "volume %s is for one pod, and another one has it", q.VolumeId)
	}
	if err := n.Host.Write(ctx, target, host.File{Mode: fs.ModeDir | 0o750}); err != nil {
		return failure(err)
	}
	return failure(n.bind(ctx, staged, target, readOnly))
}

func (n *Node) bind(ctx context.Context, from, to string, readOnly bool) error {
	options := "bind"
	if readOnly {
		options += ",ro"
	}
	return n.run(ctx, "mount", "-o", options, from, to)
}

// NodeUnpublishVolume implements csi.NodeServer.
func (n *Node) NodeUnpublishVolume(ctx context.Context, q *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != "", "target path": q.TargetPath != ""}); err != nil {
		return nil, err
	}
	end, err := n.busy.begin(q.VolumeId)
	if err != nil {
		return nil, err
	}
	defer end()
	target := path.Clean(q.TargetPath)
	err = n.unmount(ctx, target)
	if err == nil {
		err = n.Host.Remove(ctx, target)
	}
	if err != nil {
		return nil, failure(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// unmount also takes away a mount whose client has died, and one on another.
func (n *Node) unmount(ctx context.Context, at string) error {
	for {
		all, err := n.mounts(ctx)
		if err != nil {
			return err
		}
		if _, ok := all.at(at); !ok {
			return nil
		}
		if err := n.run(ctx, "umount", at); err != nil {
			return err
		}
	}
}

// NodeGetVolumeStats implements csi.NodeServer.
func (n *Node) NodeGetVolumeStats(ctx context.Context, q *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != "", "volume path": q.VolumePath != ""}); err != nil {
		return nil, err
	}
	at := path.Clean(q.VolumePath)
	all, err := n.mounts(ctx)
	if err != nil {
		return nil, failure(err)
	}
	if m, ok := all.at(at); !ok || m.volume() != q.VolumeId {
		return nil, status.Errorf(codes.NotFound, "volume %s is not mounted at %s", q.VolumeId, at)
	}
	out, err := n.Host.Run(ctx, host.Cmd{Args: []string{"stat", "--file-system", "--format=%S %b %a %f %c %d", at}})
	if err != nil {
		return nil, failure(err)
	}
	var size, blocks, available, free, inodes, inodesFree int64
	if _, err := fmt.Sscan(string(out), &size, &blocks, &available, &free, &inodes, &inodesFree); err != nil {
		return nil, status.Errorf(codes.Internal, "read size of %s: stat says %.80q", at, out)
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: blocks * size, Available: available * size, Used: (blocks - free) * size},
		{Unit: csi.VolumeUsage_INODES, Total: inodes, Available: inodesFree, Used: inodes - inodesFree},
	}}, nil
}

// NodeGetVolumeHealth implements csi.NodeServer. A mount whose client has died is of no
// use to the pods that have it, until they are started anew.
func (n *Node) NodeGetVolumeHealth(ctx context.Context, q *csi.NodeGetVolumeHealthRequest) (*csi.NodeGetVolumeHealthResponse, error) {
	if err := required(map[string]bool{"volume id": q.VolumeId != ""}); err != nil {
		return nil, err
	}
	all, err := n.mounts(ctx)
	if err != nil {
		return nil, failure(err)
	}
	var dead []string
	for _, m := range all.of(q.VolumeId) {
		if lost, err := n.lost(ctx, m.Target); lost || err != nil {
			dead = append(dead, m.Target)
		}
	}
	health := &csi.VolumeHealth{VolumeId: q.VolumeId}
	if dead != nil {
		health.HealthStatuses = []*csi.VolumeHealth_VolumeHealthEntry{{
			Status: csi.VolumeHealthErrorType_INACCESSIBLE, Reason: "ClientDied",
			Message: "the client of these mounts has died, or does not answer: " + strings.Join(dead, ", "),
		}}
	}
	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: health}, nil
}

func (n *Node) run(ctx context.Context, args ...string) error {
	_, err := n.Host.Run(ctx, host.Cmd{Args: args})
	return err
}
