// Package images assembles the container image of the storage from Debian's packages
// and our own program, without a container engine, without root and for any
// architecture: layers are archives, and archives are all that is needed.
//
// The same packages and program give the same image, to the bit. What is in it stands
// in the image, as an SPDX document.
package images

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"picluster/internal/debian"
)

// Packages are what the image is made of, besides what these need: GlusterFS, and what
// makes and looks at bricks. base-files has the links that merge /bin with /usr/bin.
var Packages = []string{
	"base-files", "coreutils", "dash", "e2fsprogs", "findutils", "glusterfs-client", "glusterfs-server",
	"lvm2", "mawk", "mount", "nftables", "procps", "sed", "thin-provisioning-tools", "util-linux", "xfsprogs",
}

// needless are packages that others name and that nothing here calls: Python is for
// geo-replication, Perl and debconf for installing, udev and systemd are the node's.
var needless = []string{
	"debconf", "adduser", "perl", "perl-base", "python3", "python3-gluster", "python3-prettytable", "python3-requests", "python3-xattr",
	"init-system-helpers", "systemd", "udev", "dmeventd", "lsb-base", "sysvinit-utils", "nfs-common", "rpcbind", "attr", "logsave", "psmisc", "dpkg", "tar", "install-info",
}

// Suite is the Debian release that the image is made of. Its GlusterFS has to go with
// the clients on the nodes, which may be older but not newer.
const Suite = "trixie"

// Sources are the suites that the image is made of, at two mirrors.
func Sources(debianURI, securityURI string, keys *debian.Keyring) []debian.Source {
	var all []debian.Source
	for _, from := range []struct{ uri, suite string }{{debianURI, Suite}, {debianURI, Suite + "-updates"}, {securityURI, Suite + "-security"}} {
		all = append(all, debian.Source{URI: from.uri, Suite: from.suite, Components: []string{"main"}, Keyring: keys})
	}
	return all
}

// Storage describes one image.
type Storage struct {
	Arch    string // as container platforms have it: arm64, amd64
	Program string // path of storaged for that architecture
	Version string // of the program

	Archive *debian.Reader // for that architecture
	Sources []debian.Source
}

// Built is an image with what is known of it.
type Built struct {
	Image    v1.Image
	Packages []*debian.Package
	SBOM     []byte // SPDX 2.3, JSON
}

// Build makes the image. Its layers are files in a directory, which has to stay until
// the image has been written somewhere; the caller removes it.
func (s Storage) Build(ctx context.Context, dir string) (Built, error) {
	if err := checkProgram(s.Program, s.Arch); err != nil {
		return Built{}, err
	}
	packages, err := s.resolve(ctx)
	if err != nil {
		return Built{}, err
	}
	sbom, err := s.sbom(packages)
	if err != nil {
		return Built{}, err
	}
	system, err := s.system(ctx, dir, packages)
	if err != nil {
		return Built{}, err
	}
	own, err := s.own(dir, sbom)
	if err != nil {
		return Built{}, err
	}
	image, err := mutate.AppendLayers(empty.Image, system, own)
	if err == nil {
		image, err = mutate.ConfigFile(image, s.config(image))
	}
	if err != nil {
		return Built{}, fmt.Errorf("assemble image: %w", err)
	}
	return Built{Image: image, Packages: packages, SBOM: sbom}, nil
}

func (s Storage) resolve(ctx context.Context) ([]*debian.Package, error) {
	var indices []*debian.Index
	for _, source := range s.Sources {
		index, err := s.Archive.Open(ctx, source)
		if err != nil {
			return nil, err
		}
		indices = append(indices, index)
	}
	return debian.Resolve(debian.Request{From: indices, Want: Packages, There: (*debian.Installed)(nil).Assume(needless...)})
}

// built is the time of everything in the image: what is the same is to look the same.
var built = time.Unix(0, 0).UTC()

func (s Storage) config(image v1.Image) *v1.ConfigFile {
	c, err := image.ConfigFile()
	if err != nil { // of layers that are files
		c = &v1.ConfigFile{}
	}
	c = c.DeepCopy()
	c.Architecture, c.OS, c.Created, c.Author = s.Arch, "linux", v1.Time{Time: built}, "picluster"
	for i := range c.History {
		c.History[i].Created = v1.Time{Time: built}
	}
	c.Config = v1.Config{
		Entrypoint: []string{"/" + programPath},
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"},
		Labels: map[string]string{
			"org.opencontainers.image.title":   "picluster/storage",
			"org.opencontainers.image.version": s.Version,
		},
	}
	return c
}

// checkProgram makes sure that a node can run the program: a wrong one would show only
// there.
func checkProgram(path, arch string) error {
	want, ok := map[string]elf.Machine{"arm64": elf.EM_AARCH64, "amd64": elf.EM_X86_64}[arch]
	if !ok {
		return fmt.Errorf("build image: there is no storage for %s: Debian has no 32-bit GlusterFS any more", arch)
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("read program: %w", err)
	}
	defer f.Close()
	switch {
	case f.Machine != want:
		return fmt.Errorf("read program %s: it is for %s, the image is for %s", path, f.Machine, arch)
	case slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }):
		return fmt.Errorf("read program %s: it needs libraries, and has to be static", path)
	}
	return nil
}

// sbom lists the packages in SPDX's form (https://spdx.github.io/spdx-spec/v2.3).
func (s Storage) sbom(packages []*debian.Package) ([]byte, error) {
	program, err := os.ReadFile(s.Program)
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	type object = map[string]any
	digest := func(sum string) []object { return []object{{"algorithm": "SHA256", "checksumValue": sum}} }
	items := []object{{
		"SPDXID": "SPDXRef-storaged", "name": "storaged", "versionInfo": s.Version, "downloadLocation": "NOASSERTION",
		"checksums": digest(fmt.Sprintf("%x", sha256.Sum256(program))),
	}}
	for _, p := range packages {
		items = append(items, object{
			"SPDXID": "SPDXRef-deb-" + p.Name, "name": p.Name, "versionInfo": p.Version, "downloadLocation": p.Source.URI,
			"checksums": digest(p.File.SHA256),
			"externalRefs": []object{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
				"referenceLocator": fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s&distro=%s", p.Name, p.Version, p.Arch, Suite)}},
		})
	}
	document := object{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "picluster/storage " + s.Version + " " + s.Arch,
		"creationInfo": object{"created": built.Format(time.RFC3339), "creators": []string{"Tool: clusterctl"}},
		"packages":     items,
	}
	// The name has to be the document's own: its digest is in it.
	name, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	document["documentNamespace"] = fmt.Sprintf("urn:picluster:storage:%x", sha256.Sum256(name))
	return json.MarshalIndent(document, "", " ")
}

func temporary(dir, name string) string { return filepath.Join(dir, name+".tar") }
