package steps

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/gluster/brick"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/kube"
	"picluster/internal/cli"
	"picluster/internal/secret"
	"picluster/internal/step"
)

// StorageNode wants a node of Kubernetes to be one of the storage, or not.
type StorageNode struct {
	Node string
	Not  bool
}

// joinTime is how long a node may take to join that has not yet.
const joinTime = 10 * time.Minute

func (s StorageNode) ref() kube.Ref { return kube.Ref{APIVersion: "v1", Kind: "Node", Name: s.Node} }

// Name implements Step.
func (s StorageNode) Name() string { return "storage node " + s.Node }

// Check implements Step.
func (s StorageNode) Check(ctx context.Context, on *kube.Client) (string, error) {
	n, err := on.Get(ctx, s.ref())
	switch {
	case err != nil:
		return "", err
	case n == nil && s.Not:
		return "", nil
	case n == nil:
		return "has not joined the cluster", nil
	case s.Not && n.GetLabels()[storageLabel] != "":
		return "is labelled as one", nil
	case s.Not || n.GetLabels()[storageLabel] == "glusterfs":
		return "", nil
	}
	return "is not labelled as one", nil
}

// Apply implements Step. It waits for a node that has not joined.
func (s StorageNode) Apply(ctx context.Context, on *kube.Client) error {
	err := step.Wait{For: "node " + s.Node, Limit: joinTime}.Until(ctx, func(ctx context.Context) error {
		n, err := on.Get(ctx, s.ref())
		if err == nil && n == nil && !s.Not {
			err = errors.New("it has not joined the cluster")
		}
		return err
	})
	if err != nil {
		return err
	}
	labels := map[string]any{storageLabel: "glusterfs"}
	if s.Not {
		labels = map[string]any{} // what was ours and is not named goes
	}
	_, err = on.Apply(ctx, &kube.Object{Object: map[string]any{
		"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": s.Node, "labels": labels},
	}})
	return err
}

// Keys wants a Secret with the keys of Heketi's API. They are made once, but for the
// administrator's of a Heketi that is there already: Admin.
type Keys struct{ Admin secret.Text }

// Name implements Step.
func (Keys) Name() string { return "Secret " + pods.Namespace + "/" + StorageKeys }

var keysRef = kube.Ref{APIVersion: "v1", Kind: "Secret", Namespace: pods.Namespace, Name: StorageKeys}

// Check implements Step.
func (k Keys) Check(ctx context.Context, on *kube.Client) (string, error) {
	o, err := on.Get(ctx, keysRef)
	if err != nil {
		return "", err
	}
	if o == nil {
		return "is missing", nil
	}
	for _, user := range []string{"admin", "user"} {
		if key, _, _ := unstructured.NestedString(o.Object, "data", user); key == "" {
			return "has no key for " + user, nil
		}
	}
	if key, _, _ := unstructured.NestedString(o.Object, "data", "admin"); !k.Admin.IsZero() && key != encode(k.Admin.Reveal()) {
		return "has another key than storage.heketi", nil
	}
	return "", nil
}

// encode is the form of a Secret's values.
func encode(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// Apply implements Step.
func (k Keys) Apply(ctx context.Context, on *kube.Client) error {
	admin := rand.Text()
	if !k.Admin.IsZero() {
		admin = k.Admin.Reveal()
	}
	_, err := on.Apply(ctx, &kube.Object{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
		"metadata": map[string]any{"namespace": keysRef.Namespace, "name": keysRef.Name},
		"data":     map[string]any{"admin": encode(admin), "user": encode(rand.Text())},
	}})
	return err
}

// Converged wants the controller to have made of the nodes and devices what the
// topology says. It changes nothing and waits.
type Converged struct{}

// convergeTime is for devices that are made ready one after the other.
const convergeTime = 15 * time.Minute

// Name implements Step.
func (Converged) Name() string { return "storage topology" }

// Check implements Step.
func (Converged) Check(ctx context.Context, on *kube.Client) (string, error) {
	p, err := pods.ReadProblems(ctx, on)
	switch {
	case err != nil:
		return "", err
	case !p.Known:
		return "the controller has not looked at it", nil
	}
	return strings.Join(p.Problems, "; "), nil
}

// Apply implements Step. What a person has to decide is not waited for.
func (c Converged) Apply(ctx context.Context, on *kube.Client) error {
	var refused error
	err := step.Wait{For: "the storage's devices", Limit: convergeTime}.Until(ctx, func(ctx context.Context) error {
		drift, err := c.Check(ctx, on)
		if err != nil || drift == "" {
			return err
		}
		if strings.Contains(drift, brick.ErrData.Error()) { // in the controller's words
			refused = cli.Exit(cli.Refused, cli.Hint(errors.New(drift), "clusterctl disk add NODE DEVICE --wipe erases it"))
			return nil
		}
		return errors.New(drift)
	})
	if refused != nil {
		return refused
	}
	return err
}
