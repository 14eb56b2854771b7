// Package steps is what the agent does to a Pi, as lists of steps; this file is
// the table of contents.
//
// Early is the part that runs before systemd: no services, no network, no clock,
// only files. So its steps write files and links where installers would call
// systemctl, usermod and nmcli, each of which wants a running system or leaves
// several files half changed after a power cut. The two programs that it does
// start (mv, shred) need nothing but the root file system. What needs more, or takes
// longer, is in run.go.
//
// The package does not mount, does not reboot and writes no STATUS.txt; the
// command that runs the steps does.
package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"picluster/firstboot/join"
	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// The engine's words for a Pi.
type (
	Step  = step.Step[host.Host]
	Stage = step.Stage[host.Host]
)

// Env is what the steps need to know that no document says.
type Env struct {
	// Boot is where the FAT partition is mounted: "/boot/firmware".
	Boot string
	// Client is for tests: it changes how node0 is asked.
	Client func(*join.Client)
}

// Paths of ours on a Pi.
const (
	AgentPath   = "/usr/local/sbin/firstboot"
	ConfigPath  = "/etc/picluster/node.json"
	JournalPath = "/var/lib/picluster/journal.jsonl"
	SealPath    = "/var/lib/picluster/sealed" // is there once Run is done for good

	runUnit     = "picluster-firstboot.service" // of the overlay
	agentOnFAT  = "picluster/firstboot"
	configOnFAT = "picluster/node.json"
)

// BootDir is where the FAT partition is mounted: since bookworm in /boot/firmware.
// There /boot has a config.txt too, a decoy, so the order matters.
func BootDir(ctx context.Context, h host.Host) (string, error) {
	for _, dir := range []string{"/boot/firmware", "/boot"} {
		if there, err := exists(ctx, h, dir+"/config.txt"); err != nil || there {
			return dir, err
		}
	}
	return "", errors.New("find boot partition: neither /boot/firmware nor /boot has a config.txt")
}

// ConfigOnFAT is where node.json is before it is installed.
func (e Env) ConfigOnFAT() string { return path.Join(e.Boot, configOnFAT) }

// Early lists what is done to a new card between the kernel and systemd. The
// last step takes our hook off the kernel command line: until that is on the
// disk, the next power-on starts from the top.
func Early(c *node.Config, e Env) ([]Stage, error) {
	installed, err := c.Marshal()
	if err != nil {
		return nil, err
	}
	connections, err := networkSteps(c)
	if err != nil {
		return nil, err
	}
	return []Stage{
		{Name: "install", Steps: installSteps(c, e, installed)},
		{Name: "identity", Steps: identitySteps(c)},
		{Name: "profiles", Steps: connections},
		{Name: "system", Steps: systemSteps(c)},
		{Name: "vendor", Steps: vendorSteps(c)},
		{Name: "boot", Steps: []Step{
			Erased{What: "vendor's secrets", Paths: []string{path.Join(e.Boot, "wpa_supplicant.conf"), path.Join(e.Boot, "userconf.txt")}},
			KernelCommandLine{Path: path.Join(e.Boot, "cmdline.txt"), Country: c.Network.Country},
		}},
	}, nil
}

func installSteps(c *node.Config, e Env, installed []byte) []Step {
	steps := []Step{
		step.Require("release", func(ctx context.Context, h host.Host) (string, error) { return wrongRelease(ctx, h, c.Build.Release) }),
		Agent{From: path.Join(e.Boot, agentOnFAT)},
		Directory{What: "private directory", Path: path.Dir(ConfigPath), Mode: 0o700},
		privateFile("node.json", ConfigPath, installed),
		// Not before the step above has it on the disk.
		Erased{What: "node.json on the card", Paths: []string{e.ConfigOnFAT()}},
	}
	steps = append(steps, overlaySteps()...)
	return append(steps, Links{What: "agent at boot", Target: unitDir + runUnit, Paths: []string{atBoot(runUnit)}})
}

// wrongRelease guards against a card whose two partitions are not of one image:
// what is written where depends on the release.
func wrongRelease(ctx context.Context, h host.Host, want string) (string, error) {
	data, err := h.ReadFile(ctx, "/etc/os-release")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if have, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			if have = strings.Trim(have, `"`); have != want {
				return fmt.Sprintf("the card was prepared for %s, but its system is %s", want, have), nil
			}
			return "", nil
		}
	}
	return "", nil // stretch before 2018 has no such line
}

// firstDrift and applyAll are for a step that is made of others.
func firstDrift(ctx context.Context, h host.Host, parts []Step) (string, error) {
	for _, s := range parts {
		if drift, err := s.Check(ctx, h); err != nil || drift != "" {
			return drift, err
		}
	}
	return "", nil
}

func applyAll(ctx context.Context, h host.Host, parts []Step) error {
	for _, s := range parts {
		if err := s.Apply(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// read is ReadFile for a file that may be missing: then it is empty.
func read(ctx context.Context, h host.Host, name string) ([]byte, error) {
	data, err := h.ReadFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// exists follows no symbolic link.
func exists(ctx context.Context, h host.Host, name string) (bool, error) {
	_, err := h.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
