package manifests

import (
	"strings"
	"testing"
)

func TestRead_everyFile(t *testing.T) {
	entries, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		objects, err := Read(strings.TrimSuffix(e.Name(), ".yaml"))
		if err != nil {
			t.Error(err)
		}
		if len(objects) == 0 {
			t.Errorf("%s has no objects", e.Name())
		}
		for _, o := range objects {
			if o.GetAPIVersion() == "" || o.GetKind() == "" || o.GetName() == "" {
				t.Errorf("%s: an object lacks its name or kind: %v", e.Name(), o)
			}
		}
	}
}

func TestParse(t *testing.T) {
	objects, err := Parse("# nothing\n---\napiVersion: v1\nkind: A\ncount: 7\n---\napiVersion: v1\nkind: B\n")
	if err != nil || len(objects) != 2 || objects[1].GetKind() != "B" {
		t.Fatalf("got %v, %v", objects, err)
	}
	if n, ok := objects[0].Object["count"].(int64); !ok || n != 7 {
		t.Errorf("a number is %T %v, want int64", objects[0].Object["count"], objects[0].Object["count"])
	}
	for _, bad := range []string{"{apiVersion: v1}", "a: [", "apiVersion: v1\nkind: A\nkind: B\n"} {
		if objects, err := Parse(bad); err == nil {
			t.Errorf("%q is read as %v", bad, objects)
		}
	}
	if _, err := Read("none"); err == nil {
		t.Error("a manifest that is not there is read")
	}
}
