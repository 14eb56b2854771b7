package spec

import (
	"fmt"
	"math"

	"go.yaml.in/yaml/v3"
)

// Settings are keys of a document of somebody else's: any structure, with values as
// encoding/json has them.
type Settings map[string]any

func (s *Settings) fromYAML(d *decoder, n *yaml.Node, field string) {
	if n.Kind != yaml.MappingNode {
		d.wrongForm(n, field, "a group of keys")
		return
	}
	*s, _ = d.free(n, field).(map[string]any)
}

// free reads any structure. What JSON has no word for is a problem.
func (d *decoder) free(n *yaml.Node, field string) any {
	if n.Kind == yaml.AliasNode || n.Style&yaml.TaggedStyle != 0 {
		d.problemAt(positionOf(n), field, "aliases (*) and tags (!) have no meaning here").Hint = "put a value that begins so into quotes"
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return d.freeMapping(n, field)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = d.free(item, fmt.Sprintf("%s[%d]", field, i))
		}
		return list
	}
	switch n.ShortTag() {
	case "!!null":
		d.problemAt(positionOf(n), field, "is empty")
		return nil
	case "!!bool", "!!int", "!!float":
		var value any
		if err := n.Decode(&value); err != nil {
			return n.Value // its form says number, its size says otherwise
		}
		return d.number(n, field, value)
	}
	return n.Value
}

func (d *decoder) freeMapping(n *yaml.Node, field string) map[string]any {
	group := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		child := join(field, keyName(key.Value))
		if key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0 || key.ShortTag() == "!!merge" {
			d.problemAt(positionOf(key), field, "a key has to be a word")
			continue
		}
		if _, twice := group[key.Value]; twice {
			d.problemAt(positionOf(key), child, "stands twice")
			continue
		}
		d.at[child] = positionOf(key)
		group[key.Value] = d.free(value, child)
	}
	return group
}

// number makes all numbers of one type, which is exact up to 2⁵³.
func (d *decoder) number(n *yaml.Node, field string, value any) any {
	switch v := value.(type) {
	case bool:
		return v
	case int:
		if float64(v) < 1<<53 && float64(v) > -1<<53 {
			return float64(v)
		}
	case float64:
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			return v
		}
	}
	d.problemAt(positionOf(n), field, "%s is out of range", quoted(n.Value))
	return nil
}
