package steps

import (
	"context"
	"errors"
	"fmt"

	"picluster/internal/host"
)

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
