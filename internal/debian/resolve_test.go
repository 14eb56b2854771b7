package debian

import (
	"errors"
	"strings"
	"testing"

	"picluster/internal/blob"
)

// offer makes an index of packages, written as paragraphs without the fields that
// repositories add.
func offer(t *testing.T, text string) *Index {
	t.Helper()
	x := &Index{}
	for s, err := range Stanzas(strings.NewReader(text), "test") {
		if err != nil {
			t.Fatal(err)
		}
		p, err := parsePackage(append(s, Field{"Architecture", "arm64"}))
		if err != nil {
			t.Fatal(err)
		}
		p.File = blob.Ref{SHA256: strings.Repeat("0", 64)}
		x.Packages = append(x.Packages, p)
	}
	return x
}

func installed(t *testing.T, text string) *Installed {
	t.Helper()
	text = strings.ReplaceAll(text, "Version:", "Status: install ok installed\nArchitecture: arm64\nVersion:")
	in, err := ReadInstalled(strings.NewReader(text), "arm64")
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func TestResolve(t *testing.T) {
	cases := []struct {
		name               string
		offers, there      string
		want, gets, reason string
	}{
		{name: "chain",
			offers: "Package: aa\nVersion: 1\nDepends: bb\n\nPackage: bb\nVersion: 1\nPre-Depends: cc\n\nPackage: cc\nVersion: 1\n\nPackage: dd\nVersion: 1\n",
			want:   "aa", gets: "aa 1, bb 1, cc 1"},
		{name: "circle",
			offers: "Package: aa\nVersion: 1\nDepends: bb\n\nPackage: bb\nVersion: 1\nDepends: aa\n",
			want:   "aa", gets: "aa 1, bb 1"},
		{name: "no recommendations",
			offers: "Package: aa\nVersion: 1\nRecommends: bb\n\nPackage: bb\nVersion: 1\n",
			want:   "aa", gets: "aa 1"},
		{name: "newest of two sources",
			offers: "Package: aa\nVersion: 1\n\nPackage: aa\nVersion: 1+deb13u1\n\nPackage: aa\nVersion: 1~rc1\n",
			want:   "aa", gets: "aa 1+deb13u1"},
		{name: "named version",
			offers: "Package: aa\nVersion: 1.37.2-1.1\n\nPackage: aa\nVersion: 1.37.3-1.1\n",
			want:   "aa=1.37.2-1.1", gets: "aa 1.37.2-1.1"},
		{name: "newest revision of a version",
			offers: "Package: aa\nVersion: 1.37.2-1.1\n\nPackage: aa\nVersion: 1.37.2-2.1\n\nPackage: aa\nVersion: 1.37.3-1.1\n",
			want:   "aa=1.37.2-*", gets: "aa 1.37.2-2.1"},
		{name: "named version that is not offered",
			offers: "Package: aa\nVersion: 1.37.3-1.1\n",
			want:   "aa=1.37.2-*", reason: "aa 1.37.2-* is not offered, but 1.37.3-1.1"},
		{name: "first alternative",
			offers: "Package: aa\nVersion: 1\nDepends: bb | cc\n\nPackage: bb\nVersion: 1\n\nPackage: cc\nVersion: 1\n",
			want:   "aa", gets: "aa 1, bb 1"},
		{name: "alternative that is there",
			offers: "Package: aa\nVersion: 1\nDepends: bb | cc\n\nPackage: bb\nVersion: 1\n",
			there:  "Package: cc\nVersion: 1\n",
			want:   "aa", gets: "aa 1"},
		{name: "alternative that exists",
			offers: "Package: aa\nVersion: 1\nDepends: bb (>= 2) | cc\n\nPackage: bb\nVersion: 1\n\nPackage: cc\nVersion: 1\n",
			want:   "aa", gets: "aa 1, cc 1"},
		{name: "virtual package",
			offers: "Package: aa\nVersion: 1\nDepends: mta\n\nPackage: zz\nVersion: 1\nPriority: optional\nProvides: mta\n\nPackage: bb\nVersion: 1\nPriority: extra\nProvides: mta\n",
			want:   "aa", gets: "aa 1, zz 1"},
		{name: "virtual package that something there provides",
			offers: "Package: aa\nVersion: 1\nDepends: mta\n\nPackage: bb\nVersion: 1\nProvides: mta\n",
			there:  "Package: cc\nVersion: 1\nProvides: mta\n",
			want:   "aa", gets: "aa 1"},
		{name: "a version provided",
			offers: "Package: aa\nVersion: 1\nDepends: api (>= 2)\n\nPackage: bb\nVersion: 1\nProvides: api\n\nPackage: cc\nVersion: 1\nProvides: api (= 2)\n",
			want:   "aa", gets: "aa 1, cc 1"},
		{name: "architecture behind a name",
			offers: "Package: aa\nVersion: 1\nDepends: perl:any\n\nPackage: perl\nVersion: 5\nMulti-Arch: allowed\n",
			want:   "aa", gets: "aa 1, perl 5"},
		{name: "installed is enough",
			offers: "Package: aa\nVersion: 1\nDepends: bb (>= 1)\n\nPackage: bb\nVersion: 2\n",
			there:  "Package: bb\nVersion: 1\n",
			want:   "aa", gets: "aa 1"},
		{name: "wanted is there",
			offers: "Package: aa\nVersion: 2\n", there: "Package: aa\nVersion: 1\n",
			want: "aa", gets: ""},
		{name: "installed is too old",
			offers: "Package: aa\nVersion: 1\nDepends: bb (>= 2)\n\nPackage: bb\nVersion: 2\n",
			there:  "Package: bb\nVersion: 1\n",
			want:   "aa", gets: "aa 1, bb 2"},
		{name: "siblings of an installed one go with it",
			offers: "Package: aa\nVersion: 1\nDepends: libb (>= 2)\n\nPackage: libb\nVersion: 2\n\nPackage: bb-tools\nVersion: 2\nDepends: libb (= 2)\n",
			there:  "Package: libb\nVersion: 1\n\nPackage: bb-tools\nVersion: 1\nDepends: libb (= 1)\n",
			want:   "aa", gets: "aa 1, bb-tools 2, libb 2"},
		{name: "sibling without a newer version",
			offers: "Package: aa\nVersion: 1\nDepends: libb (>= 2)\n\nPackage: libb\nVersion: 2\n",
			there:  "Package: libb\nVersion: 1\n\nPackage: bb-tools\nVersion: 1\nDepends: libb (= 1)\n",
			want:   "aa", reason: "bb-tools 1, which is installed, needs libb (= 1), and libb 2 replaces that"},
		{name: "breaks an installed one",
			offers: "Package: aa\nVersion: 1\nBreaks: bb (<< 2)\n\nPackage: bb\nVersion: 2\n",
			there:  "Package: bb\nVersion: 1\n",
			want:   "aa", gets: "aa 1, bb 2"},
		{name: "conflicts with an installed one",
			offers: "Package: aa\nVersion: 1\nConflicts: bb\n",
			there:  "Package: bb\nVersion: 1\n",
			want:   "aa", reason: "aa 1 does not go with bb 1"},
		{name: "conflict of two",
			offers: "Package: aa\nVersion: 1\n\nPackage: bb\nVersion: 1\nConflicts: aa\n",
			want:   "aa bb", reason: "bb 1 does not go with aa 1"},
		{name: "its own conflict",
			offers: "Package: aa\nVersion: 1\nProvides: mta\nConflicts: mta\n",
			want:   "aa", gets: "aa 1"},
		{name: "conflict with what another provides",
			offers: "Package: aa\nVersion: 1\nProvides: mta\nConflicts: mta\n\nPackage: bb\nVersion: 1\nProvides: mta\n",
			want:   "aa bb", reason: "aa 1 does not go with bb 1, which provides mta"},
		{name: "all that is missing at once",
			offers: "Package: aa\nVersion: 1\nDepends: bb, cc (>= 2) | dd\n",
			want:   "aa ee", reason: "aa 1 needs bb; aa 1 needs cc (>= 2) | dd; ee is not offered"},
		{name: "a removed package is not there",
			offers: "Package: aa\nVersion: 1\n",
			there:  "Package: aa\nStatus: deinstall ok config-files\nArchitecture: arm64\nversion: 1\n",
			want:   "aa", gets: "aa 1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			q := Request{From: []*Index{offer(t, c.offers)}, Want: strings.Fields(c.want)}
			if c.there != "" {
				q.There = installed(t, c.there)
			}
			packages, err := Resolve(q)
			if c.reason != "" {
				var unmet *UnmetError
				if !errors.As(err, &unmet) || err.Error() != "resolve packages: "+c.reason {
					t.Errorf("got %v, %v; want %s", packages, err, c.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range packages {
				names = append(names, p.String())
			}
			if got := strings.Join(names, ", "); got != c.gets {
				t.Errorf("got %s, want %s", got, c.gets)
			}
		})
	}
}

func TestResolve_takesEssentialsForAnEmptyTree(t *testing.T) {
	x := offer(t, "Package: aa\nVersion: 1\nDepends: perl-base\n\nPackage: base-files\nVersion: 1\nEssential: yes\nDepends: awk\n\nPackage: mawk\nVersion: 1\nProvides: awk\n\nPackage: perl-base\nVersion: 1\nEssential: yes\n")
	packages, err := Resolve(Request{From: []*Index{x}, Want: []string{"aa"}, Essential: true, There: (*Installed)(nil).Assume("perl-base")})
	if err != nil || len(packages) != 4 {
		t.Fatalf("%v, %v", packages, err)
	}
	packages, err = Resolve(Request{From: []*Index{x}, Want: []string{"aa"}, There: (*Installed)(nil).Assume("perl-base")})
	if err != nil || len(packages) != 1 {
		t.Errorf("%v, %v", packages, err)
	}
}
