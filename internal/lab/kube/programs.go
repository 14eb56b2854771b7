package kube

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"picluster/internal/lab"
	"picluster/internal/lab/tool"
)

// Version is the version of Kubernetes that is built.
const Version = "v1.37.2"

// program is one program to build. Its module has a go.mod of its own, which keeps
// hundreds of dependencies out of the product's.
type program struct {
	module  string // directory below modules
	pkg     string // import path
	version string // part of its name in the cache
	flags   string // for the linker
	cgo     bool   // on amd64; linked statically
}

const cniPlugins = "github.com/containernetworking/plugins/plugins/"

var programs = map[string]program{
	"etcd":                    {module: "etcd", pkg: ".", version: "v3.7.3"},
	"kwok":                    {module: "kwok", pkg: "sigs.k8s.io/kwok/cmd/kwok", version: "v0.8.0"},
	"kube-apiserver":          kubernetes("kube-apiserver"),
	"kube-controller-manager": kubernetes("kube-controller-manager"),
	"kube-scheduler":          kubernetes("kube-scheduler"),
	"kube-proxy":              kubernetes("kube-proxy"),
	"kubeadm":                 kubernetes("kubeadm"),
	"kubectl":                 kubernetes("kubectl"),
	"kubelet":                 kubernetes("kubelet"),

	// What kubeadm's images and Flannel's have inside, and what Debian's package
	// kubernetes-cni has.
	"pause":   {module: "pause", pkg: ".", version: "v1"},
	"coredns": {module: "coredns", pkg: "github.com/coredns/coredns", version: "v1.14.6"},
	// Flannel's backend udp is written in C on amd64.
	"flanneld": {module: "flannel", pkg: "github.com/flannel-io/flannel", version: "v0.28.10", cgo: true,
		flags: "-X github.com/flannel-io/flannel/pkg/version.Version=v0.28.10"},
	"cni-flannel":    {module: "flannel-cni", pkg: cniPlugins + "meta/flannel", version: "v0.9.1"},
	"cni-bandwidth":  cni("meta/bandwidth"),
	"cni-bridge":     cni("main/bridge"),
	"cni-firewall":   cni("meta/firewall"),
	"cni-host-local": cni("ipam/host-local"),
	"cni-loopback":   cni("main/loopback"),
	"cni-portmap":    cni("meta/portmap"),
	"cni-tuning":     cni("meta/tuning"),

	// Sidecars of a CSI driver; each has a client-go of its own.
	"csi-provisioner": {module: "csi-provisioner", pkg: "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner", version: "v6.3.0"},
	"csi-resizer":     {module: "csi-resizer", pkg: "github.com/kubernetes-csi/external-resizer/v2/cmd/csi-resizer", version: "v2.3.0"},

	"registry": {module: "registry", pkg: "github.com/distribution/distribution/v3/cmd/registry", version: "v3.1.2"},
}

func kubernetes(name string) program {
	return program{module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/" + name, version: Version,
		flags: stamp("k8s.io/component-base/version") + stamp("k8s.io/client-go/pkg/version")}
}

// stamp sets the version that a program of Kubernetes takes itself for: without
// one kubeadm asks the internet, and a kubelet is too old for every API server.
func stamp(pkg string) string {
	parts := strings.Split(strings.TrimPrefix(Version, "v"), ".")
	var flags strings.Builder
	for _, set := range []string{
		"gitVersion=" + Version, "gitMajor=" + parts[0], "gitMinor=" + parts[1], "gitTreeState=clean",
		"gitCommit=" + strings.Repeat("0", 40), "buildDate=2026-01-01T00:00:00Z",
	} {
		fmt.Fprintf(&flags, "-X %s.%s ", pkg, set)
	}
	return flags.String()
}

func cni(plugin string) program {
	const version = "v1.9.1"
	return program{module: "cni", pkg: cniPlugins + plugin, version: version,
		flags: "-X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=" + version}
}

// Programs lists the programs that there are.
func Programs() []string { return slices.Sorted(maps.Keys(programs)) }

// Program returns the path of a program for this machine, which is built if it is
// not in the cache. All of Kubernetes takes about a quarter of an hour on two idle
// cores.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := Build(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Build is Program for callers outside a test.
func Build(name string) (string, error) { return BuildFor(name, runtime.GOARCH) }

// BuildFor is Build for machines of an architecture, as Go names it.
func BuildFor(name, arch string) (string, error) {
	p, ok := programs[name]
	if !ok {
		return "", fmt.Errorf("build %s: it is none of the lab's programs", name)
	}
	return lab.Cached(fmt.Sprintf("%s-%s-%s", name, p.version, arch), func(ctx context.Context, path string) error {
		return p.build(ctx, path, arch)
	})
}

func (p program) build(ctx context.Context, path, arch string) error {
	dir, err := source(ctx, p.module)
	if err != nil {
		return err
	}
	cgo, flags := "CGO_ENABLED=0", "-s -w "+p.flags
	if p.cgo && arch == "amd64" {
		cgo, flags = "CGO_ENABLED=1", flags+" -extldflags=-static"
	}
	_, err = tool.Cmd{
		Dir:  dir,
		Env:  []string{cgo, "GOOS=linux", "GOARCH=" + arch},
		Args: []string{"go", "build", "-trimpath", "-buildvcs=false", "-o", path, "-ldflags", flags, p.pkg},
	}.Output(ctx)
	return err
}
