// Package payload is what a card brings along so that its Pi needs no network to
// become a node: Debian packages, Kubernetes' packages and container images.
//
// imagebuilder gathers it (`imagebuilder bundle`) and lays it onto the card's FAT
// partition; firstboot installs it and frees the room. Between the two stands one
// list, manifest.json, which names every file by its SHA-256; node.json names the
// list by its own. So a file that is damaged, missing or of another cluster's version
// is found before anything of it is used.
//
// A container image is kept as the registry gave it: manifest, configuration and
// compressed layers, each a file of its own. Layers that images share are there once.
// Archive puts them together again in the form that containerd imports.
package payload

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"picluster/internal/blob"
)

// Version is the form of the list that this program writes and reads.
const Version = 1

const (
	// Dir is where a payload is, below the FAT partition.
	Dir = "picluster/payload"
	// ManifestName is the list's file, in Dir.
	ManifestName = "manifest.json"
)

// Manifest is the list of everything in a payload.
type Manifest struct {
	Version    int    `json:"version"`
	Kubernetes string `json:"kubernetes"` // "v1.37.2"
	Release    string `json:"release"`    // Debian's code name: "trixie"
	Arch       string `json:"arch"`       // Debian's name: "arm64"
	// Base is the SHA-256 of the decompressed image whose packages count as there; ""
	// counts none.
	Base     string    `json:"base,omitempty"`
	Packages []Package `json:"packages"` // sorted by name
	Images   []Image   `json:"images"`   // sorted by name
}

// Package is a .deb.
type Package struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	File    blob.Ref `json:"file"`
}

// Image is a container image for one architecture.
type Image struct {
	Name string `json:"name"` // with its registry and tag: "registry.k8s.io/pause:3.10.2"
	// MediaType and Manifest describe the image's manifest; the other files are what
	// that one names: configuration and layers.
	MediaType string     `json:"mediaType"`
	Manifest  blob.Ref   `json:"manifest"`
	Blobs     []blob.Ref `json:"blobs"`
	// ControlPlane says that only a control plane runs it.
	ControlPlane bool `json:"controlPlane,omitempty"`
}

// FileName is the name of a package's file in a payload. apt wants the end.
func (p Package) FileName() string { return p.File.SHA256 + ".deb" }

// Files lists the files of an image, its manifest first.
func (i Image) Files() []blob.Ref { return append([]blob.Ref{i.Manifest}, i.Blobs...) }

// For returns the part of the list that a node needs.
func (m *Manifest) For(controlPlane bool) *Manifest {
	part := *m
	part.Images = slices.DeleteFunc(slices.Clone(m.Images), func(i Image) bool { return i.ControlPlane && !controlPlane })
	return &part
}

// Files lists every file of the payload but the list, by its name, each once, in a
// fixed order.
func (m *Manifest) Files() []File {
	var all []File
	seen := map[string]bool{}
	add := func(name string, ref blob.Ref) {
		if !seen[name] {
			seen[name] = true
			all = append(all, File{name, ref})
		}
	}
	for _, p := range m.Packages {
		add(p.FileName(), p.File)
	}
	for _, i := range m.Images {
		for _, ref := range i.Files() {
			add(ref.SHA256, ref)
		}
	}
	return all
}

// File is one file of a payload.
type File struct {
	Name string
	blob.Ref
}

// Size is how many bytes the files have together.
func (m *Manifest) Size() int64 {
	var sum int64
	for _, f := range m.Files() {
		sum += f.Size
	}
	return sum
}

// Digest is the SHA-256 of a list, as node.json has it.
func Digest(list []byte) string {
	sum := sha256.Sum256(list)
	return hex.EncodeToString(sum[:])
}

// Marshal writes the list, the same bytes for the same Manifest.
func (m *Manifest) Marshal() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("write payload's list: %w", err)
	}
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write payload's list: %w", err)
	}
	return append(data, '\n'), nil
}

// Parse reads a list strictly.
func Parse(list []byte) (*Manifest, error) {
	d := json.NewDecoder(bytes.NewReader(list))
	d.DisallowUnknownFields()
	var m Manifest
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("read payload's list: %w", err)
	}
	if err := m.Validate(); err != nil {
		return nil, fmt.Errorf("read payload's list: %w", err)
	}
	return &m, nil
}

var (
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)
	versionForm = regexp.MustCompile(`^[0-9][A-Za-z0-9.+:~-]*$`)
	// imageName is a reference with a registry and a tag; none begins with a hyphen,
	// because it becomes an argument.
	imageName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*(:[0-9]+)?/[a-z0-9][a-z0-9._/-]*:[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
)

// Validate checks what would be dangerous to act on: names become arguments of
// programs, digests file names. It reports all problems at once.
func (m *Manifest) Validate() error {
	var problems []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	check(m.Version == Version, "version is %d, this program knows %d", m.Version, Version)
	check(m.Kubernetes != "" && m.Release != "" && m.Arch != "", "kubernetes, release or arch is missing")
	for _, p := range m.Packages {
		check(packageName.MatchString(p.Name) && versionForm.MatchString(p.Version), "package %q %q has no name or version", p.Name, p.Version)
		check(p.File.Check() == nil, "package %q has no digest", p.Name)
	}
	for _, i := range m.Images {
		check(imageName.MatchString(i.Name), "image %q has no registry, name and tag", i.Name)
		check(i.MediaType != "", "image %q has no media type", i.Name)
		for _, ref := range i.Files() {
			check(ref.Check() == nil, "image %q has a file without a digest", i.Name)
		}
	}
	return errors.Join(problems...)
}

// MismatchError says that a payload was made for another node than this one.
type MismatchError struct{ Reason string }

func (e *MismatchError) Error() string { return "check payload: " + e.Reason }

// Fits returns a MismatchError unless the payload is for a node like that.
func (m *Manifest) Fits(kubernetes, release, arch string) error {
	for _, c := range []struct{ what, have, want string }{
		{"Kubernetes", m.Kubernetes, kubernetes}, {"Debian", m.Release, release}, {"the architecture", m.Arch, arch},
	} {
		if c.have != c.want {
			return &MismatchError{fmt.Sprintf("it is for %s %s, and this node is for %s", c.what, c.have, c.want)}
		}
	}
	return nil
}
