package spec

import (
	"encoding"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"picluster/internal/secret"
)

// decoder copies a tree of YAML into the document. It is strict, and stops at
// nothing: what is wrong is noted and the walk goes on.
//
// yaml's own decoder is not used because it names no columns and no nearest
// keys, and quotes values in its messages that may be passwords in a wrong place.
type decoder struct{ *report }

// fromYAML is implemented by values that have more than one form.
type fromYAML interface {
	fromYAML(d *decoder, n *yaml.Node, field string)
}

// tempting is implemented by structures into which people write secrets under
// keys that are never going to exist.
type tempting interface{ temptation() temptation }

// temptation says which keys those are and what to do instead. The key ""
// stands for a single value where the structure should be.
type temptation struct {
	keys []string
	use  string // the key that does it
	how  string
}

func temptationOf(v reflect.Value, key string) (temptation, bool) {
	t, ok := v.Interface().(tempting)
	if !ok || !slices.Contains(t.temptation().keys, key) {
		return temptation{}, false
	}
	return t.temptation(), true
}

// decode reads n, which stands at the given field, into what the pointer points at.
func (d *decoder) decode(n *yaml.Node, field string, pointer any) {
	d.value(n, field, reflect.ValueOf(pointer).Elem(), "")
}

func (d *decoder) value(n *yaml.Node, field string, into reflect.Value, tag reflect.StructTag) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return // `packages:` with nothing behind it: as if it were not there
	}
	if _, ok := d.at[field]; !ok || n.Kind != yaml.MappingNode && n.Kind != yaml.SequenceNode {
		d.at[field] = positionOf(n)
	}
	if n.Kind == yaml.AliasNode || n.Style&yaml.TaggedStyle != 0 {
		d.problem(field, "aliases (*) and tags (!) have no meaning here").Hint = "put a value that begins so into quotes"
		return
	}
	pointer := into.Addr().Interface()
	if v, ok := pointer.(fromYAML); ok {
		v.fromYAML(d, n, field)
		return
	}
	if isScalar(into) {
		d.scalar(n, field, into, tag)
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		d.mapping(n, field, into)
	case reflect.Slice:
		d.list(n, field, into, tag)
	case reflect.Map:
		d.texts(n, field, into)
	default:
		panic(fmt.Sprintf("spec: %s has the type %s, which decoder does not know", field, into.Type()))
	}
}

// isScalar reports whether the value is written as a single word or text.
func isScalar(v reflect.Value) bool {
	switch v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler, *secret.Text:
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int:
		return true
	}
	return false
}

func (d *decoder) scalar(n *yaml.Node, field string, into reflect.Value, tag reflect.StructTag) {
	if n.Kind != yaml.ScalarNode {
		d.wrongForm(n, field, describe(into.Type()))
		return
	}
	switch pointer := into.Addr().Interface().(type) {
	case *secret.Text:
		*pointer = secret.New(n.Value)
		return
	case encoding.TextUnmarshaler:
		if pointer.UnmarshalText([]byte(n.Value)) != nil {
			d.problem(field, "%s is not %s", quoted(n.Value), describe(into.Type()))
		}
		return
	}
	switch into.Kind() {
	case reflect.String:
		// Whatever YAML takes it for: a Wi-Fi network may be called 007 or true.
		into.SetString(n.Value)
		if words := tag.Get("oneof"); words != "" {
			d.oneOf(field, n.Value, strings.Split(words, "|"))
		}
	case reflect.Bool:
		if n.ShortTag() != "!!bool" {
			d.problem(field, "%s is neither true nor false", quoted(n.Value))
		}
		into.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int:
		number, err := strconv.Atoi(n.Value)
		if err != nil {
			d.problem(field, "%s is not a number", quoted(n.Value))
		}
		into.SetInt(int64(number))
	}
}

func (r *report) oneOf(field, value string, words []string) {
	if slices.Contains(words, value) {
		return
	}
	if len(words) == 1 {
		r.problem(field, "%s is not known here, want %s", quoted(value), words[0])
		return
	}
	r.problem(field, "%s is none of %s", quoted(value), strings.Join(words, ", ")).Hint = didYouMean(nearest(value, words))
}

