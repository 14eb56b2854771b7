package pods

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/kube"
)

// The topology is a ConfigMap that the desk writes and the controller reads; what keeps
// the controller from it is one that the controller writes.
const (
	TopologyName = "storage-topology"
	TopologyKey  = "topology.json"
	problemsName = "storage-problems"
	problemsKey  = "problems"
)

func configMap(name string) kube.Ref {
	return kube.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: Namespace, Name: name}
}

func read(ctx context.Context, k *kube.Client, name, key string) (text string, version string, err error) {
	o, err := k.Get(ctx, configMap(name))
	if err != nil || o == nil {
		return "", "", err
	}
	text, _, _ = unstructured.NestedString(o.Object, "data", key)
	return text, o.GetResourceVersion(), nil
}

// ReadTopology returns the topology that the cluster is to have, "" if nobody has said,
// and which version of it that is.
func ReadTopology(ctx context.Context, k *kube.Client) (text, version string, err error) {
	return read(ctx, k, TopologyName, TopologyKey)
}

// Problems are what keeps the storage from being as its topology says, and for which
// topology that was found out.
type Problems struct {
	Known    bool // the controller has looked at this topology
	Problems []string
}

// ReadProblems returns what the controller has found out last.
func ReadProblems(ctx context.Context, k *kube.Client) (Problems, error) {
	_, version, err := read(ctx, k, TopologyName, TopologyKey)
	if err != nil || version == "" {
		return Problems{}, err
	}
	text, _, err := read(ctx, k, problemsName, problemsKey)
	about, problems, _ := strings.Cut(text, "\n")
	p := Problems{Known: about == "topology "+version}
	for line := range strings.Lines(problems) {
		p.Problems = append(p.Problems, strings.TrimSpace(line))
	}
	return p, err
}

// WriteProblems says what keeps the storage from being as the topology of a version
// says: an empty list is nothing. A list that is there already is not written again.
func WriteProblems(ctx context.Context, k *kube.Client, version string, problems []string) error {
	text := "topology " + version + "\n"
	for _, p := range problems {
		text += strings.Join(strings.Fields(p), " ") + "\n"
	}
	is, _, err := read(ctx, k, problemsName, problemsKey)
	if err != nil || is == text {
		return err
	}
	ref := configMap(problemsName)
	_, err = k.Apply(ctx, &kube.Object{Object: map[string]any{
		"apiVersion": ref.APIVersion, "kind": ref.Kind,
		"metadata": map[string]any{"namespace": ref.Namespace, "name": ref.Name},
		"data":     map[string]any{problemsKey: text},
	}})
	if err != nil {
		return fmt.Errorf("write the storage's problems: %w", err)
	}
	return nil
}
