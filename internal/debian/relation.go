package debian

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Relation names a package that another one needs, conflicts with or provides.
type Relation struct {
	Name    string
	Arch    string // "any", "native" or an architecture behind a colon, or ""
	Op      string // <<, <=, =, >=, >>, or "" for any version
	Version string
}

func (r Relation) String() string {
	name := r.Name
	if r.Arch != "" {
		name += ":" + r.Arch
	}
	if r.Op == "" {
		return name
	}
	return fmt.Sprintf("%s (%s %s)", name, r.Op, r.Version)
}

// allows reports whether a package of that version is meant.
func (r Relation) allows(version string) bool {
	if r.Op == "" {
		return true
	}
	if version == "" { // what is provided without a version satisfies no versioned relation
		return false
	}
	c := Compare(version, r.Version)
	switch r.Op {
	case "<<", "<": // "<" is the old form; dpkg reads it as "<="
		return c < 0 || r.Op == "<" && c == 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	case ">>", ">":
		return c > 0 || r.Op == ">" && c == 0
	}
	return false
}

// Alternatives is a list of relations of which one is enough.
type Alternatives []Relation

func (a Alternatives) String() string {
	var text []string
	for _, r := range a {
		text = append(text, r.String())
	}
	return strings.Join(text, " | ")
}

func (a Alternatives) names(name string) bool {
	return slices.ContainsFunc(a, func(r Relation) bool { return r.Name == name })
}

var relation = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9+.-]*)(?::([a-z0-9-]+))?\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([^\s()]+)\s*\))?$`)

// ParseRelations reads a field like Depends.
func ParseRelations(field string) ([]Alternatives, error) {
	var all []Alternatives
	for group := range strings.SplitSeq(field, ",") {
		if strings.TrimSpace(group) == "" {
			continue
		}
		var some Alternatives
		for text := range strings.SplitSeq(group, "|") {
			m := relation.FindStringSubmatch(strings.TrimSpace(text))
			if m == nil {
				return nil, fmt.Errorf("read relation %q: it is none", strings.TrimSpace(text))
			}
			some = append(some, Relation{Name: m[1], Arch: m[2], Op: m[3], Version: m[4]})
		}
		all = append(all, some)
	}
	return all, nil
}

// flat reads a field without alternatives, like Provides or Conflicts.
func flat(field string) ([]Relation, error) {
	groups, err := ParseRelations(field)
	if err != nil {
		return nil, err
	}
	var all []Relation
	for _, g := range groups {
		all = append(all, g...)
	}
	return all, nil
}
