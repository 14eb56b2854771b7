package steps

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// packageSteps install what the person wants besides. A name that no repository
// has is a warning: it will not get right by waiting.
func packageSteps(c *node.Config) []Step {
	names := c.System.Packages
	if len(names) == 0 {
		return nil
	}
	return []Step{
		Packages{Names: names, Limit: 15 * time.Minute},
		step.Optional[host.Host](UnknownPackages{Names: names}),
	}
}

// Packages wants Debian packages installed, but for those that are known not to
// exist.
type Packages struct {
	Names []string
	Limit time.Duration // for repositories that do not answer, and for others that use apt
}

func (s Packages) Name() string { return "packages" }

// Check implements Step.
func (s Packages) Check(ctx context.Context, h host.Host) (string, error) {
	missing, err := notInstalled(ctx, h, s.Names)
	if err != nil {
		return "", err
	}
	unknown, err := readUnknown(ctx, h)
	if err != nil {
		return "", err
	}
	missing = slices.DeleteFunc(missing, func(name string) bool { return slices.Contains(unknown, name) })
	if len(missing) == 0 {
		return "", nil
	}
	return "not installed: " + strings.Join(missing, ", "), nil
}

// Apply implements Step.
func (s Packages) Apply(ctx context.Context, h host.Host) error {
	missing, err := notInstalled(ctx, h, s.Names)
	if err != nil {
		return err
	}
	unknown, err := installPackages(ctx, h, missing, s.Limit)
	if err != nil {
		return err
	}
	if len(unknown) == 0 {
		return h.Remove(ctx, unknownPath)
	}
	return h.Write(ctx, unknownPath, host.File{Data: []byte(strings.Join(unknown, "\n") + "\n")})
}

// unknownPath lists the names that no repository had when their lists were new.
var unknownPath = path.Join(path.Dir(SealPath), "unknown-packages")

func readUnknown(ctx context.Context, h host.Host) ([]string, error) {
	data, err := read(ctx, h, unknownPath)
	return strings.Fields(string(data)), err
}

// UnknownPackages has a say on names that Packages could do nothing about.
type UnknownPackages struct{ Names []string }

func (s UnknownPackages) Name() string { return "unknown packages" }

// Check implements Step.
func (s UnknownPackages) Check(ctx context.Context, h host.Host) (string, error) {
	missing, err := notInstalled(ctx, h, s.Names)
	if err != nil || len(missing) == 0 {
		return "", err
	}
	return unknownText(missing), nil
}

func unknownText(names []string) string {
	if len(names) == 1 {
		return "package " + names[0] + ": no repository has it"
	}
	return "packages " + strings.Join(names, ", ") + ": no repository has them"
}

// Apply implements Step. There is nothing to do, and it says so.
func (s UnknownPackages) Apply(ctx context.Context, h host.Host) error {
	drift, err := s.Check(ctx, h)
	if err == nil && drift != "" {
		err = errors.New(drift)
	}
	return err
}

// notInstalled are those of the names that dpkg does not call installed.
func notInstalled(ctx context.Context, h host.Host, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	have, err := versions(ctx, h, names)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(unique(names), func(name string) bool { return have[name] != "" }), nil
}