func (d *decoder) mapping(n *yaml.Node, field string, into reflect.Value) {
	if t, ok := temptationOf(into, ""); ok && n.Kind == yaml.ScalarNode {
		d.problem(field, "secrets do not stand in this file").Hint = t.how
		return
	}
	if n.Kind != yaml.MappingNode {
		d.wrongForm(n, field, "a group of keys")
		return
	}
	members := keysOf(into)
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := positionOf(key)
		child := join(field, keyName(key.Value))
		member, known := members[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.problemAt(at, field, "a key has to be a word")
		case lines[key.Value] != 0:
			d.problemAt(at, child, "stands twice, first in line %d", lines[key.Value])
		case !known:
			d.unknownKey(at, field, key.Value, into)
		default:
			d.at[child] = at // of a structure; a single value moves it to itself
			if value.ShortTag() == "!!null" {
				delete(d.at, child)
			}
			d.value(value, child, member.value, member.tag)
		}
		lines[key.Value] = key.Line
	}
}

func (d *decoder) unknownKey(at position, field, key string, in reflect.Value) {
	child := join(field, keyName(key))
	if t, ok := temptationOf(in, key); ok {
		d.problemAt(at, child, "secrets do not stand in this file").Hint = t.how
		d.bad[join(field, t.use)] = true
		return
	}
	meant := nearest(key, slices.Collect(maps.Keys(keysOf(in))))
	if meant == "" {
		meant = elsewhere(key)
	} else {
		d.bad[join(field, meant)] = true // that it is missing goes without saying
	}
	d.problemAt(at, child, "unknown key").Hint = didYouMean(meant)
}

func (d *decoder) list(n *yaml.Node, field string, into reflect.Value, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		d.wrongForm(n, field, "a list")
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		child := fmt.Sprintf("%s[%d]", field, i)
		d.at[child] = positionOf(item)
		if item.ShortTag() == "!!null" && into.Type().Elem().Kind() != reflect.Struct {
			d.problem(child, "is empty")
		}
		d.value(item, child, into.Index(i), tag)
	}
}

// texts reads a map from words to texts, such as labels.
func (d *decoder) texts(n *yaml.Node, field string, into reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.wrongForm(n, field, "a group of keys")
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		child := join(field, keyName(key.Value))
		if into.MapIndex(reflect.ValueOf(key.Value)).IsValid() {
			d.problemAt(positionOf(key), child, "stands twice")
			continue
		}
		d.at[child] = positionOf(key)
		text := reflect.New(into.Type().Elem()).Elem()
		d.value(value, child, text, "")
		into.SetMapIndex(reflect.ValueOf(key.Value), text)
	}
}

// wrongForm does not quote what stands there: it may be a password on its own.
func (d *decoder) wrongForm(n *yaml.Node, field, want string) {
	have := map[yaml.Kind]string{yaml.ScalarNode: "a single value", yaml.SequenceNode: "a list", yaml.MappingNode: "a group of keys"}
	d.problemAt(positionOf(n), field, "is %s, want %s", have[n.Kind], want)
}

func positionOf(n *yaml.Node) position { return position{n.Line, n.Column} }

type member struct {
	value reflect.Value
	tag   reflect.StructTag
}

// keysOf returns the members of a structure that have a key, by key.
func keysOf(v reflect.Value) map[string]member {
	members := map[string]member{}
	for i := range v.NumField() {
		if key := keyOf(v.Type().Field(i)); key != "" {
			members[key] = member{v.Field(i), v.Type().Field(i).Tag}
		}
	}
	return members
}

// keyOf returns the key of a structure's member, "" if it has none.
func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return strings.TrimPrefix(key, "-")
}

// describe returns what a single value of the type looks like.
func describe(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[netip.Prefix]():
		return "an address with a prefix length, such as 10.77.0.0/24"
	case reflect.TypeFor[netip.Addr]():
		return "an address, such as 192.168.1.1"
	case reflect.TypeFor[Size]():
		return "a size, such as 15Gi"
	case reflect.TypeFor[Mode]():
		return "an octal mode, such as 0644"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a number"
	}
	return "text"
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}
