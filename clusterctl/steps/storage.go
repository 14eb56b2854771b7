package steps

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/gluster/topology"
	"picluster/clusterctl/kube"
	"picluster/internal/localregistry"
	"picluster/internal/spec"
	"picluster/internal/version"
)

// Of the storage, for who looks after it.
const (
	StorageClass      = "glusterfs-storage"
	StorageKeys       = "heketi-keys"
	StorageService    = "heketi"
	StoragePort       = 8080
	StorageController = "storage-controller"
	StorageDriver     = "glusterfs.picluster" // csi.Name; that package would bring all of gRPC into clusterctl
	storageLabel      = "storagenode"
	storageMounter    = "storage-node"
)

// StorageImage is the image's name: in the cluster's own registry, and in containerd
// where it has been put by hand.
func StorageImage() string {
	return localregistry.Name + "/picluster/storage:" + strings.ReplaceAll(version.String(), "+", "-")
}

func unwantedStorage(c *spec.Cluster) string {
	if hasStorage(c) {
		return ""
	}
	return "storage.backend: none"
}

// deployStorage in order: nodes are named, then everything is applied, glusterd is
// renewed node by node, and the controller makes of the devices what the topology says.
func deployStorage(e Env) ([]kube.Step, error) {
	objects, err := storageObjects(e.Cluster)
	if err != nil {
		return nil, err
	}
	var steps []kube.Step
	for _, n := range e.Cluster.Nodes {
		if n.Storage.Enabled {
			steps = append(steps, StorageNode{Node: n.Name})
		}
	}
	// The namespace comes before what is in it.
	steps = append(steps, kube.Applied{Object: objects[0]}, Keys{Admin: e.Cluster.Storage.Heketi.Key})
	for _, o := range objects[1:] {
		// Every field of a StorageClass but one is for ever.
		steps = append(steps, kube.Applied{Object: o, Renew: o.GetKind() == "StorageClass"})
	}
	if !e.Cluster.Storage.OnNodes() {
		return append(steps, kube.Ready{Ref: workload("DaemonSet", storageMounter)}, kube.Ready{Ref: workload("Deployment", StorageController)}), nil
	}
	return append(steps,
		Renewed{},
		kube.Ready{Ref: workload("DaemonSet", pods.Daemon)},
		kube.Ready{Ref: workload("DaemonSet", storageMounter)},
		kube.Ready{Ref: workload("Deployment", StorageController)},
		Converged{},
	), nil
}

func workload(kind, name string) kube.Ref {
	return kube.Ref{APIVersion: "apps/v1", Kind: kind, Namespace: pods.Namespace, Name: name}
}

// removeStorage leaves what is on the devices as it is: `storage reset` erases it.
func removeStorage(e Env) ([]kube.Step, error) {
	steps, err := storageAbsent(e)
	return append([]kube.Step{NoVolumes{}, NoneInPool{}}, steps...), err
}

// storageAbsent lists what takes the objects away.
func storageAbsent(e Env) ([]kube.Step, error) {
	objects, err := allOf("storage")
	if err != nil {
		return nil, err
	}
	steps := absent(objects)
	for _, n := range e.Cluster.Nodes {
		steps = append(steps, StorageNode{Node: n.Name, Not: true})
	}
	return steps, nil
}

func storageObjects(c *spec.Cluster) ([]*kube.Object, error) {
	objects, err := allOf("storage")
	if err != nil {
		return nil, err
	}
	args := map[string][]any{ // of each workload's first container
		storageMounter:    {"node"},
		StorageController: {"controller", "--heketi-url=" + c.Storage.Heketi.URL},
	}
	if c.Storage.OnNodes() {
		documents, err := storageDocuments(c)
		if err != nil {
			return nil, err
		}
		objects = append(objects[:1:1], append(documents, objects[1:]...)...)
		args[pods.Daemon] = []any{"glusterd", "--bricks=" + c.Storage.Bricks}
		args[StorageController] = []any{"controller", "--bricks=" + c.Storage.Bricks, "--allow=" + c.Network.ClusterSubnet.Masked().String()}
	} else { // glusterd runs elsewhere
		objects = slices.DeleteFunc(objects, func(o *kube.Object) bool { return o.GetKind() == "DaemonSet" && o.GetName() == pods.Daemon })
	}
	if key := c.Storage.Heketi.Key; !key.IsZero() {
		// The controller reads it once. Two bytes tell that it has changed, and whoever may
		// see Deployments but no Secrets next to nothing of it.
		digest := fmt.Sprintf("%.2x", sha256.Sum256([]byte(key.Reveal())))
		if err := restartOn(objects, StorageController, digest); err != nil {
			return nil, err
		}
	}
	for _, o := range objects {
		if slices.Contains(working, o.GetKind()) {
			if err := setFirstContainer(objects, o.GetKind(), o.GetName(), StorageImage(), args[o.GetName()]); err != nil {
				return nil, err
			}
		}
	}
	return objects, set(objects, "StorageClass", StorageClass, copies(c), "parameters")
}

// storageDocuments are the topology, and the addresses that may talk to Gluster: those
// of all nodes, and those that spares will have.
func storageDocuments(c *spec.Cluster) ([]*kube.Object, error) {
	t, err := json.MarshalIndent(topology.FromSpec(c), "", "  ")
	if err != nil {
		return nil, err
	}
	var peers strings.Builder
	for k := range len(c.Nodes) + c.Spares {
		peers.WriteString(c.ClusterAddress(k).Addr().String() + "\n")
	}
	return []*kube.Object{
		configMap(pods.TopologyName, pods.TopologyKey, string(t)+"\n"),
		configMap("storage-peers", "peers", peers.String()),
	}, nil
}

func configMap(name, key, text string) *kube.Object {
	return &kube.Object{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": pods.Namespace, "name": name},
		"data":     map[string]any{key: text},
	}}
}

// copies are the parameters of the StorageClass. Two copies alone cannot tell which of
// them is right after they have been apart; where there is a third node it is a witness.
func copies(c *spec.Cluster) map[string]any {
	holders := 0
	for _, n := range c.Nodes {
		if n.Storage.Enabled {
			holders++
		}
	}
	switch {
	case c.Storage.Replicas == 2 && holders > 2: // of a Heketi nobody knows whether it has a third node
		return map[string]any{"arbiter": "true"}
	case c.Storage.Replicas == 2:
		return map[string]any{"replicas": "2"}
	case c.Storage.Replicas == 1:
		return map[string]any{"replicas": "1"}
	}
	return map[string]any{"replicas": "3"}
}
