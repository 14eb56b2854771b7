package images

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"picluster/internal/debian"
	"picluster/internal/lab"
)

// userland is a layer of Debian's packages, of the release that nodes run. No script
// of theirs is run.
type userland struct {
	packages []string
	without  []string          // what they depend on, and a container does not need
	links    map[string]string // what the scripts would have made
}

// notInImages is what packages have for people and for a running system.
var notInImages = []string{"usr/share/", "etc/", "var/", "usr/lib/systemd/", "usr/lib/udev/", "lib/systemd/", "usr/lib/tmpfiles.d/"}

// mergedUsr are links of package base-files.
var mergedUsr = map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib"}

// netfilter is what kube-proxy and flanneld run. Debian chooses between two kinds of
// iptables by its alternatives; nodes use nftables.
var netfilter = userland{
	packages: []string{"iptables", "nftables", "conntrack", "kmod", "ipset"},
	without:  []string{"netbase", "init-system-helpers", "debconf", "dpkg", "perl"},
	links: map[string]string{
		"usr/sbin/iptables": "xtables-nft-multi", "usr/sbin/iptables-save": "xtables-nft-multi", "usr/sbin/iptables-restore": "xtables-nft-multi",
		"usr/sbin/ip6tables": "xtables-nft-multi", "usr/sbin/ip6tables-save": "xtables-nft-multi", "usr/sbin/ip6tables-restore": "xtables-nft-multi",
	},
}

// shell is a busybox, with the names that manifests and tests call it by.
var shell = userland{packages: []string{"busybox-static"}, links: applets("sh", "cat", "chmod", "cp", "date", "dd", "df", "echo", "env", "find",
	"grep", "head", "hostname", "httpd", "id", "ip", "ls", "md5sum", "mkdir", "mv", "nc", "nslookup", "ping", "ps", "rm", "sed", "seq", "sha256sum",
	"sleep", "sync", "tail", "tee", "test", "touch", "true", "wc", "wget", "which")}

var redis = userland{packages: []string{"redis-server", "redis-tools"},
	without: []string{"adduser", "init-system-helpers", "sysvinit-utils", "lsb-base", "debconf", "dpkg", "perl", "passwd", "libpam0g", "systemd"}}

func applets(names ...string) map[string]string {
	links := map[string]string{}
	for _, name := range names {
		links["usr/local/bin/"+name] = "/usr/bin/busybox"
	}
	return links
}

func (u *userland) layer(ctx context.Context, arch string) (v1.Layer, error) {
	var w layerWriter
	links := mergedUsr
	if arch == "amd64" {
		links = map[string]string{"lib64": "usr/lib64", "bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib"}
	}
	for _, all := range []map[string]string{links, u.links} {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if err := w.link(name, all[name]); err != nil {
				return nil, err
			}
		}
	}
	for _, dir := range []string{"data", "etc", "tmp", "var/run"} {
		if err := w.parents(dir); err != nil {
			return nil, err
		}
	}
	if err := w.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/bin/sh\n")); err != nil {
		return nil, err
	}
	files, err := lab.Debs(ctx, "trixie", arch, u.packages, new(debian.Installed).Assume(u.without...))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := w.unpack(file); err != nil {
			return nil, err
		}
	}
	return w.layer()
}

// unpack adds what a package installs.
func (w *layerWriter) unpack(deb string) error {
	f, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer f.Close()
	for entry, err := range debian.Contents(f) {
		if err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
		if slices.ContainsFunc(notInImages, func(prefix string) bool { return strings.HasPrefix(entry.Name+"/", prefix) }) {
			continue
		}
		// A file of a directory that is a link would hide the link.
		for from, to := range mergedUsr {
			if strings.HasPrefix(entry.Name+"/", from+"/") {
				entry.Name = to + strings.TrimPrefix(entry.Name, from)
			}
		}
		if err := w.add(entry.Header, entry.Content); err != nil {
			return err
		}
	}
	return nil
}
