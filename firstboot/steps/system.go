package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// localeSteps are of Run: compiling takes half a minute on a Pi 3, and until then
// programs speak plain English.
func localeSteps(c *node.Config) []Step {
	return []Step{step.Optional[host.Host](LocaleData{c.System.Locale})}
}

// LocaleData wants the locale compiled. The C library has C, POSIX and, in
// Debian, C.UTF-8 by itself; others come out of locale-gen, which needs no network.
type LocaleData struct{ Locale string }

func (s LocaleData) Name() string { return "locale's data" }

var localeName = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9-]+)?(@[A-Za-z0-9]+)?$`)

// Check implements Step.
func (s LocaleData) Check(ctx context.Context, h host.Host) (string, error) {
	if !localeName.MatchString(s.Locale) {
		return "", fmt.Errorf("find locale %q: it is no locale's name", s.Locale)
	}
	switch normalLocale(s.Locale) {
	case "c", "posix", "c.utf8":
		return "", nil
	}
	// Two places: one archive for all, or a directory each.
	names, err := h.ReadDir(ctx, "/usr/lib/locale")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	have := names
	for _, name := range names {
		if name == "locale-archive" {
			out, err := h.Run(ctx, host.Cmd{Args: []string{"localedef", "--list-archive"}})
			if err != nil {
				return "", err
			}
			have = append(have, strings.Fields(string(out))...)
		}
	}
	for _, name := range have {
		if normalLocale(name) == normalLocale(s.Locale) {
			return "", nil
		}
	}
	return "locale " + s.Locale + " is not compiled", nil
}

// normalLocale is the form under which glibc files a locale: en_US.utf8.
func normalLocale(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "utf-8", "utf8")
}

// Apply implements Step.
func (s LocaleData) Apply(ctx context.Context, h host.Host) error {
	supported, err := h.ReadFile(ctx, "/usr/share/i18n/SUPPORTED")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(supported)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == s.Locale {
			list := edited{path: "/etc/locale.gen", edit: func(text string) (string, error) {
				return withLine(text, f[0]+" "+f[1]), nil
			}}
			if err := list.apply(ctx, h); err != nil {
				return err
			}
			// Those that are there need not be compiled again.
			_, err := h.Run(ctx, host.Cmd{Args: []string{"locale-gen", "--keep-existing"}})
			return err
		}
	}
	return fmt.Errorf("compile locale %s: %w", s.Locale, notHere(false))
}

// withLine has the line in the text, uncommented or at the end.
func withLine(text, want string) string {
	var out strings.Builder
	done := false
	for line := range strings.Lines(text) {
		bare := strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), "#"))
		if bare == want && !done {
			line, done = want+"\n", true
		}
		out.WriteString(line)
	}
	if done {
		return out.String()
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		out.WriteByte('\n')
	}
	return out.String() + want + "\n"
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
