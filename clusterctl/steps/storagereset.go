package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/brick"
	"picluster/clusterctl/gluster/daemon"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/kube"
	"picluster/internal/cli"
)

// ResetStorage lists what takes the storage away with all that it holds, and what that
// is, in words.
func ResetStorage(ctx context.Context, e Env, on *kube.Client) (stages []kube.Stage, lost []string, err error) {
	state, err := pods.Store{Kube: on}.Load(ctx)
	if err != nil {
		return nil, nil, err
	}
	kind, ok := engine.Backends[e.Cluster.Storage.Bricks]
	if !ok {
		return nil, nil, cli.Exit(cli.Usage, errors.New("reset storage: by cluster.yaml no node of the cluster holds data"))
	}
	erase := []kube.Step{NoVolumes{}, kube.Absent{Ref: workload("Deployment", StorageController)}}
	for _, c := range state.Clusters {
		for _, n := range c.Nodes {
			erase = append(erase, Erased{Node: n.Manage, kind: kind})
			for _, d := range n.Devices {
				lost = append(lost, "all that is on "+d.Name+" of "+n.Manage)
			}
		}
	}
	remove, err := removeStorage(e)
	if err != nil {
		return nil, nil, err
	}
	if lost == nil {
		lost = []string{"nothing but its objects in Kubernetes"}
	}
	return []kube.Stage{{Name: "erase", Steps: erase}, {Name: "remove", Steps: remove}}, lost, nil
}

// Erased wants nothing of the storage to be left on a node.
type Erased struct {
	Node string
	kind brick.Kind
}

// Name implements Step.
func (s Erased) Name() string { return "storage on " + s.Node }

// Check implements Step. A node whose glusterd has gone has been erased before.
func (s Erased) Check(ctx context.Context, on *kube.Client) (string, error) {
	h, err := pods.Nodes{Kube: on}.On(ctx, s.Node)
	if errors.Is(err, pods.ErrNoPod) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	ids, err := brick.Prepared(ctx, h)
	if err == nil && len(ids) == 0 {
		if _, err := h.Stat(ctx, "/var/lib/glusterd/glusterd.info"); err != nil {
			return "", nil
		}
	}
	return "is there", err
}

// Apply implements Step.
func (s Erased) Apply(ctx context.Context, on *kube.Client) error {
	h, err := pods.Nodes{Kube: on}.On(ctx, s.Node)
	if err != nil {
		return err
	}
	return daemon.Reset(ctx, h, s.kind.Erase)
}

// Heal has all copies of volumes compared; no names are all volumes.
func Heal(ctx context.Context, on *kube.Client, volumes []string) error {
	state, err := pods.Store{Kube: on}.Load(ctx)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range volumes {
		wanted[name] = true
	}
	for _, c := range state.Clusters {
		cli, ok, err := pods.Nodes{Kube: on}.Speaker(ctx, c)
		if err != nil || !ok {
			return err
		}
		if err := healPool(ctx, cli, wanted, len(volumes) == 0); err != nil {
			return err
		}
	}
	for name := range wanted {
		return fmt.Errorf("heal volume %s: %w", name, engine.ErrNotFound)
	}
	return nil
}

func healPool(ctx context.Context, cli gluster.CLI, wanted map[string]bool, all bool) error {
	volumes, err := cli.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if v.Started && v.Replicas > 1 && (all || wanted[v.Name]) {
			if err := cli.StartHeal(ctx, v.Name); err != nil {
				return err
			}
		}
		delete(wanted, v.Name)
	}
	return nil
}

// StorageRefusal gives what the storage refuses for safety its exit code and a hint.
// The words come from the other side of Heketi's API.
func StorageRefusal(err error) error {
	if err != nil && strings.Contains(err.Error(), brick.ErrData.Error()) {
		return cli.Exit(cli.Refused, cli.Hint(err, "--wipe permits to erase it"))
	}
	return err
}
