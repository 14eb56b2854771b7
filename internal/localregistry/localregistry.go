// Package localregistry is what nodes and clusterctl must agree on about the registry
// inside the cluster: nodes know where it is before it is there.
//
// Images in it are called localhost:5000/NAME:TAG everywhere. Nothing listens there on
// a node: containerd is told to ask a Service's address in place of it, which has no
// way in from the LAN.
package localregistry

import (
	"fmt"
	"net/netip"
)

// Name is what names of images in the registry begin with.
const Name = "localhost:5000"

// HostsPath is the file that tells containerd where Name is; it is read at each pull
// (containerd: docs/hosts.md). The runtime's config_path has to be its grandparent.
const HostsPath = "/etc/containerd/certs.d/" + Name + "/hosts.toml"

// Port is the Service's.
const Port = 5000

// place is the offset of the Service's address in the service subnet. Kubernetes gives
// addresses out from above the first 16 to 256 of a subnet (KEP-3070), kubeadm has the
// tenth for DNS.
const place = 11

// Address is the Service's, the zero Addr if the subnet has no such address.
func Address(serviceSubnet netip.Prefix) netip.Addr {
	a := serviceSubnet.Masked().Addr()
	for range place {
		a = a.Next()
	}
	if !serviceSubnet.Contains(a) {
		return netip.Addr{}
	}
	return a
}

// Hosts is the content of HostsPath.
func Hosts(serviceSubnet netip.Prefix) string {
	url := "http://" + netip.AddrPortFrom(Address(serviceSubnet), Port).String()
	return fmt.Sprintf("server = %q\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", url, url)
}
