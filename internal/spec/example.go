package spec

import (
	"bytes"
	_ "embed"
)

//go:embed example.yaml
var example []byte

// Example returns the document that `imagebuilder init` writes: short, with a
// comment on everything in it. It loads as soon as the key that it names exists.
// The cluster is named after the given name, with what no name may have replaced
// by hyphens, or "home" if nothing is left of it.
func Example(name string) []byte {
	if name = labelFrom(name); name == "" {
		name = "home"
	}
	return bytes.Replace(example, []byte("\nname: home\n"), []byte("\nname: "+name+"\n"), 1)
}
