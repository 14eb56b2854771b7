// Package kube is the join service's way into a real Kubernetes: it makes bootstrap
// tokens, approves what join.Service allows and keeps shut what kubeadm opens.
//
// It has no policy: what is allowed is decided in package join. It is the only
// package of the agent that knows client-go, and of that the dynamic client: the
// typed one carries every type of every API and makes the agent three times as
// large (docs/decisions/0005-libraries.md).
package kube

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"picluster/firstboot/join"
)

// Limits of the client's own: two hundred cards may come at once.
const (
	callTime = 10 * time.Second
	perSec   = 50
	burst    = 100
)

var (
	secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	nodes   = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
)

// Cluster is a real Kubernetes.
type Cluster struct {
	ca     string
	client dynamic.Interface
	watch  dynamic.Interface // without a limit of time
}

var _ join.Cluster = (*Cluster)(nil)

// New makes the clients. It does not call the API server yet, which may come later.
func New(a join.Access) (*Cluster, error) {
	config := &rest.Config{Host: a.Server, BearerToken: a.Token.Reveal(), TLSClientConfig: rest.TLSClientConfig{CAData: []byte(a.CA)},
		UserAgent: "picluster-join", QPS: perSec, Burst: burst}
	watch, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	config.Timeout = callTime
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	return &Cluster{a.CA, client, watch}, nil
}

// CA implements join.Cluster. The file that it comes from is the API server's.
func (c *Cluster) CA(context.Context) (string, error) { return c.ca, nil }

// Admit implements join.Cluster.
func (c *Cluster) Admit(ctx context.Context, t join.Token) error {
	_, err := c.client.Resource(secrets).Namespace(join.Namespace).Create(ctx, tokenSecret(t), metav1.CreateOptions{})
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return fmt.Errorf("make bootstrap token %s: %w", t.ID, err)
}

// tokenSecret is a bootstrap token as the API server knows it (Kubernetes
// documentation, "Authenticating with Bootstrap Tokens").
func tokenSecret(t join.Token) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
		"metadata": map[string]any{"name": tokenName(t.ID), "namespace": join.Namespace,
			"labels": map[string]any{"picluster/node": t.Node, "picluster/card": t.CardID}},
		"stringData": map[string]any{
			"token-id": t.ID, "token-secret": t.Secret.Reveal(), "expiration": t.Expires.UTC().Format(time.RFC3339),
			"usage-bootstrap-authentication": "true", "auth-extra-groups": join.TokenGroup,
			"description": "picluster: for " + t.Node,
		},
	}}
}

func tokenName(id string) string { return "bootstrap-token-" + id }

// Dismiss implements join.Cluster.
func (c *Cluster) Dismiss(ctx context.Context, id string) error {
	err := c.client.Resource(secrets).Namespace(join.Namespace).Delete(ctx, tokenName(id), metav1.DeleteOptions{})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("remove bootstrap token %s: %w", id, err)
}

// Node implements join.Cluster.
func (c *Cluster) Node(ctx context.Context, name string) (*join.Node, error) {
	n, err := c.client.Resource(nodes).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for node %s: %w", name, err)
	}
	return &join.Node{UID: string(n.GetUID()), Ready: hasCondition(n, "Ready", "True")}, nil
}

// RemoveNode implements join.Cluster.
func (c *Cluster) RemoveNode(ctx context.Context, name, uid string) error {
	id := types.UID(uid)
	err := c.client.Resource(nodes).Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &id}})
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("remove node %s: %w", name, err)
}

// hasCondition looks into status.conditions; status "" is any.
func hasCondition(o *unstructured.Unstructured, kind, status string) bool {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == kind && (status == "" || m["status"] == status) {
			return true
		}
	}
	return false
}
