// Package cni has the manifests of the pod networks that a cluster can have. node0
// applies one right after kubeadm init, because no node is Ready without; clusterctl
// brings it up to date.
//
// They are our own, made from what the projects document, with versions pinned. Both
// networks speak between cluster addresses, the InternalIP of each node, because the
// address that an interface has from DHCP may be another one tomorrow.
package cni

import (
	_ "embed"
	"fmt"
	"net/netip"
	"strings"
)

// Names of the pod networks, as in cluster.yaml.
const (
	Flannel = "flannel"
	Weave   = "weave"
)

// network is a manifest with the words below in it, and the images that it names.
type network struct {
	manifest string
	images   []string
}

const podSubnetWord = "POD_SUBNET"

//go:embed flannel.yaml
var flannelManifest string

//go:embed weave.yaml
var weaveManifest string

// Weave Net's makers are gone; the images are of the fork that went on to 2.9.0
// (github.com/rajch/weave).
var networks = map[string]network{
	Flannel: {flannelManifest, []string{"ghcr.io/flannel-io/flannel:v0.28.10", "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3"}},
	Weave:   {weaveManifest, []string{"docker.io/rajchaudhuri/weave-kube:2.9.0", "docker.io/rajchaudhuri/weave-npc:2.9.0"}},
}

// Manifest is what kubectl applies: YAML documents.
func Manifest(name string, podSubnet netip.Prefix) (string, error) {
	n, ok := networks[name]
	if !ok {
		return "", fmt.Errorf("make pod network: there is none of the name %q", name)
	}
	return strings.ReplaceAll(n.manifest, podSubnetWord, podSubnet.String()), nil
}

// Images are those that a node needs for the network, with their tags; nil for a
// name that is none.
func Images(name string) []string { return networks[name].images }
