package debian

import (
	"io"
	"strings"
)

// Installed is what a machine has already. The zero value is a machine without
// packages.
type Installed struct {
	packages map[string]*Package
	assumed  map[string]bool
}

// ReadInstalled reads dpkg's own list (/var/lib/dpkg/status) of a machine of that
// architecture. Packages of other architectures do not count.
func ReadInstalled(r io.Reader, arch string) (*Installed, error) {
	const what = "dpkg's list of packages"
	in := &Installed{packages: map[string]*Package{}}
	for stanza, err := range Stanzas(r, what) {
		if err != nil {
			return nil, err
		}
		if !there(stanza.Get("Status")) {
			continue
		}
		p, err := parsePackage(stanza)
		if err != nil {
			return nil, &FormatError{what, err.Error()}
		}
		if p.Arch == arch || p.Arch == "all" {
			in.packages[p.Name] = p
		}
	}
	return in, nil
}

// there reports whether a state of dpkg's is one of a package that others may depend
// on: "install ok installed", "hold ok triggers-pending" …
func there(status string) bool {
	words := strings.Fields(status)
	return len(words) == 3 && words[1] == "ok" &&
		(words[2] == "installed" || words[2] == "triggers-awaited" || words[2] == "triggers-pending")
}

// Assume says that packages of these names are there, of whatever version is asked
// for: what an image can do without.
func (in *Installed) Assume(names ...string) *Installed {
	out := &Installed{assumed: map[string]bool{}}
	if in != nil {
		out.packages = in.packages
		for name := range in.assumed {
			out.assumed[name] = true
		}
	}
	for _, name := range names {
		out.assumed[name] = true
	}
	return out
}

// Version returns the version of an installed package.
func (in *Installed) Version(name string) (version string, ok bool) {
	if in == nil || in.packages[name] == nil {
		return "", false
	}
	return in.packages[name].Version, true
}
