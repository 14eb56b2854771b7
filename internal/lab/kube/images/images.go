// Package images assembles container images for tests without a container engine:
// what `kubeadm config images list` names, Flannel's, and some for workloads. In them
// are the lab's own builds of the programs and Debian's packages; the names and tags
// are the real ones, for the manifests of Kubernetes and of the product ask for those.
package images

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"picluster/internal/lab/kube"
)

// recipe is what an image is made of.
type recipe struct {
	programs   map[string]string // place in the image → the lab's program
	files      map[string]string // place → content
	debian     []*userland
	entrypoint []string
	cmd        []string
}

// Names of workloads' images.
const (
	Busybox  = "docker.io/library/busybox:1.37"
	Redis    = "docker.io/library/redis:7.4.2"
	Registry = "docker.io/library/registry:3.0.0"
)

var recipes = map[string]recipe{
	"registry.k8s.io/kube-apiserver:" + kube.Version:          only("/usr/local/bin/kube-apiserver", "kube-apiserver"),
	"registry.k8s.io/kube-controller-manager:" + kube.Version: only("/usr/local/bin/kube-controller-manager", "kube-controller-manager"),
	"registry.k8s.io/kube-scheduler:" + kube.Version:          only("/usr/local/bin/kube-scheduler", "kube-scheduler"),
	"registry.k8s.io/etcd:3.7.0-0":                            only("/usr/local/bin/etcd", "etcd"),
	"registry.k8s.io/kube-proxy:" + kube.Version: {
		programs: map[string]string{"/usr/local/bin/kube-proxy": "kube-proxy"}, debian: []*userland{&netfilter}},
	"registry.k8s.io/coredns/coredns:v1.14.6": {
		programs: map[string]string{"/coredns": "coredns"}, entrypoint: []string{"/coredns"}},
	"registry.k8s.io/pause:3.10.2": {
		programs: map[string]string{"/pause": "pause"}, entrypoint: []string{"/pause"}},

	"ghcr.io/flannel-io/flannel:v0.28.10": {
		programs: map[string]string{"/opt/bin/flanneld": "flanneld"}, debian: []*userland{&shell, &netfilter}, entrypoint: []string{"/opt/bin/flanneld"}},
	"ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3": {
		programs: map[string]string{"/flannel": "cni-flannel"}, debian: []*userland{&shell}},

	"registry.k8s.io/sig-storage/csi-provisioner:v6.3.0": {
		programs: map[string]string{"/csi-provisioner": "csi-provisioner"}, entrypoint: []string{"/csi-provisioner"}},
	"registry.k8s.io/sig-storage/csi-resizer:v2.3.0": {
		programs: map[string]string{"/csi-resizer": "csi-resizer"}, entrypoint: []string{"/csi-resizer"}},

	Busybox: {debian: []*userland{&shell}, cmd: []string{"sh"}},
	Redis:   {debian: []*userland{&redis}, entrypoint: []string{"/usr/bin/redis-server"}, cmd: []string{"--protected-mode", "no", "--dir", "/data"}},
	Registry: {programs: map[string]string{"/bin/registry": "registry"}, entrypoint: []string{"/bin/registry"},
		cmd: []string{"serve", "/etc/distribution/config.yml"}, files: map[string]string{"/etc/distribution/config.yml": registryConfig}},
}

// registryConfig is the one of the published image in short.
const registryConfig = `version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/registry}, delete: {enabled: true}}
http: {addr: ":5000"}
`

// only is an image of one program, which manifests call by its name.
func only(place, program string) recipe {
	return recipe{programs: map[string]string{place: program}}
}

// Names lists the images that there are, with their tags.
func Names() []string { return slices.Sorted(maps.Keys(recipes)) }

// make assembles an image. Nothing in it depends on the day or the place.
func (r recipe) make(ctx context.Context, arch string) (v1.Image, error) {
	var layers []v1.Layer
	for _, u := range r.debian {
		layer, err := u.layer(ctx, arch)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	if len(r.programs)+len(r.files) > 0 {
		layer, err := r.own(arch)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	image, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, fmt.Errorf("assemble image: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("assemble image: %w", err)
	}
	// containerd unpacks nothing of an image that does not say what it is for.
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config = v1.Config{Entrypoint: r.entrypoint, Cmd: r.cmd, Env: []string{"PATH=" + strings.Join(path, ":")}}
	return mutate.ConfigFile(image, config)
}

var path = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// own is the layer of the lab's programs and files.
func (r recipe) own(arch string) (v1.Layer, error) {
	var w layerWriter
	for _, place := range slices.Sorted(maps.Keys(r.programs)) {
		program, err := kube.BuildFor(r.programs[place], arch)
		if err != nil {
			return nil, err
		}
		if err := w.copy(place, program); err != nil {
			return nil, err
		}
	}
	for _, place := range slices.Sorted(maps.Keys(r.files)) {
		if err := w.file(place, 0o644, []byte(r.files[place])); err != nil {
			return nil, err
		}
	}
	return w.layer()
}
