package raspios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"picluster/internal/lab/tool"
)

// packages is what a boot, SSH and a Kubernetes node need out of Raspberry Pi OS
// Lite; desktop, build tools and Python are left out.
const packages = `adduser apt avahi-daemon base-files base-passwd bash busybox ca-certificates conntrack console-setup
	coreutils cron curl dash dbus debconf debian-archive-keyring debianutils diffutils dosfstools dpkg e2fsprogs ethtool fdisk findutils
	fuse3 gpgv grep gzip hostname htop init-system-helpers initramfs-tools iproute2 iptables iputils-ping iw keyboard-configuration
	kmod klibc-utils less libc-bin libnss-mdns libpam-systemd linux-image-arm64 locales login logrotate mawk mount netbase network-manager
	nftables openssh-client openssh-server openssl parted passwd procps psmisc rfkill rsync sed socat sudo systemd systemd-sysv
	systemd-timesyncd tar tzdata udev util-linux wireless-regdb wpasupplicant xz-utils zstd`

// onlyIn are the packages that came or went with a release. Trixie dropped
// fake-hwclock; growpart comes with its cloud-init. mmdebstrap's merged-usr
// hook puts a dummy in the place of usr-is-merged, which bookworm depends on, and
// exchanges it only in variants that run programs.
var onlyIn = map[string]string{
	"bookworm": "dphys-swapfile fake-hwclock usr-is-merged",
	"trixie":   "cloud-guest-utils util-linux-extra",
}

// unpack fills the root tree. mmdebstrap's variant "extract" runs no program of
// the packages, so no emulator is needed.
func (s *system) unpack(ctx context.Context) error {
	sources, err := Sources(ctx, s.layout.Release)
	if err != nil {
		return err
	}
	args := []string{
		"mmdebstrap", "--arch=arm64", "--variant=extract", "--mode=root", "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
		"--skip=cleanup/apt/cache", `--aptopt=Apt::Install-Recommends "false"`, `--aptopt=Acquire::Languages "none"`,
		"--include=" + strings.Join(strings.Fields(packages+" "+onlyIn[s.layout.Release]), ","),
	}
	for _, dir := range []string{"doc", "man", "locale", "info"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+dir+"/*")
	}
	args = append(args, s.layout.Release, s.root)
	return tool.Run(ctx, append(args, sources...)...)
}

// Sources are the release's apt sources at the mirrors that this machine's own
// apt is set up with.
func Sources(ctx context.Context, release string) ([]string, error) {
	osRelease, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return nil, fmt.Errorf("find mirror: %w", err)
	}
	_, codename, _ := strings.Cut(string(osRelease), "VERSION_CODENAME=")
	codename, _, _ = strings.Cut(codename, "\n")
	list, err := tool.Output(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
	if err != nil {
		return nil, fmt.Errorf("find mirror: %w", err)
	}
	mirrors := map[string]string{} // suite → URI
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "main" && mirrors[f[1]] == "" {
			mirrors[f[1]] = f[0]
		}
	}
	main, security := mirrors[codename], mirrors[codename+"-security"]
	if main == "" {
		return nil, fmt.Errorf("find mirror: apt has no source for Debian %s main", codename)
	}
	found := []string{"deb " + main + " " + release + " main"}
	if security != "" {
		found = append(found, "deb "+security+" "+release+"-security main")
	}
	return found, nil
}

// register writes dpkg's database, so that apt in the booted system knows what is
// installed, and deletes the packages.
func (s *system) register(ctx context.Context) error {
	debs, err := filepath.Glob(s.path("var/cache/apt/archives/*.deb"))
	if err != nil {
		return err
	}
	if len(debs) == 0 {
		return fmt.Errorf("find packages: none left by mmdebstrap")
	}
	var status strings.Builder
	for _, deb := range debs {
		control, err := tool.Output(ctx, "dpkg-deb", "--field", deb)
		if err != nil {
			return err
		}
		// Right behind the name, where dpkg has it too.
		name, rest, _ := strings.Cut(string(control), "\n")
		fmt.Fprintf(&status, "%s\nStatus: install ok installed\n%s\n", name, strings.TrimRight(rest, "\n")+"\n")
		if err := s.registerFiles(ctx, deb, string(control)); err != nil {
			return err
		}
		if err := os.Remove(deb); err != nil {
			return err
		}
	}
	return s.write("var/lib/dpkg/status", status.String(), 0o644)
}

// registerFiles writes the list of a package's files and its control files, among
// them the scripts that its next upgrade runs.
func (s *system) registerFiles(ctx context.Context, deb, control string) error {
	fields := map[string]string{}
	for line := range strings.Lines(control) {
		if key, value, ok := strings.Cut(line, ": "); ok {
			fields[key] = strings.TrimSpace(value)
		}
	}
	name := "var/lib/dpkg/info/" + fields["Package"]
	if fields["Multi-Arch"] == "same" {
		name += ":" + fields["Architecture"]
	}
	listing, err := tool.Output(ctx, "dpkg-deb", "--contents", deb)
	if err != nil {
		return err
	}
	var list strings.Builder
	for line := range strings.Lines(string(listing)) {
		_, path, ok := strings.Cut(line, " ./")
		if !ok {
			continue
		}
		path, _, _ = strings.Cut(strings.TrimSpace(path), " -> ")
		path = "/" + strings.TrimSuffix(path, "/")
		if path == "/" {
			path = "/."
		}
		list.WriteString(path + "\n")
	}
	if err := s.write(name+".list", list.String(), 0o644); err != nil {
		return err
	}
	scripts := s.root + ".control"
	defer os.RemoveAll(scripts)
	if err := tool.Run(ctx, "dpkg-deb", "--control", deb, scripts); err != nil {
		return err
	}
	entries, err := os.ReadDir(scripts)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "control" { // it is in the status file
			continue
		}
		data, err := os.ReadFile(scripts + "/" + e.Name())
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := s.write(name+"."+e.Name(), string(data), info.Mode().Perm()); err != nil {
			return err
		}
	}
	return nil
}
