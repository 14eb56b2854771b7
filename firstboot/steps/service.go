package steps

import (
	"context"
	"io/fs"
	"path"
	"strings"

	"picluster/internal/host"
)

// Configured wants a service to run, now and at boot, and to have been started with
// files as they are wanted. The unit is a package's, or one of the files.
type Configured struct {
	What    string
	Unit    string
	Files   []Text
	Private []Private // the same, for what others may not read
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
	for _, f := range s.Private {
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
	if err := s.stale(ctx, h); err != nil {
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

// stale says that the service is to be started anew.
func (s Configured) stale(ctx context.Context, h host.Host) error {
	if err := h.Write(ctx, runDir, host.File{Mode: 0o700 | fs.ModeDir}); err != nil {
		return err
	}
	return h.Write(ctx, s.restartMark(), host.File{})
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
