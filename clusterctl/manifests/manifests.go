// Package manifests has the objects of what clusterctl deploys, as files. They are our
// own, made from what the projects document, with versions pinned; what depends on
// cluster.yaml is filled in by package steps.
package manifests

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

//go:embed *.yaml
var files embed.FS

// Read returns the objects of a file ("registry"), in its order, which is the order
// to apply them in. They are the caller's.
func Read(name string) ([]*unstructured.Unstructured, error) {
	data, err := files.ReadFile(name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	objects, err := Parse(string(data))
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", name, err)
	}
	return objects, nil
}

// Parse returns the objects of YAML documents.
func Parse(text string) ([]*unstructured.Unstructured, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	var objects []*unstructured.Unstructured
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			return nil, err
		}
		if string(data) == "null" {
			continue // nothing but comments
		}
		o := new(unstructured.Unstructured)
		if err := o.UnmarshalJSON(data); err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
}
