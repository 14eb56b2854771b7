package steps

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/kube"
	"picluster/internal/step"
)

// Renewed wants glusterd's pods to be of the DaemonSet's present form. They are
// replaced one after the other, and the next only when all volumes are whole again: two
// copies of three that are away at a time stop who writes.
type Renewed struct{}

// Name implements Step.
func (Renewed) Name() string { return "glusterd of the present form" }

// Check implements Step.
func (Renewed) Check(ctx context.Context, on *kube.Client) (string, error) {
	old, err := outdated(ctx, on)
	if err != nil || len(old) == 0 {
		return "", err
	}
	return count(len(old), "node runs", "nodes run") + " another one", nil
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// outdated lists the pods that were made from another template. The newest revision is
// the DaemonSet's own.
func outdated(ctx context.Context, on *kube.Client) ([]kube.Object, error) {
	revisions, err := on.List(ctx, kube.Ref{APIVersion: "apps/v1", Kind: "ControllerRevision", Namespace: pods.Namespace}, pods.Component+"="+pods.Daemon)
	if err != nil {
		return nil, err
	}
	var newest int64
	hash := ""
	for _, r := range revisions {
		if n, _, _ := unstructured.NestedInt64(r.Object, "revision"); n > newest {
			newest, hash = n, r.GetLabels()["controller-revision-hash"]
		}
	}
	all, err := on.List(ctx, kube.Ref{APIVersion: "v1", Kind: "Pod", Namespace: pods.Namespace}, pods.Component+"="+pods.Daemon)
	var old []kube.Object
	for _, pod := range all {
		if hash != "" && pod.GetLabels()["controller-revision-hash"] != hash {
			old = append(old, pod)
		}
	}
	return old, err
}

// Apply implements Step.
func (s Renewed) Apply(ctx context.Context, on *kube.Client) error {
	for {
		old, err := outdated(ctx, on)
		if err != nil || len(old) == 0 {
			return err
		}
		if err := WaitWhole(ctx, on); err != nil {
			return err
		}
		if err := on.Delete(ctx, kube.RefOf(&old[0])); err != nil {
			return err
		}
		node, _, _ := unstructured.NestedString(old[0].Object, "spec", "nodeName")
		err = step.Wait{For: "glusterd on " + node, Limit: joinTime}.Until(ctx, func(ctx context.Context) error {
			if is, err := on.Get(ctx, kube.RefOf(&old[0])); err != nil || is != nil {
				return errors.Join(err, errors.New("the old one ends"))
			}
			return nil
		})
		if err == nil {
			err = WaitGlusterd(ctx, on, node)
		}
		if err == nil {
			err = WaitWhole(ctx, on)
		}
		if err != nil {
			return err
		}
	}
}

// WaitGlusterd waits until glusterd of a node can be reached.
func WaitGlusterd(ctx context.Context, on *kube.Client, node string) error {
	return step.Wait{For: "glusterd on " + node, Limit: joinTime}.Until(ctx, func(ctx context.Context) error {
		_, err := pods.Nodes{Kube: on}.On(ctx, node)
		return err
	})
}
