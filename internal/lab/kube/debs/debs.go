// Package debs is a look-alike of pkgs.k8s.io: the project's apt repository, flat and
// signed, with the packages that a node installs, made of the lab's builds. Where files
// lie, what depends on what and which units there are is as the project's own packages
// have it (github.com/kubernetes/release, cmd/krel/templates/latest).
package debs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/debian/debiantest"
	"picluster/internal/lab"
	"picluster/internal/lab/kube"
	"picluster/internal/lab/tool"
)

// deb is a package to be made.
type deb struct {
	name, version, depends string
	programs               map[string]string // place → the lab's program
	files                  map[string]string
}

// Revision is what follows the version of Kubernetes in that of a package.
const Revision = "-1.1"

var packages = []deb{
	{name: "kubeadm", version: strings.TrimPrefix(kube.Version, "v"), programs: map[string]string{"usr/bin/kubeadm": "kubeadm"}},
	{name: "kubectl", version: strings.TrimPrefix(kube.Version, "v"), programs: map[string]string{"usr/bin/kubectl": "kubectl"}},
	{name: "kubelet", version: strings.TrimPrefix(kube.Version, "v"), programs: map[string]string{"usr/bin/kubelet": "kubelet"},
		depends: "iptables (>= 1.4.21), kubernetes-cni (>= 1.2.0), mount, util-linux",
		files: map[string]string{
			"usr/lib/systemd/system/kubelet.service":                   kubeletUnit,
			"usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": kubeadmDropIn,
		}},
	{name: "kubernetes-cni", version: "1.9.1", programs: plugins("bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap", "tuning")},
}

func plugins(names ...string) map[string]string {
	programs := map[string]string{}
	for _, name := range names {
		programs["opt/cni/bin/"+name] = "cni-" + name
	}
	return programs
}

const kubeletUnit = `[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=/usr/bin/kubelet
Restart=always
StartLimitInterval=0
RestartSec=10

[Install]
WantedBy=multi-user.target
`

const kubeadmDropIn = `[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/default/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
`

// Files returns the paths of the packages for an architecture, in the lab's cache. They
// are made if they are not there; for that the programs in them have to be built.
func Files(arch string) (paths []string, err error) {
	for _, d := range packages {
		path, err := lab.Cached(fmt.Sprintf("%s_%s%s_%s.deb", d.name, d.version, Revision, arch), func(ctx context.Context, path string) error {
			return d.make(ctx, path, arch)
		})
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func (d deb) control(arch string) string {
	text := fmt.Sprintf("Package: %s\nVersion: %s%s\nArchitecture: %s\nSection: admin\nPriority: optional\n", d.name, d.version, Revision, arch)
	if d.depends != "" {
		text += "Depends: " + d.depends + "\n"
	}
	return text
}

func (d deb) make(ctx context.Context, path, arch string) error {
	tree := path + ".tree"
	for place, name := range d.programs {
		program, err := kube.BuildFor(name, arch)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(program)
		if err == nil {
			err = write(filepath.Join(tree, place), data, 0o755)
		}
		if err != nil {
			return err
		}
	}
	files := map[string]string{"DEBIAN/control": d.control(arch) + "Maintainer: nobody <nobody@example.org>\nDescription: " + d.name + ", for a test\n"}
	for place, text := range d.files {
		files[place] = text
	}
	for place, text := range files {
		if err := write(filepath.Join(tree, place), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return tool.Run(ctx, "dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, path)
}

func write(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, mode)
}

// Serve serves the repository of an architecture on loopback until the test ends, and
// returns it with the key that it is signed with; the public one is also at Release.key.
// The server is a handler too, for other networks.
func Serve(t testing.TB, arch string) (*debiantest.Server, *debiantest.Key) {
	t.Helper()
	key := debiantest.NewKey(t, "isv:kubernetes OBS Project")
	repo := debiantest.Repo{Key: key, Date: time.Now()}
	paths, err := Files(arch)
	if err != nil {
		t.Fatal(err)
	}
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		repo.Debs = append(repo.Debs, debiantest.Deb{Control: packages[i].control(arch), Packed: data})
	}
	files := repo.Files(t)
	files["Release.key"] = key.Public(t)
	return debiantest.Serve(t, files), key
}
