package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"picluster/internal/host"
)

// Configured wants a service to run, now and at boot, and to have been started with
// files as they are wanted. The unit is a package's, or one of the files.
type Configured struct {
	What  string
	Unit  string
	Files []Text
}

func (s Configured) Name() string { return s.What }

// restartMark is there from before a file is changed until the service has been
// started with it. It is in memory: after a reboot services are as their files.
func (s Configured) restartMark() string { return path.Join(runDir, "restart-"+s.Unit) }

// runDir is in memory, and root's alone.
const runDir = "/run/picluster"

func (s Configured) files() []Step {
	var all []Step
	for _, f := range s.Files {
		all = append(all, f)
	}
	return all
}

// Check implements Step.
func (s Configured) Check(ctx context.Context, h host.Host) (string, error) {
	if drift, err := firstDrift(ctx, h, s.files()); err != nil || drift != "" {
		return drift, err
	}
	if there, err := exists(ctx, h, s.restartMark()); err != nil || there {
		return s.Unit + " runs with an older configuration", err
	}
	return ServiceRunning{Unit: s.Unit, Enabled: true, Active: true}.Check(ctx, h)
}

// Apply implements Step.
func (s Configured) Apply(ctx context.Context, h host.Host) error {
	if err := leaveMark(ctx, h, s.restartMark()); err != nil {
		return err
	}
	if err := applyAll(ctx, h, s.files()); err != nil {
		return err
	}
	if err := enable(ctx, h, s.Unit); err != nil {
		return err
	}
	if _, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "restart", s.Unit}}); err != nil {
		return err
	}
	return h.Remove(ctx, s.restartMark())
}

// leaveMark leaves a file in runDir that says that something is still to be done.
func leaveMark(ctx context.Context, h host.Host, path string) error {
	if err := h.Write(ctx, runDir, host.File{Mode: 0o700 | fs.ModeDir}); err != nil {
		return err
	}
	return h.Write(ctx, path, host.File{})
}

// ServiceRunning wants a unit that is there to be started at boot (Enabled) and to
// run now (Active).
type ServiceRunning struct {
	Unit            string
	Enabled, Active bool
}

func (s ServiceRunning) Name() string { return s.Unit }

// Check implements Step.
func (s ServiceRunning) Check(ctx context.Context, h host.Host) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "show", "--property=LoadState,ActiveState,UnitFileState,NeedDaemonReload", s.Unit}})
	if err != nil {
		return "", err
	}
	state := properties(out)
	switch {
	case state["LoadState"] == "not-found":
		return s.Unit + " is not installed", nil
	case state["NeedDaemonReload"] == "yes":
		return "systemd has not read " + s.Unit, nil
	case s.Enabled && !strings.HasPrefix(state["UnitFileState"], "enabled"):
		return s.Unit + " is not started at boot", nil
	case s.Active && state["ActiveState"] != "active":
		return s.Unit + " is " + state["ActiveState"], nil
	}
	return "", nil
}

// Apply implements Step.
func (s ServiceRunning) Apply(ctx context.Context, h host.Host) error {
	if s.Enabled {
		if err := enable(ctx, h, s.Unit); err != nil {
			return err
		}
	}
	if !s.Active {
		return nil
	}
	_, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "start", s.Unit}})
	return err
}

// enable has systemd start a unit at boot, and read its files now. It does so once: a
// reload runs ten generators, which takes a small Pi seconds.
func enable(ctx context.Context, h host.Host, unit string) error {
	for _, args := range [][]string{{"enable", "--quiet", "--no-reload", unit}, {"daemon-reload"}} {
		if _, err := h.Run(ctx, host.Cmd{Args: append([]string{"systemctl"}, args...)}); err != nil {
			return err
		}
	}
	return nil
}

// properties reads what systemctl show prints.
func properties(out []byte) map[string]string {
	values := map[string]string{}
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = value
	}
	return values
}

// Service wants a unit of ours: its file, started at boot, and started now.
type Service struct {
	What    string
	Unit    string
	Content string
	// Replace: a running one with another text is stopped first, by its own
	// ExecStop. Otherwise it goes on until the next boot.
	Replace bool
}

func (s Service) Name() string { return s.What + " service" }

// String quotes the unit, so that a step stays one line.
func (s Service) String() string {
	replace := ""
	if s.Replace {
		replace = " Replace"
	}
	return fmt.Sprintf("{%s%s %q}", s.Unit, replace, s.Content)
}

const unitDir = "/etc/systemd/system/"

// atBoot is the link that `systemctl enable` makes of "WantedBy=multi-user.target".
func atBoot(unit string) string { return unitDir + "multi-user.target.wants/" + unit }

func (s Service) file() Text { return Text{Path: unitDir + s.Unit, Content: s.Content} }

func (s Service) enabled() Links {
	return Links{Target: unitDir + s.Unit, Paths: []string{atBoot(s.Unit)}}
}

// Check implements Step.
func (s Service) Check(ctx context.Context, h host.Host) (string, error) {
	for _, part := range []Step{s.file(), s.enabled()} {
		if drift, err := part.Check(ctx, h); err != nil || drift != "" {
			return drift, err
		}
	}
	state, err := s.state(ctx, h)
	switch {
	case err != nil:
		return "", err
	case state["NeedDaemonReload"] == "yes":
		return "systemd has not read " + s.Unit, nil
	case state["ActiveState"] != "active":
		return s.Unit + " is " + state["ActiveState"], nil
	}
	return "", nil
}

func (s Service) state(ctx context.Context, h host.Host) (map[string]string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "show", "--property=ActiveState,NeedDaemonReload", s.Unit}})
	if err != nil {
		return nil, err
	}
	return properties(out), nil
}

// Apply implements Step.
func (s Service) Apply(ctx context.Context, h host.Host) error {
	old, err := read(ctx, h, unitDir+s.Unit)
	if err != nil {
		return err
	}
	if s.Replace && len(old) > 0 && string(old) != s.Content {
		if _, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "stop", s.Unit}}); err != nil {
			return err
		}
	}
	for _, part := range []Step{s.file(), s.enabled()} {
		if err := part.Apply(ctx, h); err != nil {
			return err
		}
	}
	if _, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "daemon-reload"}}); err != nil {
		return err
	}
	_, err = h.Run(ctx, host.Cmd{Args: []string{"systemctl", "start", s.Unit}})
	return err
}

// exitCode of a program that has run; 0 if it did not.
func exitCode(err error) int {
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	return 0
}
