package spec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse wants an answer to every document: a cluster that can be printed
// and read back, or problems that each have a place and one line.
func FuzzParse(f *testing.F) {
	all, err := filepath.Glob(fixtures + "/*.yaml")
	if err != nil || len(all) == 0 {
		f.Fatalf("no fixtures: %v", err)
	}
	for _, path := range all {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{"", "\uFEFF", "\xff\xfe", "? [a]: b\n? {c: d}\n", "&a [*a]", "nodes: !!binary aGk=", "{nodes: {<<: *x}}", "%YAML 9.9\n---\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("c.yaml", data, world(map[string]string{"/desk/id_ed25519.pub": publicKey(t)}, nil))
		problems, ok := errors.AsType[Problems](err)
		switch {
		case err == nil && c.ClusterAddress(len(c.Nodes)+c.Spares-1).IsValid():
			if _, err := Parse("c.yaml", printed(t, c), References{Dir: "/desk", Home: "/home/anna"}); err != nil {
				t.Errorf("what was printed does not load: %v", err)
			}
		case err == nil:
			t.Error("a node has no address")
		case !ok || len(problems) == 0:
			t.Errorf("the error is %#v", err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 || p.Message == "" || strings.ContainsAny(p.String(), "\r\n\x1b") {
				t.Errorf("bad problem: %+v", p)
			}
		}
	})
}
