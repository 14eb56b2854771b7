package kube

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"picluster/firstboot/join"
	"picluster/internal/joinapi"
)

var requests = schema.GroupVersionResource{Group: "certificates.k8s.io", Version: "v1", Resource: "certificatesigningrequests"}

// Judge decides on kubelets' requests: join.Service.
type Judge interface {
	Judge(q join.CSR) error
	// Shut notes that an opening was found and closed.
	Shut(what string) error
}

// Times of the loops. What a watch has missed, or what could not be decided, is
// looked at again when the watch ends.
const (
	watchTime = time.Minute
	pauseTime = 2 * time.Second
	shutEvery = 10 * time.Second
)

// Run approves, denies and shuts until ctx ends. An API server that is not there is
// waited for.
func (c *Cluster) Run(ctx context.Context, j Judge, log *slog.Logger) {
	var wg sync.WaitGroup
	wg.Go(func() { repeat(ctx, shutEvery, log, func() error { return c.shut(ctx, j) }) })
	wg.Go(func() { repeat(ctx, pauseTime, log, func() error { return c.approveAll(ctx, j, log) }) })
	wg.Wait()
}

// repeat calls do until ctx ends. An error ends nothing, and is logged once for as
// long as it is the same.
func repeat(ctx context.Context, pause time.Duration, log *slog.Logger, do func() error) {
	last := ""
	for ctx.Err() == nil {
		text := ""
		if err := do(); err != nil {
			text = err.Error()
		}
		if text != "" && text != last && ctx.Err() == nil {
			log.Warn("API server", "error", text)
		}
		last = text
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// approveAll decides on all requests there are, and then on those that come, for as
// long as one watch lasts.
func (c *Cluster) approveAll(ctx context.Context, j Judge, log *slog.Logger) error {
	list, err := c.client.Resource(requests).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list certificate requests: %w", err)
	}
	for i := range list.Items {
		c.decide(ctx, j, log, &list.Items[i])
	}
	seconds := int64(watchTime / time.Second)
	w, err := c.watch.Resource(requests).Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion(), TimeoutSeconds: &seconds})
	if err != nil {
		return fmt.Errorf("watch certificate requests: %w", err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if o, ok := event.Object.(*unstructured.Unstructured); ok && o.GetKind() == "CertificateSigningRequest" {
			c.decide(ctx, j, log, o)
		}
	}
	return nil
}

// decide answers one request, if it is a kubelet's that has no answer yet.
func (c *Cluster) decide(ctx context.Context, j Judge, log *slog.Logger, o *unstructured.Unstructured) {
	q, err := csrOf(o)
	if err != nil || q.Signer != join.ClientSigner && q.Signer != join.ServingSigner {
		return
	}
	if hasCondition(o, "Approved", "") || hasCondition(o, "Denied", "") {
		return
	}
	var refusal *joinapi.Refusal
	err = j.Judge(q)
	switch {
	case err == nil:
		err = c.answer(ctx, o, "Approved", "picluster", "the card that was made for this node asks for it")
	case errors.As(err, &refusal):
		err = c.answer(ctx, o, "Denied", string(refusal.Reason), refusal.Text)
	}
	if err != nil {
		log.Warn("certificate request", "name", q.Name, "error", err)
	}
}

func csrOf(o *unstructured.Unstructured) (join.CSR, error) {
	q := join.CSR{Name: o.GetName()}
	spec, _, err := unstructured.NestedMap(o.Object, "spec")
	if err != nil {
		return q, err
	}
	q.Signer, _ = spec["signerName"].(string)
	q.Username, _ = spec["username"].(string)
	q.Groups, _, _ = unstructured.NestedStringSlice(spec, "groups")
	q.Usages, _, _ = unstructured.NestedStringSlice(spec, "usages")
	text, _ := spec["request"].(string)
	q.Request, err = base64.StdEncoding.DecodeString(text)
	return q, err
}

// answer adds a condition. A conflict means that somebody else has changed the
// request; the watch brings it again.
func (c *Cluster) answer(ctx context.Context, o *unstructured.Unstructured, kind, reason, message string) error {
	o = o.DeepCopy()
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	conditions = append(conditions, map[string]any{"type": kind, "status": "True", "reason": reason, "message": message})
	if err := unstructured.SetNestedSlice(o.Object, conditions, "status", "conditions"); err != nil {
		return err
	}
	_, err := c.client.Resource(requests).Update(ctx, o, metav1.UpdateOptions{}, "approval")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
