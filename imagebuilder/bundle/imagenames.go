package bundle

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"

	"picluster/internal/cni"
	"picluster/internal/debian"
	"picluster/internal/payload"
)

// wantedImage is an image by its name, and where it is needed.
type wantedImage struct {
	name         string
	controlPlane bool
}

// tags are those of images that a version of kubeadm names but that have versions of
// their own (kubernetes: cmd/kubeadm/app/constants/constants.go, CoreDNSVersion,
// PauseVersion and DefaultEtcdVersion of v1.34.0 to v1.37.2), the newest first.
var tags = map[string][]string{
	"registry.k8s.io/coredns/coredns": {"v1.14.6", "v1.14.2", "v1.13.1", "v1.12.1"},
	"registry.k8s.io/pause":           {"3.10.2", "3.10.1"},
	"registry.k8s.io/etcd":            {"3.7.0-0", "3.6.8-0", "3.6.6-0", "3.6.5-0", "3.6.4-0"},
}

// imageNames lists the images that kubeadm of that version, its pod network and the
// person name. `kubeadm config images list` says the same, but kubeadm is a program for
// a Pi. So its package is looked into: which of the versions that are known stands in
// it.
func (q *Request) imageNames(packages []payload.Package) ([]wantedImage, error) {
	program, err := q.kubeadm(packages)
	if err != nil {
		return nil, err
	}
	version := q.Cluster.Kubernetes.Version
	names := []wantedImage{
		{"registry.k8s.io/kube-apiserver:" + version, true},
		{"registry.k8s.io/kube-controller-manager:" + version, true},
		{"registry.k8s.io/kube-scheduler:" + version, true},
		{"registry.k8s.io/kube-proxy:" + version, false},
	}
	for _, image := range []wantedImage{{"registry.k8s.io/coredns/coredns", false}, {"registry.k8s.io/pause", false}, {"registry.k8s.io/etcd", true}} {
		known := tags[image.name]
		i := slices.IndexFunc(known, func(tag string) bool { return bytes.Contains(program, []byte(tag)) })
		if i < 0 {
			return nil, fmt.Errorf("find version of %s: kubeadm %s names none that this imagebuilder knows", image.name, version)
		}
		names = append(names, wantedImage{image.name + ":" + known[i], image.controlPlane})
	}
	for _, name := range slices.Concat(cni.Images(q.Cluster.Kubernetes.CNI), q.Images) {
		names = append(names, wantedImage{name, false})
	}
	return names, nil
}

// kubeadm reads the program out of its package.
func (q *Request) kubeadm(packages []payload.Package) ([]byte, error) {
	i := slices.IndexFunc(packages, func(p payload.Package) bool { return p.Name == "kubeadm" })
	if i < 0 {
		return nil, fmt.Errorf("read kubeadm: it is installed on the image already, want a stock image")
	}
	deb, err := os.Open(q.store().Path(packages[i].File))
	if err != nil {
		return nil, err
	}
	defer deb.Close()
	for e, err := range debian.Contents(deb) {
		if err != nil {
			return nil, fmt.Errorf("read kubeadm: %w", err)
		}
		if e.Name == "usr/bin/kubeadm" {
			return io.ReadAll(e.Content)
		}
	}
	return nil, fmt.Errorf("read kubeadm: its package has no /usr/bin/kubeadm")
}
