package steps

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

func systemSteps(c *node.Config) []Step {
	s := c.System
	steps := []Step{
		// Not worth losing a node for, each of them.
		step.Optional[host.Host](Timezone{s.Timezone}),
		step.Optional[host.Host](Variable{What: "locale", Path: localeFile(c.Build.Release), Key: "LANG", Value: s.Locale}),
		step.Optional[host.Host](Variable{What: "keymap", Path: "/etc/default/keyboard", Key: "XKBLAYOUT", Value: s.Keymap}),
		NoAccessTimes{},
	}
	steps = append(steps, kernelSteps(c)...)
	if servers := c.Network.NTP; len(servers) > 0 {
		steps = append(steps, Text{What: "time servers", Path: "/etc/systemd/timesyncd.conf.d/picluster.conf",
			Content: "[Time]\nNTP=" + strings.Join(servers, " ") + "\n"})
	}
	for _, f := range s.Files {
		steps = append(steps, step.Optional[host.Host](extraFile(f)))
	}
	return steps
}

// kernelSteps are files that systemd reads at each boot.
func kernelSteps(c *node.Config) []Step {
	var steps []Step
	var modules []string
	if c.Kubernetes != nil {
		modules = append(modules, "overlay", "br_netfilter")
	}
	if c.Storage != nil {
		// The last three are for bricks on thin volumes. A kernel that lacks one is no
		// failure to systemd.
		modules = append(modules, "loop", "fuse", "dm_thin_pool", "dm_mirror", "dm_snapshot")
	}
	if modules != nil {
		steps = append(steps, Text{What: "kernel modules", Path: "/etc/modules-load.d/picluster.conf", Content: strings.Join(modules, "\n") + "\n"})
	}
	if c.Kubernetes != nil {
		steps = append(steps, Text{What: "kernel settings", Path: "/etc/sysctl.d/90-picluster.conf", Content: kubernetesSysctl})
	}
	return steps
}

// kubernetesSysctl is what kubeadm's preflight and container networks ask for
// (kubernetes.io, "Container Runtimes"), and what the kubelet would set by itself
// (pkg/util/sysctl). The first two exist once br_netfilter is loaded, which
// systemd does before it reads this file.
const kubernetesSysctl = `net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-ip6tables = 1
net.ipv4.ip_forward = 1
vm.overcommit_memory = 1
kernel.panic = 10
kernel.panic_on_oops = 1
`

// Timezone wants local time to be that of an IANA name.
type Timezone struct{ Zone string }

func (s Timezone) Name() string { return "timezone" }

func (s Timezone) link() host.File { return host.File{Target: s.data()} }

func (s Timezone) data() string { return path.Join("/usr/share/zoneinfo", s.Zone) }

// text is what Debian's tools read up to bookworm; since then it is harmless.
func (s Timezone) text() host.File { return host.File{Data: []byte(s.Zone + "\n")} }

// Check implements Step.
func (s Timezone) Check(ctx context.Context, h host.Host) (string, error) {
	if there, err := exists(ctx, h, s.data()); err != nil || !there {
		return "", fmt.Errorf("find timezone %s: %w", s.Zone, errors.Join(err, notHere(there)))
	}
	if drift, err := s.link().Drift(ctx, h, "/etc/localtime"); drift != "" || err != nil {
		return drift, err
	}
	return s.text().Drift(ctx, h, "/etc/timezone")
}

func notHere(there bool) error {
	if there {
		return nil
	}
	return errors.New("this system does not know it")
}

// Apply implements Step.
func (s Timezone) Apply(ctx context.Context, h host.Host) error {
	if err := h.Write(ctx, "/etc/localtime", s.link()); err != nil {
		return err
	}
	return h.Write(ctx, "/etc/timezone", s.text())
}

// Variable wants one variable of a file in /etc/default.
type Variable struct{ What, Path, Key, Value string }

func (s Variable) Name() string { return s.What }

func (s Variable) String() string { return fmt.Sprintf("{%s %s=%q}", s.Path, s.Key, s.Value) }

func (s Variable) edited() edited {
	return edited{path: s.Path, edit: func(text string) (string, error) {
		if strings.ContainsAny(s.Value, "\n\r\"$`\\") {
			return "", fmt.Errorf("value %q is none for a shell's variable", s.Value)
		}
		return assign(text, s.Key, s.Value), nil
	}}
}

// Check implements Step.
func (s Variable) Check(ctx context.Context, h host.Host) (string, error) {
	return s.edited().drift(ctx, h)
}

// Apply implements Step.
func (s Variable) Apply(ctx context.Context, h host.Host) error { return s.edited().apply(ctx, h) }

// localeFile is where the release keeps LANG. From trixie on systemd-tmpfiles puts
// a link to /etc/locale.conf in the old place at each boot (debian.conf), whatever
// was there.
func localeFile(release string) string {
	switch release {
	case "stretch", "buster", "bullseye", "bookworm":
		return "/etc/default/locale"
	}
	return "/etc/locale.conf"
}

// NoAccessTimes wants the root file system mounted without a write for each read.
type NoAccessTimes struct{}

func (s NoAccessTimes) Name() string { return "no access times" }

func (s NoAccessTimes) edited() edited { return edited{path: "/etc/fstab", edit: s.edit} }

// rootLine is fstab's line of /, up to its options and then they.
var rootLine = regexp.MustCompile(`(?m)^([^#\s]\S*[ \t]+/[ \t]+\S+[ \t]+)(\S+)`)

func (s NoAccessTimes) edit(text string) (string, error) {
	m := rootLine.FindStringSubmatch(text)
	if m == nil || slices.Contains(strings.Split(m[2], ","), "noatime") {
		return text, nil
	}
	return strings.Replace(text, m[0], m[0]+",noatime", 1), nil
}

// Check implements Step.
func (s NoAccessTimes) Check(ctx context.Context, h host.Host) (string, error) {
	return s.edited().drift(ctx, h)
}

// Apply implements Step.
func (s NoAccessTimes) Apply(ctx context.Context, h host.Host) error { return s.edited().apply(ctx, h) }
