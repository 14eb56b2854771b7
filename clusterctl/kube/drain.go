package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

var (
	nodeRef = func(name string) Ref { return Ref{"v1", "Node", "", name} }
	podRef  = func(namespace, name string) Ref { return Ref{"v1", "Pod", namespace, name} }
)

// ErrNoNode is a node's that Kubernetes does not know.
var ErrNoNode = errors.New("Kubernetes has no such node")

// Cordon takes a node out of the scheduler's choice, or gives it back. The error is
// ErrNoNode if there is no such node.
func (c *Client) Cordon(ctx context.Context, node string, out bool) error {
	on, err := c.resource(ctx, nodeRef(node))
	if err != nil {
		return err
	}
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, out)
	_, err = on.Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("change node %s: %w", node, ErrNoNode)
	case err != nil:
		return wrap(err, "change node %s", node)
	}
	return nil
}

// DrainOptions say how a node is emptied.
type DrainOptions struct {
	Force   bool              // also end pods that no controller starts elsewhere
	Now     bool              // do not wait for the kubelet: the node is dead
	Waiting func(text string) // told what is waited for, once for each pod and reason
}

// UnmanagedError names pods that would be lost.
type UnmanagedError struct {
	Node string
	Pods []string
}

func (e *UnmanagedError) Error() string {
	return fmt.Sprintf("drain %s: nothing starts these pods elsewhere: %s", e.Node, strings.Join(e.Pods, ", "))
}

// Drain cordons a node and evicts its pods, until none is left. Evictions respect
// PodDisruptionBudgets: one that is refused is tried again. Pods of DaemonSets and of
// the kubelet itself stay. It waits for as long as the context lasts.
func (c *Client) Drain(ctx context.Context, node string, o DrainOptions) error {
	if err := c.Cordon(ctx, node, true); err != nil {
		return err
	}
	told := map[string]bool{}
	tell := func(text string) {
		if o.Waiting != nil && !told[text] {
			told[text] = true
			o.Waiting(text)
		}
	}
	for {
		pods, err := c.drainable(ctx, node, o.Force)
		if err != nil || len(pods) == 0 {
			return err
		}
		for i := range pods {
			if err := c.evict(ctx, &pods[i], o.Now, tell); err != nil {
				return fmt.Errorf("drain %s: %w", node, err)
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// drainable are the pods of a node that have to go.
func (c *Client) drainable(ctx context.Context, node string, force bool) ([]Object, error) {
	all, err := c.PodsOn(ctx, node)
	if err != nil {
		return nil, err
	}
	var pods []Object
	var alone []string
	for _, pod := range all {
		phase := text(&pod, "status", "phase")
		owner := metav1.GetControllerOf(&pod)
		_, isStatic := pod.GetAnnotations()["kubernetes.io/config.mirror"]
		switch {
		case isStatic, owner != nil && owner.Kind == "DaemonSet":
			continue
		case owner == nil && phase != "Succeeded" && phase != "Failed" && !force:
			alone = append(alone, pod.GetNamespace()+"/"+pod.GetName())
		}
		pods = append(pods, pod)
	}
	if len(alone) > 0 {
		return nil, &UnmanagedError{node, alone}
	}
	return pods, nil
}

// PodsOn lists all pods that are bound to a node.
func (c *Client) PodsOn(ctx context.Context, node string) ([]Object, error) {
	on, err := c.resource(ctx, podRef("", ""))
	if err != nil {
		return nil, err
	}
	list, err := on.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, wrap(err, "list pods of %s", node)
	}
	return list.Items, nil
}

// evict asks once for a pod to end.
func (c *Client) evict(ctx context.Context, pod *Object, now bool, tell func(string)) error {
	name := pod.GetNamespace() + "/" + pod.GetName()
	on, err := c.resource(ctx, RefOf(pod))
	if err != nil {
		return err
	}
	if now {
		none := int64(0)
		err := on.Delete(ctx, pod.GetName(), metav1.DeleteOptions{GracePeriodSeconds: &none})
		if err != nil && !apierrors.IsNotFound(err) {
			return wrap(err, "end pod %s", name)
		}
		return nil
	}
	if pod.GetDeletionTimestamp() != nil {
		tell("waiting for pod " + name + " to end")
		return nil
	}
	eviction := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "policy/v1", "kind": "Eviction",
		"metadata": map[string]any{"name": pod.GetName(), "namespace": pod.GetNamespace()}}}
	_, err = on.Create(ctx, eviction, metav1.CreateOptions{}, "eviction")
	switch {
	case err == nil, apierrors.IsNotFound(err):
		return nil
	case apierrors.IsTooManyRequests(err): // a PodDisruptionBudget says not now
		tell("waiting for pod " + name + ": its PodDisruptionBudget allows no eviction yet")
		return nil
	}
	return wrap(err, "evict pod %s", name)
}
