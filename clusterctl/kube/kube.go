// Package kube is clusterctl's way into a Kubernetes API server: objects are read,
// applied and removed whatever their kind, and a port of a pod is reached through
// the API server.
//
// It has no policy; what is deployed is decided by its callers. It knows the dynamic
// client only: the typed one carries every type of every API along
// (docs/decisions/0005-libraries.md).
package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// FieldManager is who owns the fields that Apply sets (Kubernetes documentation,
// "Server-Side Apply").
const FieldManager = "picluster"

// callTime bounds one call: the API server of a Pi takes its time.
const callTime = 30 * time.Second

// Object is an object of any kind. Its Ref is RefOf's.
type Object = unstructured.Unstructured

// Ref names one object. Namespace is "" for kinds that have none.
type Ref struct {
	APIVersion string // "apps/v1"
	Kind       string // "DaemonSet"
	Namespace  string
	Name       string
}

// RefOf is an object's name.
func RefOf(o *Object) Ref {
	return Ref{o.GetAPIVersion(), o.GetKind(), o.GetNamespace(), o.GetName()}
}

// String is "DaemonSet kube-flannel/kube-flannel-ds".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Client talks to one API server. It is safe for concurrent use.
type Client struct {
	config  *rest.Config
	dynamic dynamic.Interface
	raw     rest.Interface

	mu    sync.Mutex
	kinds map[string][]resource // of each group and version that was asked for
}

// New makes a client and does not call the API server yet.
func New(config *rest.Config) (*Client, error) {
	klog.SetLogger(logr.Discard()) // client-go writes to standard error what it returns as an error too
	c := rest.CopyConfig(config)
	// The API server has its own way to share itself out ("API Priority and Fairness").
	c.UserAgent, c.QPS, c.Timeout = "clusterctl", -1, callTime
	c.WarningHandler = rest.NoWarnings{} // a person who deploys can do nothing about them
	d, err := dynamic.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	raw, err := rest.UnversionedRESTClientFor(withCodec(c))
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return &Client{config: c, dynamic: d, raw: raw, kinds: map[string][]resource{}}, nil
}

// Get returns an object, nil if there is none: also where its namespace or its kind
// is not there.
func (c *Client) Get(ctx context.Context, r Ref) (*Object, error) {
	on, err := c.resource(ctx, r)
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o, err := on.Get(ctx, r.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(err, "read %v", r)
	}
	return o, nil
}

// List returns the objects of Ref's kind in its namespace, of all namespaces where
// that is "". selector is of labels ("app=web"), "" for all.
func (c *Client) List(ctx context.Context, r Ref, selector string) ([]Object, error) {
	on, err := c.resource(ctx, r)
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Object
	options := metav1.ListOptions{LabelSelector: selector, Limit: 500}
	for {
		list, err := on.List(ctx, options)
		if err != nil {
			return nil, wrap(err, "list %s", r.Kind)
		}
		all = append(all, list.Items...)
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return all, nil
		}
	}
}

// Apply makes the object's fields what they are here and leaves all others alone;
// fields that an earlier Apply set and this one does not are taken away. Where
// somebody else owns a field, it becomes ours. It returns the object as it is then.
func (c *Client) Apply(ctx context.Context, o *Object) (*Object, error) { return c.apply(ctx, o, nil) }

// DryRun is what Apply would return, with the API server's defaults and refusals,
// and changes nothing.
func (c *Client) DryRun(ctx context.Context, o *Object) (*Object, error) {
	return c.apply(ctx, o, []string{metav1.DryRunAll})
}

func (c *Client) apply(ctx context.Context, o *Object, dryRun []string) (*Object, error) {
	on, err := c.resource(ctx, RefOf(o))
	if err != nil {
		return nil, err
	}
	applied, err := on.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: FieldManager, Force: true, DryRun: dryRun})
	if err != nil {
		return nil, wrap(err, "apply %v", RefOf(o))
	}
	return applied, nil
}

// Merge changes the fields of an object that a patch names, and removes those that
// are nil in it (RFC 7396).
func (c *Client) Merge(ctx context.Context, r Ref, patch map[string]any) error {
	on, err := c.resource(ctx, r)
	if err != nil {
		return err
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("change %v: %w", r, err)
	}
	if _, err := on.Patch(ctx, r.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: FieldManager}); err != nil {
		return wrap(err, "change %v", r)
	}
	return nil
}

// Delete begins to remove an object, and what it owns before it. It is no error if
// it is not there.
func (c *Client) Delete(ctx context.Context, r Ref) error {
	on, err := c.resource(ctx, r)
	if isAbsent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = on.Delete(ctx, r.Name, metav1.DeleteOptions{PropagationPolicy: propagation(r.Kind)})
	if err != nil && !apierrors.IsNotFound(err) {
		return wrap(err, "remove %v", r)
	}
	return nil
}

// propagation has pods go before the workload that they belong to.
func propagation(kind string) *metav1.DeletionPropagation {
	foreground := metav1.DeletePropagationForeground
	switch kind {
	case "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job":
		return &foreground
	}
	return nil // the API server's own, by kind
}

// Token makes a token of a service account that ends by itself (TokenRequest). The
// API server gives no less than ten minutes.
func (c *Client) Token(ctx context.Context, namespace, account string, lifetime time.Duration) (Token, error) {
	r := Ref{"v1", "ServiceAccount", namespace, account}
	on, err := c.resource(ctx, r)
	if err != nil {
		return Token{}, err
	}
	request := &Object{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"metadata": map[string]any{"name": account},
		"spec":     map[string]any{"expirationSeconds": int64(lifetime / time.Second)},
	}}
	o, err := on.Create(ctx, request, metav1.CreateOptions{}, "token")
	if err != nil {
		return Token{}, wrap(err, "ask for a token of %v", r)
	}
	return tokenOf(o)
}

// resource is the dynamic client's for a kind and namespace.
func (c *Client) resource(ctx context.Context, r Ref) (dynamic.ResourceInterface, error) {
	kind, err := c.lookUp(ctx, r.APIVersion, r.Kind)
	if err != nil {
		return nil, err
	}
	on := c.dynamic.Resource(kind.GroupVersionResource)
	if kind.namespaced && r.Namespace != "" {
		return on.Namespace(r.Namespace), nil
	}
	return on, nil
}
