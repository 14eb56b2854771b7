package kube

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"picluster/firstboot/join"
)

const rbac = "rbac.authorization.k8s.io"

// opening is something that kubeadm makes and the join service takes the place of.
type opening struct {
	resource  schema.GroupVersionResource
	namespace string
	name      string
	what      string
}

// openings: kubeadm init makes them, and kubeadm upgrade makes them again
// (kubeadm documentation, "Turning off public access to the cluster-info
// ConfigMap" and "Turning off auto-approval of node client certificates").
var openings = []opening{
	{schema.GroupVersionResource{Group: rbac, Version: "v1", Resource: "clusterrolebindings"}, "",
		"kubeadm:node-autoapprove-bootstrap", "any bootstrap token becomes any node"},
	{schema.GroupVersionResource{Group: rbac, Version: "v1", Resource: "clusterrolebindings"}, "",
		"kubeadm:node-autoapprove-certificate-rotation", "revoked nodes renew their certificates"},
	{schema.GroupVersionResource{Group: rbac, Version: "v1", Resource: "rolebindings"}, "kube-public",
		"kubeadm:bootstrap-signer-clusterinfo", "anybody reads cluster-info"},
}

// shut closes what is open.
func (c *Cluster) shut(ctx context.Context, j Judge) error {
	for _, o := range openings {
		if err := c.shutOne(ctx, j, o); err != nil {
			return fmt.Errorf("remove %s: %w", o.name, err)
		}
	}
	return nil
}

func (c *Cluster) shutOne(ctx context.Context, j Judge, o opening) error {
	client := c.client.Resource(o.resource).Namespace(o.namespace)
	if _, err := client.Get(ctx, o.name, metav1.GetOptions{}); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	// The audit log first, as everywhere.
	if err := j.Shut(fmt.Sprintf("%s (%s)", o.name, o.what)); err != nil {
		return err
	}
	if err := client.Delete(ctx, o.name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return nil
}

var _ Judge = (*join.Service)(nil)
