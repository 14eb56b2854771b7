package steps

import (
	"context"
	"errors"
	"fmt"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/manifests"
	"picluster/internal/cni"
	"picluster/internal/step"
)

// networks are the pod networks, with the DaemonSet that each is known by.
var networks = []struct{ name, namespace, daemonSet string }{
	{cni.Flannel, "kube-flannel", "kube-flannel-ds"},
	{cni.Weave, "kube-system", "weave-net"},
}

func deployNetwork(e Env) ([]kube.Step, error) {
	objects, err := networkObjects(e, e.Cluster.Kubernetes.CNI)
	if err != nil {
		return nil, err
	}
	return append([]kube.Step{onlyNetwork(e.Cluster.Kubernetes.CNI)}, applied(objects)...), nil
}

func networkObjects(e Env, name string) ([]*kube.Object, error) {
	text, err := cni.Manifest(name, e.Cluster.Kubernetes.PodSubnet)
	if err != nil {
		return nil, err
	}
	return manifests.Parse(text)
}

// onlyNetwork refuses to deploy a second network: two of them on one node answer for
// each other's pods.
func onlyNetwork(name string) kube.Step {
	return step.Require("only pod network", func(ctx context.Context, on *kube.Client) (string, error) {
		for _, n := range networks {
			if n.name == name {
				continue
			}
			there, err := on.Get(ctx, kube.Ref{APIVersion: "apps/v1", Kind: "DaemonSet", Namespace: n.namespace, Name: n.daemonSet})
			if err != nil {
				return "", err
			}
			if there != nil {
				return fmt.Sprintf("the cluster has %s, cluster.yaml wants %s: remove the one first (clusterctl remove cni)", n.name, name), nil
			}
		}
		return "", nil
	})
}

// removeNetwork takes away whichever there is.
func removeNetwork(e Env) ([]kube.Step, error) {
	var steps []kube.Step
	var errs []error
	for _, n := range networks {
		objects, err := networkObjects(e, n.name)
		steps, errs = append(steps, absent(objects)...), append(errs, err)
	}
	return steps, errors.Join(errs...)
}
