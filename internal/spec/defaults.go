package spec

import (
	"cmp"
	"fmt"
	"strings"
)

// Versions of Kubernetes that nodes can run. The swap policy that nodes rely on
// is final since v1.34 (feature NodeSwap); from v1.38 on the kubelet needs
// containerd 2, and trixie has 1.7.
const (
	oldestKubernetes  = 34
	newestKubernetes  = 37
	defaultKubernetes = "v1.37.2"
)

// standardLoop fits on a 32 GB card beside the system.
func standardLoop() Loop { return Loop{Path: "/var/gluster.img", Size: 15 << 30} }

// DebianMirrors are Debian's own: those of who has no document, too.
func DebianMirrors() Mirrors {
	return Mirrors{Debian: "http://ftp.debian.org/debian", Security: "http://security.debian.org/debian-security"}
}

// setDefaults fills in what the document does not give. This is the only place
// where defaults are made.
func (c *Cluster) setDefaults(given func(field string) bool) {
	fill(given, "apiVersion", &c.APIVersion, "picluster/v1")
	fill(given, "kind", &c.Kind, "Cluster")
	fill(given, "name", &c.Name, "picluster")
	fill(given, "image.source", &c.Image.Source, "raspios-lite-arm64")
	fill(given, "nodePrefix", &c.NodePrefix, "raspberrypi-")

	s := &c.System
	fill(given, "system.timezone", &s.Timezone, "Etc/UTC")
	fill(given, "system.locale", &s.Locale, "en_US.UTF-8")
	fill(given, "system.keymap", &s.Keymap, "us")
	fill(given, "system.user.name", &s.User.Name, "pi")
	sudo := "nopasswd" // without a password, asking for one would lock everybody out
	if given("system.user.password") {
		sudo = "password"
	}
	fill(given, "system.user.sudo", &s.User.Sudo, sudo)
	fill(given, "system.swap", &s.Swap, "zram")
	fill(given, "system.packages", &s.Packages, []string{})
	fill(given, "system.files", &s.Files, []File{})
	for i := range s.Files {
		field := fmt.Sprintf("system.files[%d]", i)
		fill(given, field+".mode", &s.Files[i].Mode, 0o644)
		fill(given, field+".owner", &s.Files[i].Owner, "root:root")
	}

	n := &c.Network
	fill(given, "network.interface", &n.Interface, "auto")
	fill(given, "network.wifi", &n.WiFi, []WiFi{})
	for i := range n.WiFi {
		field := fmt.Sprintf("network.wifi[%d]", i)
		fill(given, field+".security", &n.WiFi[i].Security, "auto")
		fill(given, field+".storeAs", &n.WiFi[i].StoreAs, "auto")
		if n.Country == "" {
			fill(given, "network.country", &n.Country, n.WiFi[i].Country)
		}
	}
	fill(given, "network.clusterSubnet", &n.ClusterSubnet, prefix(10, 77, 0, 0, 24))
	fill(given, "boot.usbBoot", &c.Boot.USBBoot, "off")

	c.setClusterDefaults(given)
	c.setNodeDefaults(given)
}

// setClusterDefaults is the part about Kubernetes and what stands on it.
func (c *Cluster) setClusterDefaults(given func(field string) bool) {
	k := &c.Kubernetes
	fill(given, "kubernetes.enabled", &k.Enabled, true)
	fill(given, "kubernetes.version", &k.Version, defaultKubernetes)
	fill(given, "kubernetes.cni", &k.CNI, "flannel")
	// The pod subnet is what Flannel's own manifest has, the service subnet is kubeadm's.
	fill(given, "kubernetes.podSubnet", &k.PodSubnet, prefix(10, 244, 0, 0, 16))
	fill(given, "kubernetes.serviceSubnet", &k.ServiceSubnet, prefix(10, 96, 0, 0, 12))
	fill(given, "kubernetes.controlPlaneSchedulable", &k.ControlPlaneSchedulable, true)

	m, official := &c.Mirrors, DebianMirrors()
	fill(given, "mirrors.debian", &m.Debian, official.Debian)
	fill(given, "mirrors.security", &m.Security, official.Security)
	fill(given, "mirrors.kubernetes", &m.Kubernetes, communityRepository(k.Version))

	backend, dashboard := "none", "none"
	if k.Enabled {
		backend, dashboard = "glusterfs", "headlamp"
	}
	fill(given, "storage.backend", &c.Storage.Backend, backend)
	if c.Storage.OnNodes() {
		c.Storage.Device.setDefaults(given, "storage.device", standardLoop())
		fill(given, "storage.bricks", &c.Storage.Bricks, "xfs")
	}
	fill(given, "addons.registry", &c.Addons.Registry, k.Enabled)
	fill(given, "addons.dashboard", &c.Addons.Dashboard, dashboard)
}

// setNodeDefaults is the part of each node, and what depends on their number.
func (c *Cluster) setNodeDefaults(given func(field string) bool) {
	holders := 0
	for i := range c.Nodes {
		n, field := &c.Nodes[i], fmt.Sprintf("nodes[%d]", i)
		role := "worker"
		if i == 0 {
			role = "control-plane"
		}
		fill(given, field+".name", &n.Name, fmt.Sprintf("%snode%d", c.NodePrefix, i))
		fill(given, field+".role", &n.Role, role)
		fill(given, field+".interface", &n.Interface, c.Network.Interface)
		fill(given, field+".storage.enabled", &n.Storage.Enabled, c.Storage.OnNodes())
		if !n.Storage.Enabled {
			continue
		}
		holders++
		if given(field + ".storage.device") {
			n.Storage.Device.setDefaults(given, field+".storage.device", cmp.Or(c.Storage.Device.Loop, standardLoop()))
		} else {
			n.Storage.Device = c.Storage.Device
		}
	}
	switch {
	case c.Storage.OnNodes():
		fill(given, "storage.replicas", &c.Storage.Replicas, min(3, holders))
	case c.Storage.Backend != "none":
		fill(given, "storage.replicas", &c.Storage.Replicas, 3)
	}
}

// setDefaults makes a device that names no disk a file.
func (d *Device) setDefaults(given func(field string) bool, field string, loop Loop) {
	if d.Disk != "" {
		return
	}
	fill(given, field+".loop.path", &d.Loop.Path, loop.Path)
	fill(given, field+".loop.size", &d.Loop.Size, loop.Size)
}

// communityRepository is where the Kubernetes project has the packages of a version:
// one repository for each minor (kubernetes.io, "pkgs.k8s.io: Introducing Kubernetes
// Community-Owned Package Repositories").
func communityRepository(version string) string {
	minor := version[:max(0, strings.LastIndex(version, "."))]
	return "https://pkgs.k8s.io/core:/stable:/" + minor + "/deb/"
}

func fill[T any](given func(field string) bool, field string, value *T, standard T) {
	if !given(field) {
		*value = standard
	}
}
