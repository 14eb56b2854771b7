package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// resource is where the API server keeps a kind.
type resource struct {
	schema.GroupVersionResource
	kind       string
	namespaced bool
}

// UnknownKind is a kind that the API server does not have: one of a
// CustomResourceDefinition that is not there (yet).
type UnknownKind struct{ APIVersion, Kind string }

func (e *UnknownKind) Error() string {
	return fmt.Sprintf("find kind %s of %s: the API server has none", e.Kind, e.APIVersion)
}

func isAbsent(err error) bool {
	var unknown *UnknownKind
	return errors.As(err, &unknown)
}

// lookUp asks the API server once for each group and version. client-go's own
// discovery does the same, and has every type of every API behind it. What is not
// there is asked for again: a definition may have been applied meanwhile.
func (c *Client) lookUp(ctx context.Context, apiVersion, kind string) (resource, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := find(c.kinds[apiVersion], kind); ok {
		return r, nil
	}
	known, err := c.discover(ctx, apiVersion)
	if err != nil {
		return resource{}, err
	}
	c.kinds[apiVersion] = known
	if r, ok := find(known, kind); ok {
		return r, nil
	}
	return resource{}, &UnknownKind{apiVersion, kind}
}

func find(known []resource, kind string) (resource, bool) {
	for _, r := range known {
		if r.kind == kind {
			return r, true
		}
	}
	return resource{}, false
}

func (c *Client) discover(ctx context.Context, apiVersion string) ([]resource, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, fmt.Errorf("read apiVersion %q: %w", apiVersion, err)
	}
	path := "/apis/" + apiVersion
	if gv.Group == "" {
		path = "/api/" + apiVersion
	}
	data, err := c.raw.Get().AbsPath(path).DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(err, "ask for kinds of %s", apiVersion)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("read kinds of %s: %w", apiVersion, err)
	}
	var known []resource
	for _, r := range list.APIResources {
		if !isSubresource(r.Name) {
			known = append(known, resource{gv.WithResource(r.Name), r.Kind, r.Namespaced})
		}
	}
	return known, nil
}

func isSubresource(name string) bool { return strings.Contains(name, "/") }

// withCodec is what rest's own client wants, though it is only asked for bytes.
func withCodec(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	c.GroupVersion = &schema.GroupVersion{}
	return c
}
