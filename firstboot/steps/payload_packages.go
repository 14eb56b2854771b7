package steps

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"

	"picluster/internal/host"
	"picluster/internal/payload"
)

// PayloadPackages wants the packages of the payload installed.
type PayloadPackages struct{ Payload }

func (s PayloadPackages) Name() string { return "payload packages" }

// Check implements Step.
func (s PayloadPackages) Check(ctx context.Context, h host.Host) (string, error) {
	if done, err := s.marked(ctx, h, payloadDonePath); err != nil || done {
		return "", err
	}
	m, err := s.list(ctx, h)
	if err != nil {
		return "", err
	}
	missing, err := notInstalled(ctx, h, packageNames(m))
	if err != nil || len(missing) == 0 {
		return "", err
	}
	return "not installed: " + strings.Join(missing, ", "), nil
}

// Apply implements Step. Repositories are not asked, whatever the machine has set up:
// what apt may choose from are these files. It installs all in one go, because they
// need each other, and is called again with all of them after a power cut.
func (s PayloadPackages) Apply(ctx context.Context, h host.Host) error {
	m, err := s.list(ctx, h)
	if err != nil {
		return err
	}
	if err := h.Write(ctx, noListsDir+"/partial", host.File{Mode: fs.ModeDir}); err != nil {
		return err
	}
	args := slices.Concat([]string{"install", "-y", "-q", "--no-install-recommends", "--reinstall", "--fix-broken"}, dpkgOptions, onlyFiles)
	for _, p := range m.Packages {
		args = append(args, path.Join(s.Dir, p.FileName()))
	}
	a := apt{h}
	return patiently(ctx, packagesLimit, func() error {
		if err := a.configure(ctx); err != nil {
			return err
		}
		return a.run(ctx, "apt-get", args...)
	})
}

func packageNames(m *payload.Manifest) []string {
	var names []string
	for _, p := range m.Packages {
		names = append(names, p.Name)
	}
	return names
}

// noListsDir is an empty directory in the place of apt's lists of what repositories
// have.
const noListsDir = "/run/picluster/no-lists"

// onlyFiles makes apt forget its repositories, and leaves its caches about them alone.
var onlyFiles = []string{"-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts=/dev/null",
	"-o", "Dir::State::Lists=" + noListsDir, "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="}
