package debian

import (
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"picluster/internal/blob"
)

// Package is one version of a package, as a list of packages describes it.
type Package struct {
	Name, Version, Arch string // Arch is a Debian architecture or "all"
	MultiArch           string // "same", "foreign", "allowed" or ""
	Priority            string // "required", "important", "standard", "optional"
	Essential           bool   // may be needed by any other without being named
	InstalledSize       int64  // bytes, as its maker estimated them

	Needs     []Alternatives // Pre-Depends and Depends
	Provides  []Relation
	Conflicts []Relation // Conflicts and Breaks

	File   blob.Ref
	Source Source // where it is had from
	path   string // there, below Source.URI
}

// FileName is what Debian calls the package's file.
func (p *Package) FileName() string {
	return fmt.Sprintf("%s_%s_%s.deb", p.Name, strings.ReplaceAll(p.Version, ":", "%3a"), p.Arch)
}

func (p *Package) String() string { return p.Name + " " + p.Version }

var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	archName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
)

// parsePackage reads what dpkg's own list and a repository's have in common. Names and
// versions become file names and arguments: what is none is refused.
func parsePackage(s Stanza) (*Package, error) {
	p := &Package{Name: s.Get("Package"), Version: s.Get("Version"), Arch: s.Get("Architecture"),
		MultiArch: s.Get("Multi-Arch"), Priority: s.Get("Priority"), Essential: s.Get("Essential") == "yes"}
	if !packageName.MatchString(p.Name) {
		return nil, fmt.Errorf("package %q: that is no name", p.Name)
	}
	if !archName.MatchString(p.Arch) {
		return nil, fmt.Errorf("package %s: %q is no architecture", p.Name, p.Arch)
	}
	if err := CheckVersion(p.Version); err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	if size := s.Get("Installed-Size"); size != "" { // in KiB: policy 5.6.20
		n, err := strconv.ParseInt(size, 10, 40)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("package %s: installed size is %q", p.Name, size)
		}
		p.InstalledSize = n << 10
	}
	return p, p.parseRelations(s)
}

func (p *Package) parseRelations(s Stanza) error {
	for _, name := range []string{"Pre-Depends", "Depends"} {
		needs, err := ParseRelations(s.Get(name))
		if err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
		p.Needs = append(p.Needs, needs...)
	}
	for _, name := range []string{"Conflicts", "Breaks"} {
		those, err := flat(s.Get(name))
		if err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
		p.Conflicts = append(p.Conflicts, those...)
	}
	var err error
	if p.Provides, err = flat(s.Get("Provides")); err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	return nil
}

// parseOffer reads a paragraph of a repository's list.
func parseOffer(s Stanza, source Source) (*Package, error) {
	p, err := parsePackage(s)
	if err != nil {
		return nil, err
	}
	p.Source = source
	p.File.SHA256 = s.Get("SHA256")
	if p.File.Size, err = strconv.ParseInt(s.Get("Size"), 10, 64); err != nil {
		return nil, fmt.Errorf("package %s: size is %q", p.Name, s.Get("Size"))
	}
	if err := p.File.Check(); err != nil {
		return nil, fmt.Errorf("package %s: %w", p.Name, err)
	}
	// apt-ftparchive begins the names of a flat repository with "./".
	p.path = strings.TrimPrefix(s.Get("Filename"), "./")
	if !fs.ValidPath(p.path) || p.path == "." || strings.ContainsAny(p.path, "\\\x00\n") {
		return nil, fmt.Errorf("package %s: file name %q leads out of the repository", p.Name, s.Get("Filename"))
	}
	return p, nil
}
