package kube

import (
	"testing"

	"picluster/clusterctl/manifests"
)

func object(t *testing.T, text string) *Object {
	t.Helper()
	objects, err := manifests.Parse(text)
	if err != nil || len(objects) != 1 {
		t.Fatalf("parse object: %v, %d of them", err, len(objects))
	}
	return objects[0]
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, resourceVersion: "7", generation: 3, labels: {example.org/team: a}}
spec:
  replicas: 2
  template:
    spec:
      containers:
      - {name: log, image: log:1}
      - {name: web, image: web:1, args: [-v]}
status: {replicas: 2}
`

func TestDifference(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(o map[string]any)
		want   string
	}{
		"nothing":             {func(o map[string]any) {}, ""},
		"the server's own":    {func(o map[string]any) { o["status"] = nil; meta(o)["resourceVersion"] = "8" }, ""},
		"a number":            {func(o map[string]any) { spec(o)["replicas"] = int64(3) }, "spec.replicas is 2, want 3"},
		"a key with a dot":    {func(o map[string]any) { meta(o)["labels"] = map[string]any{"example.org/team": "b"} }, "metadata.labels[example.org/team] is a, want b"},
		"one to be set":       {func(o map[string]any) { spec(o)["paused"] = true }, "spec.paused is not set, want true"},
		"one to be unset":     {func(o map[string]any) { delete(spec(o), "replicas") }, "spec.replicas is set, want it unset"},
		"a container by name": {func(o map[string]any) { containers(o)[1].(map[string]any)["image"] = "web:2" }, "spec.template.spec.containers[web].image is web:1, want web:2"},
		"a container before": {func(o map[string]any) {
			pod(o)["containers"] = append([]any{map[string]any{"name": "new"}}, containers(o)...)
		}, "spec.template.spec.containers[new] is not set"},
		"a list":  {func(o map[string]any) { containers(o)[1].(map[string]any)["args"] = []any{"-v", "-x"} }, "spec.template.spec.containers[web].args[1] is not set, want -x"},
		"several": {func(o map[string]any) { spec(o)["replicas"], spec(o)["paused"] = int64(3), true }, "spec.paused is not set, want true (and 1 more)"},
		"spaces":  {func(o map[string]any) { spec(o)["note"] = "two words" }, `spec.note is not set, want "two words"`},
		"a text":  {func(o map[string]any) { spec(o)["note"] = "two\nlines" }, "spec.note is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			want := object(t, deployment)
			tc.change(want.Object)
			if got := Difference(object(t, deployment), want); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDifference_showsNoSecret(t *testing.T) {
	live := object(t, "{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {key: b2xk}}")
	want := object(t, "{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {key: bmV3, other: eA==}}")
	if got := Difference(live, want); got != "data.key is not as wanted (and 1 more)" {
		t.Errorf("got %q", got)
	}
}

func meta(o map[string]any) map[string]any { return o["metadata"].(map[string]any) }
func spec(o map[string]any) map[string]any { return o["spec"].(map[string]any) }
func pod(o map[string]any) map[string]any {
	return spec(o)["template"].(map[string]any)["spec"].(map[string]any)
}
func containers(o map[string]any) []any { return pod(o)["containers"].([]any) }
