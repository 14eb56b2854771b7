package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"picluster/clusterctl/gluster/brick"
	"picluster/clusterctl/gluster/daemon"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/kube"
	"picluster/internal/cli"
	"picluster/internal/host"
)

// ResetStorage lists what takes the storage away with all that it holds, and what that
// is, in words. It refuses before anything is gone if a node cannot be looked at: what is
// on that one would stay, and with the namespace goes the list of devices.
func ResetStorage(ctx context.Context, e Env, on *kube.Client) (stages []kube.Stage, lost []string, err error) {
	kind, ok := engine.Backends[e.Cluster.Storage.Bricks]
	if !ok {
		return nil, nil, cli.Exit(cli.Usage, errors.New("reset storage: by cluster.yaml no node of the cluster holds data"))
	}
	nodes, lost, err := holders(ctx, e, on)
	if err != nil {
		return nil, nil, err
	}
	erase := []kube.Step{NoVolumes{}, kube.Absent{Ref: workload("Deployment", StorageController)}}
	for _, node := range nodes {
		s := Erased{Node: node, kind: kind}
		if _, err := s.Check(ctx, on); err != nil {
			return nil, nil, fmt.Errorf("reset storage: %w", err)
		}
		erase = append(erase, s)
	}
	remove, err := storageAbsent(e)
	if err != nil {
		return nil, nil, err
	}
	if lost == nil {
		lost = []string{"nothing but its objects in Kubernetes"}
	}
	return []kube.Stage{{Name: "erase", Steps: erase}, {Name: "remove", Steps: remove}}, lost, nil
}

// holders lists the nodes that may hold data, by what the controller knows or by
// cluster.yaml, and what is lost on each. The controller of a storage that was removed
// before knows of none. A node that is not in the cluster is beyond reach, which is said.
func holders(ctx context.Context, e Env, on *kube.Client) (nodes, lost []string, err error) {
	state, err := pods.Store{Kube: on}.Load(ctx)
	if err != nil {
		return nil, nil, err
	}
	joined, err := on.NodeNames(ctx)
	if err != nil {
		return nil, nil, err
	}
	var all []string
	devices := map[string][]string{}
	for _, c := range state.Clusters {
		for _, n := range c.Nodes {
			all = append(all, n.Manage)
			for _, d := range n.Devices {
				devices[n.Manage] = append(devices[n.Manage], "all that is on "+d.Name+" of "+n.Manage)
			}
		}
	}
	for _, n := range e.Cluster.Nodes {
		if n.Storage.Enabled && !slices.Contains(all, n.Name) {
			all = append(all, n.Name)
		}
	}
	for _, name := range all {
		if !slices.Contains(joined, name) {
			lost = append(lost, "nothing on "+name+", which is no node of Kubernetes")
			continue
		}
		nodes = append(nodes, name)
		if devices[name] == nil {
			devices[name] = []string{"what the storage has on " + name}
		}
		lost = append(lost, devices[name]...)
	}
	return nodes, lost, nil
}

// Erased wants nothing of the storage to be left on a node.
type Erased struct {
	Node string
	kind brick.Kind
}

// Name implements Step.
func (s Erased) Name() string { return "storage on " + s.Node }

// Check implements Step. Only the node itself can say that it has nothing left.
func (s Erased) Check(ctx context.Context, on *kube.Client) (string, error) {
	h, err := pods.Nodes{Kube: on}.OnUnready(ctx, s.Node)
	drift := ""
	if err == nil {
		drift, err = left(ctx, h)
	}
	if err != nil {
		err = cli.Hint(fmt.Errorf("look at what %s has of the storage: %w", s.Node, err),
			"run it again when glusterd's pod runs there; clusterctl deploy storage brings it. What is left of a reset that had erased all nodes, clusterctl remove storage takes away")
	}
	return drift, err
}

// left says what a node has of the storage.
func left(ctx context.Context, h host.Host) (string, error) {
	ids, err := brick.Prepared(ctx, h)
	if err != nil || len(ids) > 0 {
		return "is there", err
	}
	_, err = h.Stat(ctx, "/var/lib/glusterd/glusterd.info")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return "is there", err
}

// Apply implements Step.
func (s Erased) Apply(ctx context.Context, on *kube.Client) error {
	h, err := pods.Nodes{Kube: on}.OnUnready(ctx, s.Node)
	if err != nil {
		return fmt.Errorf("reach node %s: %w", s.Node, err)
	}
	return daemon.Reset(ctx, h, s.kind.Erase)
}

// StorageRefusal gives what the storage refuses for safety its exit code and a hint.
// The words come from the other side of Heketi's API.
func StorageRefusal(err error) error {
	if err != nil && strings.Contains(err.Error(), brick.ErrData.Error()) {
		return cli.Exit(cli.Refused, cli.Hint(err, "--wipe permits to erase it"))
	}
	return err
}
