package steps

import (
	"context"
	"path"
	"strings"

	"picluster/internal/host"
	"picluster/internal/node"
)

// nameSteps give a worker its name and address while the system runs. All cards but
// a spare's have had it since before systemd started, and are left alone here.
func nameSteps(c *node.Config) []Step {
	if c.Kubernetes == nil || c.Role != node.Worker {
		return nil
	}
	profiles := Profiles{Interfaces: interfaces(c.Network)}
	for _, s := range networkManagerSteps(c) {
		if p, ok := s.(Private); ok {
			profiles.Files = append(profiles.Files, p)
		}
	}
	return []Step{
		Text{What: "hostname", Path: "/etc/hostname", Content: c.Name + "\n"},
		KernelName{c.Name},
		Hosts{Host: c.Name, Peers: peers(c), Grow: true},
		profiles,
	}
}

// KernelName wants the running system to have a name.
type KernelName struct{ Host string }

func (s KernelName) Name() string { return "name of the running system" }

// Check implements Step.
func (s KernelName) Check(ctx context.Context, h host.Host) (string, error) {
	data, err := h.ReadFile(ctx, "/proc/sys/kernel/hostname")
	if err != nil {
		return "", err
	}
	if have := strings.TrimSpace(string(data)); have != s.Host {
		return "it calls itself " + have, nil
	}
	return "", nil
}

// Apply implements Step. avahi, which answers for NAME.local, asks for the name only
// once.
func (s KernelName) Apply(ctx context.Context, h host.Host) error {
	if _, err := h.Run(ctx, host.Cmd{Args: []string{"hostnamectl", "set-hostname", s.Host}}); err != nil {
		return err
	}
	_, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "try-restart", "avahi-daemon.service"}})
	return err
}

// Profiles wants NetworkManager to have connections as they are written here, and to
// use them.
type Profiles struct {
	Files      []Private
	Interfaces []string
}

func (s Profiles) Name() string { return "profiles" }

// profilesMark is there from before a file is changed until NetworkManager uses it. It is
// in memory: after a reboot NetworkManager has read all files.
var profilesMark = path.Join(runDir, "reload-profiles")

// Check implements Step.
func (s Profiles) Check(ctx context.Context, h host.Host) (string, error) {
	if there, err := exists(ctx, h, profilesMark); err != nil || there {
		return "NetworkManager uses older ones", err
	}
	for _, f := range s.Files {
		if drift, err := f.Check(ctx, h); err != nil || drift != "" {
			return drift, err
		}
	}
	return "", nil
}

// Apply implements Step. "reapply" changes addresses without taking the link down.
func (s Profiles) Apply(ctx context.Context, h host.Host) error {
	if err := leaveMark(ctx, h, profilesMark); err != nil {
		return err
	}
	for _, f := range s.Files {
		if err := f.Apply(ctx, h); err != nil {
			return err
		}
	}
	if _, err := h.Run(ctx, host.Cmd{Args: []string{"nmcli", "connection", "reload"}}); err != nil {
		return err
	}
	for _, name := range s.Interfaces {
		l, err := findLink(ctx, h, name)
		if err != nil {
			return err
		}
		if !l.carrier {
			continue
		}
		if _, err := h.Run(ctx, host.Cmd{Args: []string{"nmcli", "device", "reapply", name}}); err != nil {
			return err
		}
	}
	return h.Remove(ctx, profilesMark)
}
