package spec

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// What the reference gives as an example has to be allowed where it stands. Each is
// tried alone, in a document that is refused for what it lacks otherwise.
func TestDocs_examplesAreAllowed(t *testing.T) {
	tried := 0
	eachKey(reflect.TypeFor[Cluster](), "", func(path string, f reflect.StructField) {
		example := f.Tag.Get("example")
		if example == "" || strings.HasSuffix(example, "…") { // cut short for readers
			return
		}
		tried++
		field := strings.ReplaceAll(path, "[]", "[0]")
		document := alone(path, example)
		_, err := Parse("cluster.yaml", []byte(document), References{Home: "/home/anna"})
		var problems Problems
		if err != nil && !errors.As(err, &problems) {
			t.Fatal(err)
		}
		for _, p := range problems {
			// A problem without a field is one of the syntax.
			if p.Field == "" || p.Field == field || strings.HasPrefix(p.Field, field+".") || strings.HasPrefix(p.Field, field+"[") {
				t.Errorf("%s: %s", document, p)
			}
		}
	})
	if tried < 40 {
		t.Errorf("only %d examples were found", tried)
	}
}

// eachKey goes through all keys of the document, by their paths: nodes[].name.
func eachKey(owner reflect.Type, path string, visit func(path string, f reflect.StructField)) {
	for i := range owner.NumField() {
		f := owner.Field(i)
		key := keyOf(f)
		if key == "" {
			continue
		}
		visit(join(path, key), f)
		if inner, suffix, ok := structure(f.Type); ok {
			eachKey(inner, join(path, key)+suffix, visit)
		}
	}
}

// alone is a document with one key: {nodes: [{name: alpha}]}.
func alone(path, value string) string {
	document := value
	keys := strings.Split(path, ".")
	for i := len(keys) - 1; i >= 0; i-- {
		key, isList := strings.CutSuffix(keys[i], "[]")
		if isList {
			document = "[" + document + "]"
		}
		document = "{" + key + ": " + document + "}"
	}
	return document
}
