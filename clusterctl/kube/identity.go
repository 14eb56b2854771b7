package kube

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// identity is the ConfigMap that says which cluster this is.
var identity = Ref{"v1", "ConfigMap", "kube-system", "picluster"}

// ClusterID reads which cluster of picluster's this is, "" if it does not say.
func (c *Client) ClusterID(ctx context.Context) (string, error) {
	o, err := c.Get(ctx, identity)
	if err != nil || o == nil {
		return "", err
	}
	return text(o, "data", "clusterID"), nil
}

// Identity is the object that ClusterID reads.
func Identity(id, name string) *Object {
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": identity.APIVersion, "kind": identity.Kind,
		"data": map[string]any{"clusterID": id, "name": name},
	}}
	o.SetNamespace(identity.Namespace)
	o.SetName(identity.Name)
	return o
}

// NodeNames lists the cluster's nodes.
func (c *Client) NodeNames(ctx context.Context) ([]string, error) {
	nodes, err := c.List(ctx, Ref{APIVersion: "v1", Kind: "Node"}, "")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range nodes {
		names = append(names, n.GetName())
	}
	return names, nil
}
