package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/kube"
	"picluster/internal/cli"
)

// NoVolumes wants no volume of the storage to be in use: whoever has one would lose it.
type NoVolumes struct{}

// Name implements Step.
func (NoVolumes) Name() string { return "storage volumes" }

// Check implements Step.
func (NoVolumes) Check(ctx context.Context, on *kube.Client) (string, error) {
	claims, err := StorageClaims(ctx, on)
	if err != nil || len(claims) == 0 {
		return "", err
	}
	return "in use: " + strings.Join(claims, ", "), nil
}

// Apply implements Step. Claims are a person's.
func (s NoVolumes) Apply(ctx context.Context, on *kube.Client) error {
	drift, err := s.Check(ctx, on)
	if err == nil && drift != "" {
		err = cli.Exit(cli.Refused, cli.Hint(fmt.Errorf("remove storage: volumes are %s", drift), "remove the claims first"))
	}
	return err
}

// StorageClaims lists who has volumes of the storage, as "NAMESPACE/CLAIM".
func StorageClaims(ctx context.Context, on *kube.Client) ([]string, error) {
	volumes, err := on.List(ctx, kube.Ref{APIVersion: "v1", Kind: "PersistentVolume"}, "")
	if err != nil {
		return nil, err
	}
	var claims []string
	for _, v := range volumes {
		if driver, _, _ := unstructured.NestedString(v.Object, "spec", "csi", "driver"); driver != StorageDriver {
			continue
		}
		namespace, _, _ := unstructured.NestedString(v.Object, "spec", "claimRef", "namespace")
		name, _, _ := unstructured.NestedString(v.Object, "spec", "claimRef", "name")
		claims = append(claims, namespace+"/"+name)
	}
	slices.Sort(claims)
	return claims, nil
}

// NoneInPool wants no volume to be in the storage. One that heketi-cli has made is no
// object of Kubernetes, and the list of devices goes with the namespace: nobody would find
// it again.
type NoneInPool struct{}

// Name implements Step.
func (NoneInPool) Name() string { return "volumes in the pool" }

// Check implements Step. Where glusterd has been removed that was allowed before, and
// there is nobody left to ask.
func (NoneInPool) Check(ctx context.Context, on *kube.Client) (string, error) {
	daemons, err := on.Get(ctx, workload("DaemonSet", pods.Daemon))
	if err != nil || daemons == nil {
		return "", err
	}
	var names []string
	err = eachPool(ctx, on, func(pool gluster.CLI) error {
		volumes, err := pool.Volumes(ctx)
		for _, v := range volumes {
			names = append(names, v.Name)
		}
		return err
	})
	if err != nil || names == nil {
		return "", err
	}
	return "are there: " + strings.Join(names, ", "), nil
}

// Apply implements Step. What is in a volume is a person's.
func (s NoneInPool) Apply(ctx context.Context, on *kube.Client) error {
	drift, err := s.Check(ctx, on)
	if err == nil && drift != "" {
		err = cli.Exit(cli.Refused, cli.Hint(fmt.Errorf("remove storage: volumes %s", drift),
			"delete them first by what has made them; clusterctl storage reset erases them with all of the storage"))
	}
	return err
}
