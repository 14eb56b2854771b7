package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/step"
)

// apt runs apt and dpkg where nobody can answer a question. Versions are from
// stretch's 1.4 to trixie's 3.0; only what all have is used. DPkg::Lock::Timeout
// came with 1.9.11, so waiting for a lock is our own.
type apt struct{ host host.Host }

// installPackages installs what any repository has and returns the names that none
// has. It starts with whatever a power cut has left of an earlier time. Repositories
// that do not answer and locks are waited for, up to the limit; dpkg is never
// stopped for it.
func installPackages(ctx context.Context, h host.Host, names []string, limit time.Duration) (unknown []string, err error) {
	a := apt{h}
	fresh := false // the lists of what there is are of today
	err = patiently(ctx, limit, func() (err error) {
		unknown, err = a.try(ctx, names, &fresh)
		return err
	})
	return unknown, err
}

// patiently tries again for as long as the error is a temporary one. What it calls
// has the context of the caller, not that of the limit, which would end in the
// middle of a package.
func patiently(ctx context.Context, limit time.Duration, try func() error) error {
	var final error // no reason to wait
	err := step.Wait{For: "packages", Limit: limit, Every: 5 * time.Second}.Until(ctx, func(context.Context) error {
		err := try()
		var t temporary
		if err == nil || errors.As(err, &t) {
			return err
		}
		final = err
		return nil
	})
	return errors.Join(err, final)
}

// temporary is an error that goes away by itself.
type temporary struct{ error }

func (t temporary) Unwrap() error { return t.error }

// configure ends what a power cut has interrupted: of packages that are unpacked and no
// more. Without any it does nothing.
func (a apt) configure(ctx context.Context) error {
	return a.run(ctx, "dpkg", "--configure", "-a", "--force-confdef", "--force-confold")
}

func (a apt) try(ctx context.Context, names []string, fresh *bool) (unknown []string, err error) {
	if err := a.configure(ctx); err != nil {
		return nil, err
	}
	update := func() error {
		err := a.update(ctx)
		*fresh = err == nil
		return err
	}
	known, err := a.available(ctx, names)
	if err != nil {
		return nil, err
	}
	if len(known) < len(names) && !*fresh {
		if err := update(); err != nil {
			return nil, err
		}
		if known, err = a.available(ctx, names); err != nil {
			return nil, err
		}
	}
	unknown = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(known, name) })
	if len(known) == 0 {
		return unknown, nil
	}
	err = a.install(ctx, known)
	if err == nil || *fresh {
		return unknown, err
	}
	// The lists may be of when the image was made, and name versions that the
	// repositories have dropped since.
	var t temporary
	if !errors.As(err, &t) {
		return unknown, err
	}
	if err := update(); err != nil {
		return unknown, err
	}
	return unknown, a.install(ctx, known)
}

// available are the names that can be installed, by exact name: apt-get install
// takes what it does not know for a regular expression, or, with a minus at its
// end, for a package to remove.
func (a apt) available(ctx context.Context, names []string) ([]string, error) {
	out, err := a.host.Run(ctx, host.Cmd{Args: append([]string{"apt-cache", "policy"}, names...)})
	if err != nil {
		return nil, aptError(err)
	}
	var known []string
	name := ""
	for line := range strings.Lines(string(out)) {
		switch {
		case !strings.HasPrefix(line, " "):
			name = strings.TrimSuffix(strings.TrimSpace(line), ":")
		case strings.HasPrefix(line, "  Candidate: ") && !strings.Contains(line, "(none)") && slices.Contains(names, name):
			known = append(known, name)
		}
	}
	return known, nil
}

// update is an error also where apt-get takes a repository that does not answer for
// a warning.
func (a apt) update(ctx context.Context) error {
	out, err := a.host.Run(ctx, command("apt-get", slices.Concat([]string{"update", "-q"}, patience)...))
	if problem := updateProblem(string(out)); problem != "" {
		return temporary{errors.New(problem)}
	}
	return aptError(err)
}

// patience is for mirrors that are slow: without it a connection that hangs is held
// for two minutes.
var patience = []string{"-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30"}

// dpkgOptions: nobody answers questions about configuration files. Without a terminal
// of its own dpkg gets our signals, and its errors are apart from its progress.
var dpkgOptions = []string{"-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Use-Pty=0"}

func (a apt) install(ctx context.Context, names []string) error {
	// --reinstall is for a package that was cut off while it was unpacked: apt takes
	// it for installed.
	args := slices.Concat([]string{"install", "-y", "-q", "--no-install-recommends", "--reinstall"}, dpkgOptions, patience)
	err := a.run(ctx, "apt-get", append(args, names...)...)
	var exit *host.ExitError
	if errors.As(err, &exit) && strings.Contains(string(exit.Stderr), "--fix-broken") {
		// Half of an earlier installation is there, and its other half is not.
		if err := a.run(ctx, "apt-get", append(args[:len(args):len(args)], "--fix-broken")...); err != nil {
			return err
		}
		return a.run(ctx, "apt-get", append(args, names...)...)
	}
	return err
}

func (a apt) run(ctx context.Context, program string, args ...string) error {
	_, err := a.host.Run(ctx, command(program, args...))
	return aptError(err)
}

func command(program string, args ...string) host.Cmd {
	return host.Cmd{Args: append([]string{program}, args...), Env: []string{"DEBIAN_FRONTEND=noninteractive", "APT_LISTCHANGES_FRONTEND=none"}}
}

// aptError says what a person can do something about, out of all that apt and dpkg
// have said.
func aptError(err error) error {
	var exit *host.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	text := string(exit.Stderr)
	if lock := lockProblem(text); lock != "" {
		return temporary{errors.New(lock)}
	}
	if strings.Contains(text, "No space left on device") || strings.Contains(text, "enough free space in") {
		return fmt.Errorf("install packages: no space left on the card: %w", err)
	}
	if problem := fetchProblem(text); problem != "" {
		return temporary{errors.New(problem)}
	}
	if broken := brokenPackage.FindStringSubmatch(text); broken != nil {
		return fmt.Errorf("install package %s: %s", broken[1], strings.TrimSpace(broken[2]))
	}
	return err
}
