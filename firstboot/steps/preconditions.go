package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// preconditions are what no step can change: before them nothing is touched.
func preconditions(c *node.Config) []Step {
	steps := []Step{
		step.Require("root", notRoot),
		step.Require("architecture", func(ctx context.Context, h host.Host) (string, error) { return wrongArch(ctx, h, c.Build.Arch) }),
	}
	if c.Kubernetes != nil {
		steps = append(steps, step.Require("memory cgroup", noMemoryCgroup))
	}
	return steps
}

func notRoot(ctx context.Context, h host.Host) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"id", "-u"}})
	if err != nil {
		return "", err
	}
	if uid := strings.TrimSpace(string(out)); uid != "0" {
		return "only root may configure a Pi, and this is user " + uid, nil
	}
	return "", nil
}

// wrongArch asks dpkg: the kernel may be 64-bit below a 32-bit system, as it is
// on a Pi 4 with a 32-bit image (config.txt, arm_64bit).
func wrongArch(ctx context.Context, h host.Host, want string) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"dpkg", "--print-architecture"}})
	if err != nil {
		return "", err
	}
	if have := strings.TrimSpace(string(out)); have != want {
		return fmt.Sprintf("the card was prepared for %s, but its system is %s", want, have), nil
	}
	return "", nil
}

// noMemoryCgroup looks for what the kernel really does: the Pi's device tree
// switches the controller off, and an argument that comes later on again
// (raspberrypi/linux#6439).
func noMemoryCgroup(ctx context.Context, h host.Host) (string, error) {
	v2, err := read(ctx, h, "/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		return "", err
	}
	v1, err := read(ctx, h, "/proc/cgroups")
	if err != nil {
		return "", err
	}
	if slices.Contains(strings.Fields(string(v2)), "memory") || v2 == nil && memoryEnabled(string(v1)) {
		return "", nil
	}
	arguments, err := h.ReadFile(ctx, "/proc/cmdline")
	if err != nil {
		return "", err
	}
	const argument = "cgroup_enable=memory"
	if slices.Contains(strings.Fields(string(arguments)), argument) {
		return "Kubernetes needs the memory cgroup, and this kernel has none, although it was started with " + argument, nil
	}
	// Kubernetes is for bookworm and later only; the file of that name in /boot is
	// read by nobody there.
	return "Kubernetes needs the memory cgroup: write " + argument +
		" at the end of the line in /boot/firmware/cmdline.txt (cmdline.txt on the card) and restart the Pi", nil
}

// memoryEnabled reads the last column of memory's line in /proc/cgroups
// (cgroups(7)). With cgroup v2 the line may be missing while the controller is
// there (raspberrypi/linux#6980).
func memoryEnabled(cgroups string) bool {
	for line := range strings.Lines(cgroups) {
		if f := strings.Fields(line); len(f) == 4 && f[0] == "memory" {
			return f[3] == "1"
		}
	}
	return false
}
