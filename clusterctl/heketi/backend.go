package heketi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"picluster/clusterctl/gluster/allocator"
	"picluster/clusterctl/gluster/engine"
)

// Backend has a Heketi make the volumes of the CSI driver, in place of the engine: the
// one that somebody has, with its nodes, devices and volumes. Its sizes are whole GiB.
type Backend struct{ *Client }

// CreateVolume makes a volume. If there is one of that name already, it is returned
// together with an engine.ErrExists: Heketi itself lets many volumes have one name.
func (b Backend) CreateVolume(ctx context.Context, r engine.Request) (engine.Volume, error) {
	there, err := b.Volume(ctx, r.Name)
	if err == nil {
		return there, fmt.Errorf("create volume %s: %w", r.Name, engine.ErrExists)
	}
	if !errors.Is(err, engine.ErrNotFound) {
		return engine.Volume{}, err
	}
	q := volumeRequest{Name: r.Name, Size: (r.Bytes + gib - 1) / gib, Clusters: r.Clusters, GID: r.GID}
	q.Durability.Type = "none"
	if r.Replicas > 1 {
		q.Durability.Type, q.Durability.Replicate.Replica = "replicate", r.Replicas
	}
	for _, key := range slices.Sorted(maps.Keys(r.Options)) {
		q.Options = append(q.Options, key+" "+r.Options[key])
	}
	if r.Arbiter {
		q.Durability.Replicate.Replica = 3
		q.Options = append(q.Options, arbiterOption+" true")
	}
	var made volumeInfo
	if err := b.Do(ctx, http.MethodPost, "/volumes", q, &made); err != nil {
		return engine.Volume{}, fmt.Errorf("create volume %s: %w", r.Name, err)
	}
	return made.volume(), nil
}

// volume is what the driver needs to know of one.
func (is volumeInfo) volume() engine.Volume {
	v := engine.Volume{
		ID: is.ID, Name: is.Name, Cluster: is.Cluster, Bytes: is.Size * gib, GID: is.GID, Started: true,
		Replicas: 1, Hosts: is.Mount.GlusterFS.Hosts,
	}
	if is.Durability.Type == "replicate" {
		v.Replicas = is.Durability.Replicate.Replica
	}
	if slices.Contains(is.Options, arbiterOption+" true") {
		v.Arbiter, v.Replicas = true, v.Replicas-1
	}
	return v
}

// DeleteVolume removes a volume by its name.
func (b Backend) DeleteVolume(ctx context.Context, name string) error {
	v, err := b.Volume(ctx, name)
	if err != nil {
		return err
	}
	if err := b.Do(ctx, http.MethodDelete, "/volumes/"+v.ID, nil, nil); err != nil {
		return fmt.Errorf("delete volume %s: %w", name, err)
	}
	return nil
}

// ExpandVolume makes a volume at least so large.
func (b Backend) ExpandVolume(ctx context.Context, name string, bytes int64) (engine.Volume, error) {
	v, err := b.Volume(ctx, name)
	if err != nil || v.Bytes >= bytes {
		return v, err
	}
	var grown volumeInfo
	more := expandRequest{Size: (bytes - v.Bytes + gib - 1) / gib}
	if err := b.Do(ctx, http.MethodPost, "/volumes/"+v.ID+"/expand", more, &grown); err != nil {
		return v, fmt.Errorf("expand volume %s: %w", name, err)
	}
	return grown.volume(), nil
}

// Volume finds a volume by its name.
func (b Backend) Volume(ctx context.Context, name string) (engine.Volume, error) {
	all, err := b.Volumes(ctx)
	if err != nil {
		return engine.Volume{}, err
	}
	i := slices.IndexFunc(all, func(v engine.Volume) bool { return v.Name == name })
	if i < 0 {
		return engine.Volume{}, fmt.Errorf("look for volume %s: %w", name, engine.ErrNotFound)
	}
	return all[i], nil
}

// Volumes lists all volumes by name. One that goes meanwhile is left out.
func (b Backend) Volumes(ctx context.Context) ([]engine.Volume, error) {
	var list struct {
		Volumes []string `json:"volumes"`
	}
	if err := b.Do(ctx, http.MethodGet, "/volumes", nil, &list); err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var all []engine.Volume
	for _, id := range list.Volumes {
		var is volumeInfo
		err := b.Do(ctx, http.MethodGet, "/volumes/"+id, nil, &is)
		if errors.Is(err, engine.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at volume %s: %w", id, err)
		}
		all = append(all, is.volume())
	}
	slices.SortFunc(all, func(a, b engine.Volume) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}

// Room is how large a volume could be, by what devices have free.
func (b Backend) Room(ctx context.Context, r engine.Request) (int64, error) {
	var list struct {
		Clusters []string `json:"clusters"`
	}
	if err := b.Do(ctx, http.MethodGet, "/clusters", nil, &list); err != nil {
		return 0, fmt.Errorf("list clusters: %w", err)
	}
	var room int64
	for _, id := range list.Clusters {
		if len(r.Clusters) > 0 && !slices.Contains(r.Clusters, id) {
			continue
		}
		devices, err := b.devices(ctx, id)
		if err != nil {
			return 0, err
		}
		room = max(room, engine.Largest(devices, r, thinPool)/gib*gib)
	}
	return room, nil
}

// thinPool is what a brick takes of its device: beside it, half a percent for the
// thin pool's metadata (Heketi, apps/glusterfs/device_entry.go).
func thinPool(bytes int64) int64 { return bytes + bytes/200 + 1 }

func (b Backend) devices(ctx context.Context, cluster string) ([]allocator.Device, error) {
	var is clusterInfo
	if err := b.Do(ctx, http.MethodGet, "/clusters/"+cluster, nil, &is); err != nil {
		return nil, fmt.Errorf("look at cluster %s: %w", cluster, err)
	}
	var all []allocator.Device
	for _, id := range is.Nodes {
		var n nodeInfo
		if err := b.Do(ctx, http.MethodGet, "/nodes/"+id, nil, &n); err != nil {
			return nil, fmt.Errorf("look at node %s: %w", id, err)
		}
		for _, d := range n.Devices {
			if n.State == string(engine.Online) && d.State == string(engine.Online) {
				all = append(all, allocator.Device{ID: d.ID, Node: n.ID, Zone: n.Zone, Free: d.Storage.Free << 10})
			}
		}
	}
	return all, nil
}

// Condition implements csi.Volumes. Heketi knows nothing of how its bricks are.
func (b Backend) Condition(context.Context, engine.Volume) (string, error) { return "", nil }
