package steps

import (
	"context"
	"slices"

	"picluster/clusterctl/kube"
	"picluster/internal/localregistry"
	"picluster/internal/spec"
	"picluster/internal/step"
)

// Of the registry, for who pushes to it.
const (
	RegistryNamespace = "registry"
	RegistryService   = "registry"
	RegistryWritePort = 5001 // on loopback of the pod
)

// registryDir is where the registry's data is without shared storage.
const registryDir = "/var/lib/picluster/registry"

func unwantedRegistry(c *spec.Cluster) string {
	if c.Addons.Registry {
		return ""
	}
	return "addons.registry: false"
}

func deployRegistry(e Env) ([]kube.Step, error) {
	objects, err := registryObjects(e.Cluster)
	if err != nil {
		return nil, err
	}
	steps := applied(objects)
	if hasStorage(e.Cluster) {
		steps = append([]kube.Step{defaultStorageClass()}, steps...)
	}
	return steps, nil
}

func removeRegistry(e Env) ([]kube.Step, error) {
	objects, err := allOf("registry")
	return absent(objects), err
}

func registryObjects(c *spec.Cluster) ([]*kube.Object, error) {
	objects, err := allOf("registry")
	if err != nil {
		return nil, err
	}
	address := localregistry.Address(c.Kubernetes.ServiceSubnet).String()
	if err := set(objects, "Service", RegistryService, address, "spec", "clusterIP"); err != nil {
		return nil, err
	}
	if err := restartWith(objects, "registry", "registry"); err != nil {
		return nil, err
	}
	if hasStorage(c) {
		return objects, nil
	}
	return onControlPlane(objects)
}

// onControlPlane keeps the registry's data in a directory of node0, the one node that
// stays the same. The directory is root's, so the registry runs as root there, with
// no rights beyond its own files; a pod security level that allows host paths is
// needed.
func onControlPlane(objects []*kube.Object) ([]*kube.Object, error) {
	objects = slices.DeleteFunc(objects, func(o *kube.Object) bool { return o.GetKind() == "PersistentVolumeClaim" })
	pod := func(field string) []string { return []string{"spec", "template", "spec", field} }
	type object = map[string]any
	for _, change := range []struct {
		kind   string
		value  any
		fields []string
	}{
		{"Namespace", "privileged", []string{"metadata", "labels", "pod-security.kubernetes.io/enforce"}},
		{"Deployment", object{"node-role.kubernetes.io/control-plane": ""}, pod("nodeSelector")},
		{"Deployment", []any{object{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}}, pod("tolerations")},
		{"Deployment", object{"seccompProfile": object{"type": "RuntimeDefault"}}, pod("securityContext")},
		{"Deployment", []any{
			object{"name": "config", "configMap": object{"name": "registry"}},
			object{"name": "data", "hostPath": object{"path": registryDir, "type": "DirectoryOrCreate"}},
		}, pod("volumes")},
	} {
		if err := set(objects, change.kind, "registry", change.value, change.fields...); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

func hasStorage(c *spec.Cluster) bool { return c.Storage.Backend != "none" }

// defaultStorageClass is what a claim that names no class waits for.
func defaultStorageClass() kube.Step {
	return step.Require("default StorageClass", func(ctx context.Context, on *kube.Client) (string, error) {
		classes, err := on.List(ctx, kube.Ref{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass"}, "")
		if err != nil {
			return "", err
		}
		for _, c := range classes {
			if c.GetAnnotations()["storageclass.kubernetes.io/is-default-class"] == "true" {
				return "", nil
			}
		}
		return "there is no storage yet: clusterctl deploy storage makes it", nil
	})
}
