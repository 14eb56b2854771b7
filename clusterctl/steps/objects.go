package steps

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/manifests"
)

// working are the kinds that are waited for.
var working = []string{"Deployment", "DaemonSet", "StatefulSet", "Job"}

// applied lists what applies the objects in their order, and then waits for all that
// do work: their images are pulled at the same time.
func applied(objects []*kube.Object) []kube.Step {
	var steps, waits []kube.Step
	for _, o := range objects {
		steps = append(steps, kube.Applied{Object: o, Once: o.GetKind() == "PersistentVolumeClaim"})
		if slices.Contains(working, o.GetKind()) {
			waits = append(waits, kube.Ready{Ref: kube.RefOf(o)})
		}
	}
	return append(steps, waits...)
}

// absent lists what removes the objects, the last first. What is in a namespace of
// theirs goes with it, all at once; but first what has pods, and claims: a namespace that
// is found with any of them is left for a while before it is looked at again.
func absent(objects []*kube.Object) []kube.Step {
	own := map[string]bool{}
	for _, o := range objects {
		if o.GetKind() == "Namespace" {
			own[o.GetName()] = true
		}
	}
	var steps []kube.Step
	for _, o := range slices.Backward(objects) {
		if !own[o.GetNamespace()] || slices.Contains(working, o.GetKind()) || o.GetKind() == "PersistentVolumeClaim" {
			steps = append(steps, kube.Absent{Ref: kube.RefOf(o), Ours: true})
		}
	}
	return steps
}

// allOf reads several manifests as one list.
func allOf(names ...string) ([]*kube.Object, error) {
	var all []*kube.Object
	for _, name := range names {
		objects, err := manifests.Read(name)
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
	}
	return all, nil
}

// restartWith makes a Deployment start its pods anew when a ConfigMap changes: most
// programs read their configuration once.
func restartWith(objects []*kube.Object, deployment, configMap string) error {
	for _, o := range objects {
		if o.GetKind() != "ConfigMap" || o.GetName() != configMap {
			continue
		}
		data, err := json.Marshal(o.Object["data"])
		if err != nil {
			return err
		}
		return restartOn(objects, deployment, fmt.Sprintf("%.8x", sha256.Sum256(data)))
	}
	return fmt.Errorf("fill in manifest: it has no ConfigMap %s", configMap)
}

// restartOn makes a Deployment start its pods anew when the digest is another one.
func restartOn(objects []*kube.Object, deployment, digest string) error {
	return set(objects, "Deployment", deployment, digest, "spec", "template", "metadata", "annotations", "picluster/config")
}

// set fills a field of the one object of a kind and name.
func set(objects []*kube.Object, kind, name string, value any, fields ...string) error {
	for _, o := range objects {
		if o.GetKind() == kind && o.GetName() == name {
			return unstructured.SetNestedField(o.Object, value, fields...)
		}
	}
	return fmt.Errorf("fill in manifest: it has no %s %s", kind, name)
}

// setFirstContainer fills in image and arguments of a workload's first container.
func setFirstContainer(objects []*kube.Object, kind, name, image string, args []any) error {
	for _, o := range objects {
		if o.GetKind() != kind || o.GetName() != name {
			continue
		}
		containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if err != nil || len(containers) == 0 {
			return fmt.Errorf("fill in manifest: %s %s has no container", kind, name)
		}
		first, _ := containers[0].(map[string]any)
		first["image"], first["args"] = image, args
		return unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers")
	}
	return fmt.Errorf("fill in manifest: it has no %s %s", kind, name)
}
