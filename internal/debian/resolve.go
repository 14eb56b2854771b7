package debian

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Request says what is to be installed where.
type Request struct {
	From []*Index
	// Want are names of packages; "name=1.2-3" takes that version, "name=1.2-*" the
	// newest that begins so.
	Want []string
	// There is what the machine has; nil is nothing.
	There *Installed
	// Essential also takes the packages that others need without naming them: for a
	// tree that begins empty.
	Essential bool
}

// UnmetError says which packages cannot be installed, and why: all that were found.
type UnmetError struct{ Reasons []string }

func (e *UnmetError) Error() string {
	return "resolve packages: " + strings.Join(e.Reasons, "; ")
}

// Resolve returns the packages that have to be installed, or replace older ones, so
// that what is wanted works: dependencies without recommendations, sorted by name. An
// installed package is replaced only where something needs another version, and then
// so are those that need its old one. It returns an UnmetError when that is
// impossible.
func Resolve(q Request) ([]*Package, error) {
	r := newResolver(q)
	for _, want := range q.Want {
		r.want(want)
	}
	if q.Essential {
		for _, name := range slices.Sorted(maps.Keys(r.offers)) {
			if r.offers[name][0].Essential {
				r.choose(r.offers[name][0], "it is essential")
			}
		}
	}
	// Each choice may need others, and may break what is there; the queue ends
	// because no name is chosen twice.
	for len(r.queue) > 0 {
		p := r.queue[0]
		r.queue = r.queue[1:]
		for _, need := range p.Needs {
			r.need(p, need)
		}
		r.keepWorking(p)
	}
	r.checkConflicts()
	if len(r.unmet) > 0 {
		slices.Sort(r.unmet)
		return nil, &UnmetError{slices.Compact(r.unmet)}
	}
	return slices.SortedFunc(maps.Values(r.chosen), func(a, b *Package) int { return cmp.Compare(a.Name, b.Name) }), nil
}

type resolver struct {
	there     *Installed
	offers    map[string][]*Package // by name, newest first
	providers map[string][]*Package // of a name that is not theirs, best first
	dependent map[string][]*Package // installed packages that need a name
	chosen    map[string]*Package
	queue     []*Package
	unmet     []string
}

func newResolver(q Request) *resolver {
	r := &resolver{there: q.There, offers: map[string][]*Package{}, providers: map[string][]*Package{},
		dependent: map[string][]*Package{}, chosen: map[string]*Package{}}
	if r.there == nil {
		r.there = &Installed{}
	}
	for _, x := range q.From {
		for _, p := range x.Packages {
			r.offers[p.Name] = append(r.offers[p.Name], p)
		}
	}
	for _, same := range r.offers {
		// Of equal versions the one of the source named first.
		slices.SortStableFunc(same, func(a, b *Package) int { return Compare(b.Version, a.Version) })
		for _, provided := range same[0].Provides {
			r.providers[provided.Name] = append(r.providers[provided.Name], same[0])
		}
	}
	for _, some := range r.providers {
		slices.SortFunc(some, func(a, b *Package) int {
			return cmp.Or(cmp.Compare(rankOf(a.Priority), rankOf(b.Priority)), cmp.Compare(a.Name, b.Name))
		})
	}
	for _, name := range slices.Sorted(maps.Keys(r.there.packages)) {
		p := r.there.packages[name]
		for _, need := range p.Needs {
			for _, alternative := range need {
				r.dependent[alternative.Name] = append(r.dependent[alternative.Name], p)
			}
		}
	}
	return r
}

func rankOf(priority string) int {
	order := []string{"required", "important", "standard", "optional"}
	if i := slices.Index(order, priority); i >= 0 {
		return i
	}
	return len(order)
}

// want takes what was asked for by name.
func (r *resolver) want(text string) {
	name, version, pinned := strings.Cut(text, "=")
	if r.there.assumed[name] {
		return
	}
	fits := func(have string) bool {
		prefix, open := strings.CutSuffix(version, "*")
		return !pinned || have == version || open && strings.HasPrefix(have, prefix)
	}
	if have, ok := r.there.Version(name); ok && fits(have) {
		return
	}
	for _, p := range r.offers[name] {
		if fits(p.Version) {
			r.choose(p, "it is wanted")
			return
		}
	}
	if pinned && len(r.offers[name]) > 0 {
		var have []string
		for _, p := range r.offers[name] {
			have = append(have, p.Version)
		}
		r.fail("%s %s is not offered, but %s", name, version, strings.Join(have, ", "))
		return
	}
	if some := r.providers[name]; !pinned && len(some) > 0 {
		r.choose(some[0], "it is wanted")
		return
	}
	r.fail("%s is not offered", name)
}

