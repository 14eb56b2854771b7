package topology

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"picluster/internal/spec"
)

// Parse reads topology.json. The name is what problems call it. An error is always
// of type spec.Problems: all that is wrong, in the order of the file.
//
// Keys are found whatever their case, and devices may be strings or objects, as
// Heketi reads them. What it passes over in silence, such as a key that it does not
// know, is a problem here.
func Parse(name string, data []byte) (Topology, error) {
	p := &parser{file: name, data: bytes.TrimPrefix(data, []byte("\uFEFF")), seen: map[string]string{}}
	root, err := tree(p.data)
	if err != nil {
		p.problem(syntaxOffset(p.data, err), "", "%v", err)
		return Topology{}, p.problems
	}
	var t Topology
	p.fields(root, "", keys{"clusters": p.each(func(v value, field string) {
		t.Clusters = append(t.Clusters, p.cluster(v, field))
	})}, "clusters")
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b spec.Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return Topology{}, p.problems
	}
	return t, nil
}

// parser collects problems, and the names that must not come twice.
type parser struct {
	file     string
	data     []byte
	problems spec.Problems
	seen     map[string]string // what has a name → the field that had it first
}

// keys are what an object may have, and what becomes of each.
type keys map[string]func(v value, field string)

func (p *parser) problem(at int, field, format string, args ...any) *spec.Problem {
	line, column := position(p.data, at)
	p.problems = append(p.problems, spec.Problem{File: p.file, Line: line, Column: column, Field: field, Message: fmt.Sprintf(format, args...)})
	return &p.problems[len(p.problems)-1]
}

// is reports whether the value is of that kind, and notes it if not.
func (p *parser) is(v value, field string, want kind) bool {
	if v.kind != want {
		p.problem(v.at, field, "%s, want %s", v.kind, want)
	}
	return v.kind == want
}

// fields hands an object's members to those who read them.
func (p *parser) fields(v value, field string, known keys, required ...string) {
	if !p.is(v, field, object) {
		return
	}
	found := map[string]bool{}
	for _, m := range v.members {
		key := strings.ToLower(m.key)
		at := strings.TrimPrefix(field+"."+key, ".")
		read, ok := known[key]
		switch {
		case !ok:
			p.problem(m.at, field, "unknown key %.40q", m.key).Hint = "known are " + strings.Join(sortedKeys(known), ", ")
		case found[key]:
			p.problem(m.at, at, "is there twice")
		default:
			read(m.value, at)
		}
		found[key] = true
	}
	for _, key := range required {
		if !found[key] {
			p.problem(v.at, field, "%s is missing", key)
		}
	}
}

func sortedKeys(known keys) []string {
	var names []string
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// each reads a list that is not empty.
func (p *parser) each(read func(v value, field string)) func(value, string) {
	return func(v value, field string) {
		if !p.is(v, field, list) {
			return
		}
		if len(v.items) == 0 {
			p.problem(v.at, field, "is empty")
		}
		for i, item := range v.items {
			read(item, fmt.Sprintf("%s[%d]", field, i))
		}
	}
}

func (p *parser) flag(set *bool) func(value, string) {
	return func(v value, field string) {
		if p.is(v, field, boolean) {
			*set = v.yes
		}
	}
}

func (p *parser) cluster(v value, field string) (c Cluster) {
	file := true
	var block bool // block volumes are made nowhere here, whatever the file permits
	p.fields(v, field, keys{
		"nodes": p.each(func(v value, field string) { c.Nodes = append(c.Nodes, p.node(v, field)) }),
		"file":  p.flag(&file),
		"block": p.flag(&block),
	}, "nodes")
	if !file {
		p.problem(v.at, field+".file", "is false, and without files there is nothing that it could hold")
	}
	return c
}

func (p *parser) node(v value, field string) (n Node) {
	devices := map[string]bool{}
	p.fields(v, field, keys{
		"node": func(v value, field string) { p.host(v, field, &n) },
		"devices": func(v value, field string) {
			if !p.is(v, field, list) {
				return
			}
			for i, item := range v.items {
				d := p.device(item, fmt.Sprintf("%s[%d]", field, i))
				if devices[d.Name] && d.Name != "" {
					p.problem(item.at, fmt.Sprintf("%s[%d]", field, i), "%s is there twice", d.Name)
				}
				devices[d.Name] = true
				n.Devices = append(n.Devices, d)
			}
		},
	}, "node", "devices")
	return n
}

func (p *parser) host(v value, field string, n *Node) {
	p.fields(v, field, keys{
		"hostnames": func(v value, field string) {
			p.fields(v, field, keys{
				"manage":  p.each(p.name("manage", &n.Manage)),
				"storage": p.each(p.name("storage", &n.Storage)),
			}, "manage", "storage")
		},
		"zone":    func(v value, field string) { n.Zone = p.zone(v, field) },
		"tags":    p.tags(&n.Tags),
		"cluster": func(v value, field string) { p.is(v, field, text) }, // an id of Heketi's, which it overwrites
	}, "hostnames", "zone")
}

func (p *parser) zone(v value, field string) int {
	if !p.is(v, field, number) {
		return 0
	}
	zone, err := strconv.Atoi(v.text)
	if err != nil || zone < 1 {
		p.problem(v.at, field, "is %.20s, want a whole number from 1", v.text)
	}
	return zone
}

var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// name reads a host's name or address. No two nodes can have the same.
func (p *parser) name(what string, into *[]string) func(value, string) {
	return func(v value, field string) {
		if !p.is(v, field, text) {
			return
		}
		if address, err := netip.ParseAddr(v.text); err == nil && address.Is6() {
			// Bricks are HOST:PATH to gluster.
			p.problem(v.at, field, "%s is an IPv6 address, want IPv4 or a name", v.text)
			return
		}
		if !hostname.MatchString(v.text) {
			p.problem(v.at, field, "%.80q is neither a host name nor an IPv4 address", v.text)
			return
		}
		key := what + " " + strings.ToLower(v.text)
		if first, ok := p.seen[key]; ok {
			p.problem(v.at, field, "%s is %s too", v.text, first)
			return
		}
		p.seen[key] = field
		*into = append(*into, v.text)
	}
}

func (p *parser) tags(into *map[string]string) func(value, string) {
	return func(v value, field string) {
		if !p.is(v, field, object) {
			return
		}
		for _, m := range v.members {
			if p.is(m.value, field+"."+m.key, text) {
				if *into == nil {
					*into = map[string]string{}
				}
				(*into)[m.key] = m.value.text
			}
		}
	}
}

func (p *parser) device(v value, field string) (d Device) {
	name := func(v value, field string) {
		if !p.is(v, field, text) {
			return
		}
		if !DeviceName.MatchString(v.text) || path.Clean(v.text) != v.text {
			p.problem(v.at, field, "%.80q is no path of a device", v.text).Hint = "such as /dev/sda"
			return
		}
		d.Name = v.text
	}
	switch v.kind {
	case text:
		name(v, field)
	case object:
		p.fields(v, field, keys{"name": name, "destroydata": p.flag(&d.DestroyData), "tags": p.tags(&d.Tags)}, "name")
	default:
		p.problem(v.at, field, "%s, want a string or an object with name and destroydata", v.kind)
	}
	return d
}

// DeviceName is the form of a device's path, which Heketi's API has too.
var DeviceName = regexp.MustCompile(`^/[a-zA-Z0-9_.:/-]+$`)
