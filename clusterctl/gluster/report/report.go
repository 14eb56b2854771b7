// Package report tells how the storage is, as its nodes say it themselves: it needs no
// controller, and one node whose glusterd answers.
package report

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/kube"
)

// Report is the whole of it.
type Report struct {
	Version  int      `json:"version"`
	Nodes    []Node   `json:"nodes"`
	Volumes  []Volume `json:"volumes"`
	Problems []string `json:"problems"` // in sentences; none: all is well
}

// Node is one of the storage's.
type Node struct {
	Name      string   `json:"name"`
	Address   string   `json:"address"`
	Connected bool     `json:"connected"`
	Devices   []string `json:"devices"`
}

// Volume is one volume.
type Volume struct {
	Name       string `json:"name"`
	Claim      string `json:"claim,omitempty"` // NAMESPACE/NAME
	Bytes      int64  `json:"bytes"`
	Used       int64  `json:"used"` // bytes, of the brick that has most
	Bricks     int    `json:"bricks"`
	Online     int    `json:"online"`
	Pending    int    `json:"pending"` // files to be healed
	SplitBrain int    `json:"splitBrain"`
}

// version of the document.
const version = 1

// Make asks the nodes.
func Make(ctx context.Context, k *kube.Client) (Report, error) {
	r := Report{Version: version, Nodes: []Node{}, Volumes: []Volume{}, Problems: []string{}}
	state, err := pods.Store{Kube: k}.Load(ctx)
	if err != nil {
		return r, err
	}
	claims, err := claims(ctx, k)
	if err != nil {
		return r, err
	}
	for _, c := range state.Clusters {
		if len(c.Nodes) == 0 {
			continue
		}
		cli, _, err := pods.Nodes{Kube: k}.Speaker(ctx, c)
		if err != nil {
			return r, fmt.Errorf("ask the storage's nodes: %w", err)
		}
		if err := r.pool(ctx, cli, c, claims); err != nil {
			return r, err
		}
	}
	for _, p := range state.Pending {
		r.Problems = append(r.Problems, fmt.Sprintf("unfinished: %s %s, which goes on by itself when its nodes are there", p.Kind, p.Volume))
	}
	p, err := pods.ReadProblems(ctx, k)
	r.Problems = append(r.Problems, p.Problems...)
	return r, err
}

// claims maps names of volumes to who has claimed them.
func claims(ctx context.Context, k *kube.Client) (map[string]string, error) {
	volumes, err := k.List(ctx, kube.Ref{APIVersion: "v1", Kind: "PersistentVolume"}, "")
	of := map[string]string{}
	for _, v := range volumes {
		claim, _ := v.Object["spec"].(map[string]any)["claimRef"].(map[string]any)
		handle, _ := v.Object["spec"].(map[string]any)["csi"].(map[string]any)
		if name, ok := handle["volumeHandle"].(string); ok && claim != nil {
			of[name] = fmt.Sprintf("%v/%v", claim["namespace"], claim["name"])
		}
	}
	return of, err
}

func (r *Report) pool(ctx context.Context, cli gluster.CLI, c engine.Cluster, claims map[string]string) error {
	peers, err := cli.Peers(ctx)
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		i := slices.IndexFunc(peers, func(p gluster.Peer) bool {
			return slices.Contains(p.Names, n.Storage) || slices.Contains(p.Names, n.Manage) || p.Local && n.Manage == cli.String()
		})
		is := Node{Name: n.Manage, Address: n.Storage, Connected: i >= 0 && peers[i].Ready, Devices: []string{}}
		for _, d := range n.Devices {
			is.Devices = append(is.Devices, d.Name)
		}
		if !is.Connected {
			r.Problems = append(r.Problems, "node "+n.Manage+" is not connected to the others")
		}
		r.Nodes = append(r.Nodes, is)
	}
	volumes, err := cli.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		is, why, err := volume(ctx, cli, v)
		if err != nil {
			return err
		}
		is.Claim = claims[v.Name]
		r.Volumes = append(r.Volumes, is)
		if why != "" {
			r.Problems = append(r.Problems, "volume "+v.Name+": "+why)
		}
	}
	return nil
}

func volume(ctx context.Context, cli gluster.CLI, v gluster.Volume) (is Volume, why string, err error) {
	is = Volume{Name: v.Name, Bytes: engine.Bytes(v), Bricks: len(v.Bricks)}
	if !v.Started {
		return is, "it is stopped", nil
	}
	status, err := cli.Status(ctx, v)
	heal, healErr := Heal(ctx, cli, v)
	if err := errors.Join(err, healErr); err != nil {
		return is, "", err
	}
	for _, b := range status {
		if b.Online {
			is.Online++
		}
		is.Used = max(is.Used, b.Total-b.Free)
	}
	for _, b := range heal {
		is.Pending, is.SplitBrain = is.Pending+b.Pending, is.SplitBrain+b.SplitBrain
	}
	if is.Online < is.Bricks {
		return is, fmt.Sprintf("%d of %d bricks are online", is.Online, is.Bricks), nil
	}
	return is, gluster.Healed(heal), nil
}

// Heal tells what the bricks of a started volume lack. Where there is one copy nothing can
// be healed, and gluster refuses to be asked; bricks are only there, or not.
func Heal(ctx context.Context, cli gluster.CLI, v gluster.Volume) ([]gluster.BrickHeal, error) {
	if v.Replicas > 1 {
		return cli.Heal(ctx, v.Name)
	}
	status, err := cli.Status(ctx, v)
	var all []gluster.BrickHeal
	for _, b := range status {
		all = append(all, gluster.BrickHeal{Name: b.String(), Connected: b.Online})
	}
	return all, err
}
