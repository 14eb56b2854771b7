package nodes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"picluster/internal/debian"
	"picluster/internal/lab"
	"picluster/internal/lab/raspios"
	"picluster/internal/lab/tool"
)

// release is what nodes run: the Debian that Raspberry Pi OS is built from today.
const release = "trixie"

// packages is what Kubernetes and the agent find on Raspberry Pi OS Lite.
const packages = `avahi-daemon busybox ca-certificates conntrack curl dbus e2fsprogs ethtool fdisk gpgv iproute2 iptables
	iputils-ping kmod libnss-mdns mount netbase network-manager nftables openssh-server parted procps socat sudo
	systemd systemd-sysv systemd-timesyncd tzdata udev util-linux`

// Root is the directory of a Debian that nodes' disks begin with: shared, not to be
// written to. The first call makes it, which takes a minute or two.
func Root() (string, error) {
	return lab.Cached("node-"+release, func(ctx context.Context, path string) error {
		sources, err := raspios.Sources(ctx, release)
		if err != nil {
			return err
		}
		root := filepath.Join(path, "root")
		args := []string{"mmdebstrap", "--variant=apt", "--mode=root", `--aptopt=Acquire::Languages "none"`, `--aptopt=Apt::Install-Recommends "false"`,
			"--include=" + strings.Join(strings.Fields(packages), ",")}
		for _, dir := range []string{"doc", "man", "locale", "info"} {
			args = append(args, "--dpkgopt=path-exclude=/usr/share/"+dir+"/*")
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := tool.Run(ctx, append(append(args, release, root), sources...)...); err != nil {
			return err
		}
		return likeAnImage(root)
	})
}

// likeAnImage makes a system that was installed one that has never been started.
func likeAnImage(root string) error {
	for _, name := range []string{"etc/hostname", "etc/resolv.conf", "etc/apt/sources.list"} {
		if err := os.Remove(filepath.Join(root, name)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	// Its first boot gives it an id. With "uninitialized" in it systemd would ask for a
	// locale and a password first.
	return os.WriteFile(filepath.Join(root, "etc/machine-id"), nil, 0o444)
}

// Debs returns the files of Debian's packages that a node lacks for some to work, and
// those. They are those of the day when they were first asked for.
func Debs(names ...string) ([]string, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	dir, err := lab.Cached("debs-"+strings.Join(names, "-"), func(ctx context.Context, path string) error {
		status, err := os.Open(filepath.Join(root, "root/var/lib/dpkg/status"))
		if err != nil {
			return err
		}
		defer status.Close()
		there, err := debian.ReadInstalled(status, runtime.GOARCH)
		if err != nil {
			return err
		}
		files, err := lab.Debs(ctx, release, runtime.GOARCH, names, there)
		if err != nil {
			return err
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		for i, file := range files {
			if err := os.Link(file, filepath.Join(path, fmt.Sprintf("%02d.deb", i))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(dir, "*.deb"))
}
