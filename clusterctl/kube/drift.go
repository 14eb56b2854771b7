package kube

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Drift says in one sentence how the cluster differs from an object, "" if Apply
// would change nothing. The API server itself is asked what Apply would do, so its
// defaults are no drift, and what it refuses is an error.
func (c *Client) Drift(ctx context.Context, o *Object) (drift string, err error) {
	for range looks {
		live, err := c.Get(ctx, RefOf(o))
		if err != nil {
			return "", err
		}
		switch {
		case live == nil:
			return "is not there", nil
		case live.GetDeletionTimestamp() != nil:
			return "is being removed", nil
		}
		want, err := c.DryRun(ctx, o)
		if err != nil {
			return "", err
		}
		drift = Difference(live, want)
		if drift == "" || want.GetResourceVersion() == live.GetResourceVersion() {
			break
		}
	}
	return drift, nil
}

// looks bounds how often Drift looks again because a controller has changed the object
// between its two questions; a Deployment that was just made is.
const looks = 5

// serverFields of an object are the API server's affair.
var serverFields = [][]string{
	{"metadata", "managedFields"}, {"metadata", "resourceVersion"}, {"metadata", "generation"},
	{"metadata", "uid"}, {"metadata", "creationTimestamp"}, {"status"},
	{"metadata", "annotations", "deprecated.daemonset.template.generation"}, // counts changes
}

// Difference says in one sentence where two forms of an object differ: the first
// field, and how many more. It shows nothing of a Secret's content.
func Difference(live, want *Object) string {
	a, b := live.DeepCopy().Object, want.DeepCopy().Object
	for _, field := range serverFields {
		unstructured.RemoveNestedField(a, field...)
		unstructured.RemoveNestedField(b, field...)
	}
	d := differ{hide: want.GetKind() == "Secret"}
	d.compare("", a, b)
	switch len(d.found) {
	case 0:
		return ""
	case 1:
		return d.found[0]
	}
	return fmt.Sprintf("%s (and %d more)", d.found[0], len(d.found)-1)
}

// differ collects differences, a sentence each.
type differ struct {
	hide  bool
	found []string
}

func (d *differ) compare(path string, live, want any) {
	if reflect.DeepEqual(live, want) {
		return
	}
	switch w := want.(type) {
	case map[string]any:
		if l, ok := live.(map[string]any); ok {
			d.compareMaps(path, l, w)
			return
		}
	case []any:
		if l, ok := live.([]any); ok {
			d.compareMaps(path, byName(l), byName(w))
			return
		}
	}
	d.found = append(d.found, d.sentence(path, live, want))
}

func (d *differ) compareMaps(path string, live, want map[string]any) {
	all := map[string]bool{}
	for k := range live {
		all[k] = true
	}
	for k := range want {
		all[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		d.compare(join(path, k), live[k], want[k])
	}
}

// byName makes a list comparable: containers, ports and volumes have names, and
// keep them when one is put in before them.
func byName(list []any) map[string]any {
	m := map[string]any{}
	for i, item := range list {
		key := fmt.Sprint(i)
		if named, ok := item.(map[string]any); ok {
			if name, ok := named["name"].(string); ok {
				key = name
			}
		}
		m["["+key+"]"] = item
	}
	return m
}

func join(path, key string) string {
	switch {
	case path == "" || strings.HasPrefix(key, "["):
		return path + key
	case strings.ContainsAny(key, "./"):
		return path + "[" + key + "]"
	}
	return path + "." + key
}

func (d *differ) sentence(path string, live, want any) string {
	l, w := d.show(live), d.show(want)
	switch {
	case live == nil && w == "":
		return path + " is not set"
	case live == nil:
		return fmt.Sprintf("%s is not set, want %s", path, w)
	case want == nil:
		return path + " is set, want it unset"
	case l == "" || w == "" || l == w:
		return path + " is not as wanted"
	}
	return fmt.Sprintf("%s is %s, want %s", path, l, w)
}

// show prints what fits into a sentence, "" for the rest.
func (d *differ) show(v any) string {
	const longest = 60
	if d.hide {
		return ""
	}
	switch v := v.(type) {
	case map[string]any, []any, nil:
		return ""
	case string:
		if len(v) > longest || strings.Contains(v, "\n") {
			return ""
		}
		if v == "" || strings.Contains(v, " ") {
			return fmt.Sprintf("%q", v)
		}
		return v
	}
	return fmt.Sprint(v)
}
