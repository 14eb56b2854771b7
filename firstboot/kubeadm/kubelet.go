package kubeadm

import (
	"fmt"

	"picluster/internal/node"
)

// PatchName is the file of a node's own kubelet settings in the directory of
// patches (kubeadm documentation, "Customizing with patches").
const PatchName = "kubeletconfiguration+merge.json"

// ResolvConf is made before each start of the kubelet: where pods' questions for names
// go that are none of the cluster's.
const ResolvConf = "/run/picluster/resolv.conf"

// kubelet is what all nodes of a cluster have in common; kubeadm keeps it in the
// cluster and gives it to each node that joins.
func kubelet(c *node.Config) object {
	o := object{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"cgroupDriver": "systemd", // as containerd's SystemdCgroup: two managers of cgroups would fight
		// Logs and exec go over a certificate that the control plane has signed; the
		// join service approves it.
		"serverTLSBootstrap": true,
		"resolvConf":         ResolvConf,
	}
	return over(over(o, swap(c.System.Swap)), c.Kubernetes.Kubelet)
}

// swap lets pods that ask for memory use as much swap as their part of the memory
// is; others and the control plane get none (Kubernetes documentation, "Swap memory
// management"; final since 1.34). With a swap that the image has made nothing is
// known of its speed, so it is for the system only.
func swap(kind string) object {
	switch kind {
	case "zram", "file":
		return object{"failSwapOn": false, "memorySwap": object{"swapBehavior": "LimitedSwap"}}
	case "keep":
		return object{"failSwapOn": false, "memorySwap": object{"swapBehavior": "NoSwap"}}
	}
	return nil
}

// KubeletPatch is what this board's kubelet has of its own: memory for the system
// itself, a tenth of all but no more than 256 MiB, is kept from pods. A person's own
// settings stand above it.
func KubeletPatch(c *node.Config, b Board) ([]byte, error) {
	reserved := min(b.Memory/10, 256<<20) >> 20
	patch := object{"systemReserved": object{"memory": fmt.Sprintf("%dMi", reserved)}}
	if c.Role == node.Worker { // nobody has it run anything but the control plane
		patch["staticPodPath"] = ""
	}
	own := map[string]any{}
	if settings, ok := c.Kubernetes.Kubelet["systemReserved"]; ok {
		own["systemReserved"] = settings
	}
	return documents(over(patch, own))
}