func (r *resolver) choose(p *Package, why string) {
	if old := r.chosen[p.Name]; old != nil {
		if old.Version != p.Version {
			r.fail("%s is needed in version %s and in %s (%s)", p.Name, old.Version, p.Version, why)
		}
		return
	}
	r.chosen[p.Name] = p
	r.queue = append(r.queue, p)
}

func (r *resolver) fail(format string, args ...any) {
	r.unmet = append(r.unmet, fmt.Sprintf(format, args...))
}

// need sees to it that one of the alternatives is there.
func (r *resolver) need(p *Package, a Alternatives) {
	if slices.ContainsFunc(a, r.met) {
		return
	}
	for _, relation := range a {
		for _, offer := range r.offers[relation.Name] {
			if r.chosen[offer.Name] == nil && relation.allows(offer.Version) {
				r.choose(offer, p.Name+" needs it")
				return
			}
		}
		for _, provider := range r.providers[relation.Name] {
			if r.chosen[provider.Name] == nil && provides(provider, relation) {
				r.choose(provider, p.Name+" needs it")
				return
			}
		}
	}
	r.fail("%s needs %s", p, a)
}

// met reports whether a relation holds with what is there and what was chosen.
func (r *resolver) met(a Relation) bool {
	if r.there.assumed[a.Name] {
		return true
	}
	if p := r.future(a.Name); p != nil && a.allows(p.Version) {
		return true
	}
	for _, p := range r.chosen {
		if provides(p, a) {
			return true
		}
	}
	for _, p := range r.there.packages {
		if r.chosen[p.Name] == nil && provides(p, a) {
			return true
		}
	}
	return false
}

// future is the package of that name once all is installed.
func (r *resolver) future(name string) *Package {
	if p := r.chosen[name]; p != nil {
		return p
	}
	return r.there.packages[name]
}

func provides(p *Package, a Relation) bool {
	return slices.ContainsFunc(p.Provides, func(provided Relation) bool {
		return provided.Name == a.Name && a.allows(provided.Version)
	})
}

// keepWorking takes newer versions of installed packages that p, replacing an older
// one or breaking them, would leave without what they need.
func (r *resolver) keepWorking(p *Package) {
	for _, d := range r.dependent[p.Name] {
		if r.chosen[d.Name] != nil {
			continue
		}
		for _, need := range d.Needs {
			if !need.names(p.Name) || slices.ContainsFunc(need, r.met) {
				continue
			}
			newest := r.newer(d)
			if newest == nil {
				r.fail("%s, which is installed, needs %s, and %s replaces that", d, need, p)
				continue
			}
			r.choose(newest, p.Name+" replaces what the older one needs")
			break
		}
	}
	for _, c := range p.Conflicts {
		old := r.there.packages[c.Name]
		if old == nil || old.Name == p.Name || r.chosen[c.Name] != nil || !c.allows(old.Version) {
			continue
		}
		if newest := r.newer(old); newest != nil { // checkConflicts looks whether it helped
			r.choose(newest, p.Name+" does not go with the older one")
		}
	}
}

// newer returns the newest version of an installed package, or nil if that is it.
func (r *resolver) newer(old *Package) *Package {
	newest := r.offers[old.Name]
	if len(newest) == 0 || Compare(newest[0].Version, old.Version) <= 0 {
		return nil
	}
	return newest[0]
}

// checkConflicts looks at the result. A package may conflict with a name that itself
// provides: that excludes the others who do.
func (r *resolver) checkConflicts() {
	check := func(p *Package, c Relation) {
		if q := r.future(c.Name); q != nil && q.Name != p.Name && c.allows(q.Version) {
			r.fail("%s does not go with %s", p, q)
		}
		for _, q := range r.chosen {
			if q.Name != p.Name && q.Name != c.Name && provides(q, c) {
				r.fail("%s does not go with %s, which provides %s", p, q, c.Name)
			}
		}
	}
	for _, p := range r.chosen {
		for _, c := range p.Conflicts {
			check(p, c)
		}
	}
	for _, p := range r.there.packages {
		for _, c := range p.Conflicts {
			if r.chosen[p.Name] == nil && r.chosen[c.Name] != nil {
				check(p, c)
			}
		}
	}
}
