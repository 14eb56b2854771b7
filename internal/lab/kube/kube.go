// Package kube runs a real Kubernetes control plane for tests, on loopback: etcd
// and kube-apiserver, and where wanted controller-manager, scheduler and nodes
// that kwok plays.
//
// The programs are built from Go modules at pinned versions (modules/), once, into
// the lab's cache. What an API server accepts, refuses and defaults is then the
// true one; what needs a kubelet, like logs of a container, is not here.
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
}

var programs = map[string]program{
	"etcd":                    {"etcd", ".", "v3.7.3"},
	"kwok":                    {"kwok", "sigs.k8s.io/kwok/cmd/kwok", "v0.8.0"},
	"kube-apiserver":          {"kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", Version},
	"kube-controller-manager": {"kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", Version},
	"kube-scheduler":          {"kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", Version},
	"kube-proxy":              {"kubernetes", "k8s.io/kubernetes/cmd/kube-proxy", Version},
	"kubeadm":                 {"kubernetes", "k8s.io/kubernetes/cmd/kubeadm", Version},
	"kubectl":                 {"kubernetes", "k8s.io/kubernetes/cmd/kubectl", Version},
	"kubelet":                 {"kubernetes", "k8s.io/kubernetes/cmd/kubelet", Version},
}

// Programs lists the programs that there are.
func Programs() []string { return slices.Sorted(maps.Keys(programs)) }

// Program returns the path of a program, which is built if it is not in the cache.
// All of Kubernetes takes about a quarter of an hour on two idle cores.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := Build(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Build is Program for callers outside a test.
func Build(name string) (string, error) {
	p, ok := programs[name]
	if !ok {
		return "", fmt.Errorf("build %s: it is none of the lab's programs", name)
	}
	return lab.Cached(fmt.Sprintf("%s-%s-%s", name, p.version, runtime.GOARCH), func(ctx context.Context, path string) error {
		return p.build(ctx, path)
	})
}

func (p program) build(ctx context.Context, path string) error {
	dir, err := source(ctx, p.module)
	if err != nil {
		return err
	}
	_, err = tool.Cmd{
		Dir: dir,
		Env: []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + runtime.GOARCH},
		Args: []string{"go", "build", "-trimpath", "-buildvcs=false", "-o", path,
			"-ldflags", "-s -w " + stamp("k8s.io/component-base/version") + stamp("k8s.io/client-go/pkg/version"), p.pkg},
	}.Output(ctx)
	return err
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
