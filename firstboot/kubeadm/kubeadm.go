// Package kubeadm writes the documents that kubeadm reads, from node.json and what
// the board is: what a control plane is made by, what a worker joins by, and what
// one node's kubelet does differently from the others'.
//
// It is pure. The documents are JSON, which is YAML to kubeadm: the agent needs no
// YAML of its own. How kubeadm is run is package steps.
package kubeadm

import (
	"bytes"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"picluster/internal/node"
	"picluster/internal/secret"
)

// APIPort is where the API server answers.
const APIPort = 6443

// CRISocket is where containerd answers, on Debian and everywhere.
const CRISocket = "unix:///run/containerd/containerd.sock"

// Board is what the documents depend on besides node.json.
type Board struct {
	Memory int64 // bytes
}

// leastMemory is what kubeadm wants of a control plane: 1700 MB, by which it means
// MiB (cmd/kubeadm/app/constants, ControlPlaneMem). A Pi with 1 GB fails that, and
// works with swap.
const leastMemory = 1700 << 20

type object map[string]any

const version = "kubeadm.k8s.io/v1beta4" // since Kubernetes 1.31

// Endpoint is the API server as all nodes call it: by node0's name, which the hosts
// file turns into its cluster address. kubeadm has no way to change it later.
func Endpoint(name string) string { return net.JoinHostPort(name, strconv.Itoa(APIPort)) }

// Init is what `kubeadm init --config` reads on node0. Patches is the directory of
// KubeletPatch's file.
//
// The phase bootstrap-token is left out: it makes a token for anybody, has the
// certificate of any node approved, and shows cluster-info to the public. The join
// service and its manifest are there instead. Without it kubeadm does not know a token
// to show in its line to join by, so that is left out too.
func Init(c *node.Config, b Board, patches string) ([]byte, error) {
	k, address := c.Kubernetes, c.Network.ClusterAddress.Addr().String()
	ignored := slices.Clone(k.IgnorePreflight)
	if b.Memory < leastMemory && !slices.Contains(ignored, "Mem") {
		ignored = append([]string{"Mem"}, ignored...)
	}
	taints := taintsOf(k.Taints)
	if !k.Schedulable {
		taints = append([]object{{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}}, taints...)
	}
	return documents(
		object{"apiVersion": version, "kind": "InitConfiguration",
			"localAPIEndpoint": object{"advertiseAddress": address, "bindPort": APIPort},
			"nodeRegistration": registration(c, k.Labels, taints, ignored),
			"skipPhases":       []string{"bootstrap-token", "show-join-command"},
			"patches":          object{"directory": patches},
			"timeouts":         patience,
		},
		object{"apiVersion": version, "kind": "ClusterConfiguration",
			"clusterName": c.Cluster.Name, "kubernetesVersion": k.Version,
			"controlPlaneEndpoint": Endpoint(c.Name),
			"networking":           object{"podSubnet": k.PodSubnet, "serviceSubnet": k.ServiceSubnet},
			"apiServer":            object{"certSANs": []string{c.Name, c.Name + ".local", address}},
			// A kubelet's certificate is worth something for thirty days: a node that is
			// revoked is out by then at the latest.
			"controllerManager": object{"extraArgs": arguments("cluster-signing-duration", "720h0m0s")},
			"etcd":              object{"local": object{"dataDir": "/var/lib/etcd", "extraArgs": etcdArguments}},
		},
		kubelet(c),
		over(object{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables"}, k.KubeProxy),
	)
}

// Joining is what a worker learns from node0.
type Joining struct {
	Discovery string // path of the file that names and certifies the API server
	Token     secret.Text
	Labels    map[string]string
}

// Join is what `kubeadm join --config` reads on a worker. It has the token in it.
func Join(c *node.Config, j Joining, patches string) ([]byte, error) {
	return documents(object{"apiVersion": version, "kind": "JoinConfiguration",
		"discovery": object{
			"file":              object{"kubeConfigPath": j.Discovery},
			"tlsBootstrapToken": j.Token.Reveal(),
		},
		"nodeRegistration": registration(c, j.Labels, taintsOf(c.Kubernetes.Taints), c.Kubernetes.IgnorePreflight),
		"patches":          object{"directory": patches},
		"timeouts":         patience,
	})
}

// patience is for a Pi 3 with a slow card, where the API server alone may need
// minutes for its first answer (kubernetes/kubeadm#1382). A quick board is not
// slowed down by it.
var patience = object{
	"controlPlaneComponentHealthCheck": "15m0s", // of the static pods' startup probes, too
	"kubeletHealthCheck":               "10m0s",
	"kubernetesAPICall":                "10m0s",
	"etcdAPICall":                      "10m0s",
	"tlsBootstrap":                     "10m0s",
	"discovery":                        "10m0s",
	"upgradeManifests":                 "15m0s",
}

// etcdArguments are for an SD card, which may need half a second for a write that
// etcd's defaults want done in a tenth (etcd documentation, "Tuning"). Snapshots come
// more often than etcd 3.5's default of 100000 transactions, which it keeps in memory.
var etcdArguments = arguments("heartbeat-interval", "500", "election-timeout", "5000", "snapshot-count", "10000")

// arguments makes the list of v1beta4 from names and values in turn.
func arguments(pairs ...string) []object {
	var list []object
	for pair := range slices.Chunk(pairs, 2) {
		list = append(list, object{"name": pair[0], "value": pair[1]})
	}
	return list
}

func registration(c *node.Config, labels map[string]string, taints []object, ignored []string) object {
	flags := []string{"node-ip", c.Network.ClusterAddress.Addr().String()}
	if own := nodeLabels(labels); own != "" {
		flags = append(flags, "node-labels", own)
	}
	// Without the key kubeadm makes taints of its own; an empty list is none.
	o := object{"name": c.Name, "criSocket": CRISocket, "taints": taints, "kubeletExtraArgs": arguments(flags...)}
	if len(ignored) > 0 {
		o["ignorePreflightErrors"] = ignored
	}
	return o
}

func taintsOf(texts []string) []object {
	taints := []object{}
	for _, text := range texts {
		name, effect, _ := strings.Cut(text, ":")
		key, value, _ := strings.Cut(name, "=")
		taint := object{"key": key, "effect": effect}
		if value != "" {
			taint["value"] = value
		}
		taints = append(taints, taint)
	}
	return taints
}

// nodeLabels is the kubelet's flag. It does not start with a label of Kubernetes'
// own names among them (pkg/apis/core/v1/… kubelet labels; admission NodeRestriction):
// those are given by the control plane.
func nodeLabels(labels map[string]string) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if !Reserved(key) {
			list = append(list, key+"="+labels[key])
		}
	}
	return strings.Join(list, ",")
}

// Reserved reports whether a node may not give itself that label.
func Reserved(key string) bool {
	namespace, _, prefixed := strings.Cut(key, "/")
	in := func(domain string) bool { return namespace == domain || strings.HasSuffix(namespace, "."+domain) }
	return prefixed && (in("kubernetes.io") || in("k8s.io")) && !in("kubelet.kubernetes.io") && !in("node.kubernetes.io")
}

func documents(all ...object) ([]byte, error) {
	var b bytes.Buffer
	for i, o := range all {
		if i > 0 {
			b.WriteString("---\n")
		}
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(o); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// over lays settings over a document, group by group.
func over(document object, settings map[string]any) object {
	out := maps.Clone(document)
	for key, value := range settings {
		group, isGroup := value.(map[string]any)
		below, wasGroup := out[key].(object)
		if isGroup && wasGroup {
			out[key] = over(below, group)
			continue
		}
		out[key] = value
	}
	return out
}
