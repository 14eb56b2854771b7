package payload

// What a node needs of packages. Desk and Pi agree on it here: what a payload has in
// it is what the Pi would otherwise ask repositories for.
var (
	// DebianPackages are those of Debian besides a stock image: the container runtime,
	// and what kube-proxy and pod networks work with on the host.
	DebianPackages = []string{"containerd", "runc", "conntrack", "iptables", "nftables"}

	// KubernetesPackages are those of pkgs.k8s.io. kubelet brings kubernetes-cni along,
	// the plugins in /opt/cni/bin; kubeadm depends on nothing since 1.32.
	KubernetesPackages = []string{"kubelet", "kubeadm", "kubectl"}
)
