package spec

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"picluster/internal/golden"
	"picluster/internal/secret"
)

// The reference is made from the types: keys from their tags, meanings from
// their comments, defaults from setDefaults.
func TestDocs_sayWhatTheTypesSay(t *testing.T) {
	head, err := os.ReadFile("testdata/cluster-yaml.head.md")
	if err != nil {
		t.Fatal(err)
	}
	page := reference{comments: commentsOf(t, "spec.go"), paths: map[reflect.Type][]string{}}
	page.WriteString(string(head))
	defaults := withOneOfEach()
	page.collect(reflect.TypeFor[Cluster](), "")
	page.section(reflect.ValueOf(defaults), "")
	page.WriteString("\nThe file that `imagebuilder init` writes:\n\n```yaml\n" + string(Example("home")) + "```\n")
	golden.Equal(t, "../../docs/cluster-yaml.md", []byte(page.String()))
}

func TestDocs_explainEveryKey(t *testing.T) {
	comments := commentsOf(t, "spec.go")
	page := reference{paths: map[reflect.Type][]string{reflect.TypeFor[Cluster](): {""}}}
	page.collect(reflect.TypeFor[Cluster](), "")
	for owner := range page.paths {
		for i := range owner.NumField() {
			if name := owner.Name() + "." + owner.Field(i).Name; keyOf(owner.Field(i)) != "" && comments[name] == "" {
				t.Errorf("%s has no comment", name)
			}
		}
	}
}

// withOneOfEach is a document with a single item in every list, as it is
// after the defaults have been filled in.
func withOneOfEach() Cluster {
	c := Cluster{Nodes: make(Nodes, 1), Network: Network{WiFi: make([]WiFi, 1)}, System: System{Files: make([]File, 1)}}
	c.setDefaults(func(field string) bool {
		return slices.Contains([]string{"nodes", "network.wifi", "system.files"}, field)
	})
	return c
}

type reference struct {
	strings.Builder
	comments map[string]string
	paths    map[reflect.Type][]string // where each type stands; a type is explained once
	done     []reflect.Type
}

// collect finds where each structure stands.
func (p *reference) collect(t reflect.Type, path string) {
	for i := range t.NumField() {
		if key := keyOf(t.Field(i)); key != "" {
			if inner, suffix, ok := structure(t.Field(i).Type); ok {
				p.paths[inner] = append(p.paths[inner], join(path, key)+suffix)
				p.collect(inner, join(path, key)+suffix)
			}
		}
	}
}

// structure returns the structure that a key holds, alone or in a list.
func structure(t reflect.Type) (inner reflect.Type, suffix string, ok bool) {
	if t.Kind() == reflect.Slice {
		t, suffix = t.Elem(), "[]"
	}
	return t, suffix, t.Kind() == reflect.Struct && !isScalar(reflect.New(t).Elem())
}

func (p *reference) section(v reflect.Value, title string) {
	if slices.Contains(p.done, v.Type()) {
		return
	}
	p.done = append(p.done, v.Type())
	if title != "" {
		fmt.Fprintf(p, "\n## %s\n\n%s\n\n", title, p.comments[v.Type().Name()])
	}
	p.WriteString("| key | what stands there | default | example | meaning |\n|---|---|---|---|---|\n")
	var inner []reflect.Value
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if keyOf(f) == "" {
			continue
		}
		fmt.Fprintf(p, "| `%s` | %s | %s | %s | %s |\n", keyOf(f), p.form(f), standard(f, v.Field(i)), code(f.Tag.Get("example")), p.comments[v.Type().Name()+"."+f.Name])
		if _, suffix, ok := structure(f.Type); ok && suffix == "" {
			inner = append(inner, v.Field(i))
		} else if ok {
			inner = append(inner, v.Field(i).Index(0))
		}
	}
	for _, v := range inner {
		p.section(v, strings.Join(p.paths[v.Type()], ", "))
	}
}

// form says what kind of value a key has.
func (p *reference) form(f reflect.StructField) string {
	if words := f.Tag.Get("oneof"); words != "" {
		return "`" + strings.ReplaceAll(words, "|", "`, `") + "`"
	}
	link := func(t reflect.Type) string {
		title := strings.Join(p.paths[t], ", ")
		return fmt.Sprintf("[%s](#%s)", p.paths[t][0], strings.NewReplacer(".", "", "[", "", "]", "", ",", "", " ", "-").Replace(strings.ToLower(title)))
	}
	switch inner, suffix, ok := structure(f.Type); {
	case f.Type == reflect.TypeFor[Nodes]():
		return "number, or list of " + link(inner)
	case ok && suffix != "":
		return "list of " + link(inner)
	case ok:
		return link(inner)
	case f.Type.Kind() == reflect.Slice:
		return "list of " + word(f.Type.Elem())
	}
	return word(f.Type)
}

func word(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[netip.Prefix]():
		return "address/length"
	case reflect.TypeFor[netip.Addr]():
		return "address"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[Mode]():
		return "octal mode"
	case reflect.TypeFor[secret.Text]():
		return "text"
	case reflect.TypeFor[Settings]():
		return "any keys"
	}
	return map[reflect.Kind]string{reflect.String: "text", reflect.Bool: "true, false", reflect.Int: "number", reflect.Map: "keys with texts"}[t.Kind()]
}

func standard(f reflect.StructField, v reflect.Value) string {
	if words := f.Tag.Get("default"); words != "" {
		return words
	}
	if _, _, ok := structure(f.Type); ok {
		return ""
	}
	if text, ok := v.Interface().(encoding.TextMarshaler); ok && !v.IsZero() {
		b, err := text.MarshalText()
		if err != nil {
			panic(err)
		}
		return code(string(b))
	}
	if v.Kind() == reflect.Bool || !v.IsZero() && v.Kind() != reflect.Slice || v.Kind() == reflect.Int {
		return code(fmt.Sprint(v.Interface()))
	}
	return "–"
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// commentsOf returns the comments on a file's types and on their members, each
// as one line, by "Type" and "Type.Member".
func commentsOf(t *testing.T, file string) map[string]string {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	for _, decl := range tree.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range group.Specs {
			if spec, ok := s.(*ast.TypeSpec); ok {
				comments[spec.Name.Name] = oneLine(group.Doc)
				if members, ok := spec.Type.(*ast.StructType); ok {
					for _, f := range members.Fields.List {
						for _, name := range f.Names {
							comments[spec.Name.Name+"."+name.Name] = oneLine(f.Doc)
						}
					}
				}
			}
		}
	}
	return comments
}

func oneLine(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }
