// Package pods connects the storage engine to Kubernetes: a node is reached through
// the pod that runs glusterd on it, and what the engine keeps is a ConfigMap.
//
// The controller uses it inside of the cluster, clusterctl from the desk: both need
// nothing but the API server.
package pods

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/kube"
	"picluster/internal/host"
)

// What the manifests call things.
const (
	Namespace = "picluster-storage"
	Component = "app.kubernetes.io/component"
	Daemon    = "glusterfs" // the DaemonSet, and its pods' component
	Container = "glusterd"
)

// Nodes reaches nodes through their pods.
type Nodes struct {
	Kube *kube.Client
	Log  *slog.Logger // Debug: each command; nil: none
}

// ErrNoPod is in errors about nodes on which glusterd does not run.
var ErrNoPod = errors.New("glusterd does not run there")

// Reach is for engine.Engine. The node is the container's file system, in which /dev,
// the bricks and glusterd's state are the node's own.
func (n Nodes) Reach(ctx context.Context, node engine.Node) (host.Host, error) {
	return n.On(ctx, node.Manage)
}

// On connects to a node of Kubernetes.
func (n Nodes) On(ctx context.Context, node string) (host.Host, error) {
	h, err := n.find(ctx, node, notRunning)
	if errors.Is(err, ErrNoPod) {
		return nil, fmt.Errorf("reach node %s: %w", node, err)
	}
	return h, err
}

// OnUnready connects to a node whose container runs, be it ready or not: without glusterd
// it never is. The error is an ErrNoPod where none does.
func (n Nodes) OnUnready(ctx context.Context, node string) (host.Host, error) {
	return n.find(ctx, node, notStarted)
}

// find connects to the first pod on a node that lacks nothing.
func (n Nodes) find(ctx context.Context, node string, lacks func(*kube.Object) string) (host.Host, error) {
	pods, err := n.Kube.List(ctx, kube.Ref{APIVersion: "v1", Kind: "Pod", Namespace: Namespace}, Component+"="+Daemon)
	if err != nil {
		return nil, err
	}
	why := ErrNoPod
	for _, pod := range pods {
		if name, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName"); name != node {
			continue
		}
		if missing := lacks(&pod); missing != "" {
			why = fmt.Errorf("%w: pod %s %s", ErrNoPod, pod.GetName(), missing)
			continue
		}
		in := kube.Container{Namespace: Namespace, Pod: pod.GetName(), Name: Container}
		return host.Shell{Name: node, Log: n.Log, Start: func(ctx context.Context, s host.Streams) (int, error) {
			return n.Kube.Exec(ctx, in, s)
		}}, nil
	}
	return nil, why
}

func notStarted(pod *kube.Object) string {
	if pod.GetDeletionTimestamp() != nil {
		return "is ending"
	}
	phase, _, _ := unstructured.NestedString(pod.Object, "status", "phase")
	if phase != "Running" {
		return "is " + phase
	}
	return ""
}

func notRunning(pod *kube.Object) string {
	if missing := notStarted(pod); missing != "" {
		return missing
	}
	// Of a node that is away the pod is said to be running for ever.
	missing, err := kube.NotReady(pod)
	if err != nil {
		return err.Error()
	}
	return missing
}

// Speaker finds a node that speaks for a pool: the first one whose glusterd answers. It
// is not ok if the pool has no nodes.
func (n Nodes) Speaker(ctx context.Context, c engine.Cluster) (cli gluster.CLI, ok bool, err error) {
	var errs []error
	for _, node := range c.Nodes {
		h, err := n.Reach(ctx, node)
		if err == nil {
			cli := gluster.CLI{Host: h}
			if _, err = cli.Peers(ctx); err == nil {
				return cli, true, nil
			}
		}
		errs = append(errs, err)
	}
	return gluster.CLI{}, false, errors.Join(errs...)
}
