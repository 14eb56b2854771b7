package pods

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/kube"
)

// stateName is the ConfigMap of the state, and stateKey the document in it.
const (
	stateName = "storage-state"
	stateKey  = "state.json"
	holderKey = "holder"
)

// Store keeps the engine's state in a ConfigMap.
//
// One engine at a time may change it: the one that has taken it last. The one before,
// should it still run, is told at its next change. The API server's versions of objects
// see to it that none is overlooked.
type Store struct {
	Kube   *kube.Client
	Holder string // who changes it; "": nobody, it is only read
}

var _ engine.Store = Store{}

// ErrTaken is what the engine gets that another one has taken the state from.
var ErrTaken = errors.New("another controller has taken over")

var stateRef = kube.Ref{APIVersion: "v1", Kind: "ConfigMap", Namespace: Namespace, Name: stateName}

// Take makes this engine the one that changes the state.
func (s Store) Take(ctx context.Context) error {
	is, err := s.Kube.Get(ctx, stateRef)
	if err != nil {
		return fmt.Errorf("take storage state: %w", err)
	}
	state := "{\n\t\"clusters\": null\n}\n"
	if is != nil {
		state, _, _ = unstructured.NestedString(is.Object, "data", stateKey)
	}
	return s.write(ctx, is, state)
}

// Load implements engine.Store.
func (s Store) Load(ctx context.Context) (engine.State, error) {
	state, _, err := s.load(ctx)
	return state, err
}

func (s Store) load(ctx context.Context) (state engine.State, is *kube.Object, err error) {
	if is, err = s.Kube.Get(ctx, stateRef); err != nil {
		return state, nil, fmt.Errorf("load storage state: %w", err)
	}
	if is == nil {
		return state, nil, nil
	}
	holder, _, _ := unstructured.NestedString(is.Object, "data", holderKey)
	if s.Holder != "" && holder != s.Holder {
		return state, nil, fmt.Errorf("load storage state: %w: %s", ErrTaken, holder)
	}
	text, _, _ := unstructured.NestedString(is.Object, "data", stateKey)
	in := json.NewDecoder(bytes.NewReader([]byte(text)))
	in.DisallowUnknownFields()
	if err := in.Decode(&state); err != nil {
		return engine.State{}, nil, fmt.Errorf("load storage state: %w", err)
	}
	return state, is, nil
}

// Save implements engine.Store.
func (s Store) Save(ctx context.Context, state engine.State) error {
	if s.Holder == "" {
		return errors.New("save storage state: it is open for reading only")
	}
	_, is, err := s.load(ctx)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(state, "", "\t")
	if err != nil {
		return fmt.Errorf("save storage state: %w", err)
	}
	return s.write(ctx, is, string(data)+"\n")
}

// write refuses with a conflict if somebody has written since is was read.
func (s Store) write(ctx context.Context, is *kube.Object, state string) error {
	o := &kube.Object{Object: map[string]any{
		"apiVersion": stateRef.APIVersion, "kind": stateRef.Kind,
		"metadata": map[string]any{"namespace": stateRef.Namespace, "name": stateRef.Name},
		"data":     map[string]any{stateKey: state, holderKey: s.Holder},
	}}
	if is != nil {
		o.SetResourceVersion(is.GetResourceVersion())
	}
	if _, err := s.Kube.Apply(ctx, o); err != nil {
		return fmt.Errorf("save storage state: %w", err)
	}
	return nil
}
