//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/internal/cni"
	"picluster/internal/host"
	"picluster/internal/lab/kube"
	"picluster/internal/lab/nodes"
)

// A cluster that somebody forms who knows how, command by command, on machines that
// are all up already: what the product is compared with. Nothing of it is used here.
func TestCluster_byHand(t *testing.T) { formByHand(t) }

// formByHand returns how long it took from power on until all answers.
func formByHand(t *testing.T) time.Duration {
	t.Helper()
	lan := nodes.New(t)
	lan.Shelf = shelf(t)
	all := []*nodes.Node{lan.Node("pi-node0"), lan.Node("pi-node1"), lan.Node("pi-node2")}
	t.Cleanup(func() { explain(t, all[0], all...) })
	watch := stopwatch{t, time.Now()}
	for _, n := range all {
		n.PowerOn()
	}
	for _, n := range all {
		n.AwaitUp()
	}
	watch.lap("nodes up")
	installByHand(t, all, watch)

	on(t, all[0], "sh", "-c", "umask 077; cat >/root/init.yaml <<'END'\n"+initByHand+"END\nkubeadm init --config /root/init.yaml --skip-phases=show-join-command")
	watch.lap("control plane initialised")
	manifest, err := cni.Manifest(cni.Flannel, podSubnet)
	if err != nil {
		t.Fatal(err)
	}
	feed(t, all[0], manifest, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "apply", "-f", "-")
	join := strings.Fields(on(t, all[0], "kubeadm", "token", "create", "--print-join-command"))
	for i, n := range all[1:] {
		on(t, n, "sh", "-c", "cat >/root/join.yaml <<'END'\n"+joinByHand(i+1, join)+"END\nkubeadm join --config /root/join.yaml")
	}
	watch.lap("workers joined")
	kubectl(t, all[0], "wait", "--for=condition=Ready", "nodes", "--all", "--timeout="+clusterTime.String())
	watch.lap("all nodes Ready")
	works(t, all[0], "pi-node0", "pi-node1", "pi-node2")
	watch.lap("pods and the service answer on all nodes")
	return time.Since(watch.began)
}

func addressByHand(i int) string { return fmt.Sprintf("10.77.0.%d", 10+i) }

// installByHand brings nodes, all at once, to where kubeadm begins.
func installByHand(t *testing.T, all []*nodes.Node, watch stopwatch) {
	t.Helper()
	var hosts strings.Builder
	for i, n := range all {
		fmt.Fprintf(&hosts, "%s %s\n", addressByHand(i), n.Name)
	}
	const script = `
ip address add "$1/24" dev eth0
printf '%s' "$2" >>/etc/hosts
dpkg --install --force-confold /media/debs/*.deb
mkdir -p /etc/containerd
cat >/etc/containerd/config.toml <<'END'
version = 2
imports = ["/etc/containerd/conf.d/*.toml"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10.2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
END
systemctl restart containerd
systemctl enable kubelet
sysctl -qw net.ipv4.ip_forward=1
for image in /media/images/*.tar; do ctr -n k8s.io images import "$image"; done
`
	errs := make(chan error)
	for i, n := range all {
		go func() {
			out, err := n.Run(t.Context(), host.Cmd{Args: []string{"sh", "-ec", script, "install", addressByHand(i), hosts.String()}})
			if err != nil {
				err = fmt.Errorf("%s: %w\n%s", n, err, out)
			}
			errs <- err
		}()
	}
	for range all {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	watch.lap("packages installed, images imported")
}

// flow is a value as JSON, which is YAML too.
func flow(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func merged(all ...map[string]any) map[string]any {
	m := map[string]any{}
	for _, part := range all {
		for key, value := range part {
			m[key] = value
		}
	}
	return m
}

var initByHand = `
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: ` + addressByHand(0) + `}
nodeRegistration:
  name: pi-node0
  taints: []
  ignorePreflightErrors: ` + flow(slices.Concat(nodes.IgnorePreflight, []string{"Mem", "NumCPU"})) + `
  kubeletExtraArgs: [{name: node-ip, value: ` + addressByHand(0) + `}]
timeouts: {kubernetesAPICall: 10m0s, controlPlaneComponentHealthCheck: 10m0s, kubeletHealthCheck: 10m0s}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: ` + kube.Version + `
networking: {podSubnet: ` + podSubnet.String() + `}
---
` + flow(merged(map[string]any{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "cgroupDriver": "systemd", "failSwapOn": false}, nodes.Kubelet)) + `
---
` + flow(merged(map[string]any{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables"}, nodes.KubeProxy)) + `
`

// joinByHand takes what `kubeadm token create --print-join-command` says.
func joinByHand(i int, command []string) string {
	after := func(flag string) string { return command[slices.Index(command, flag)+1] }
	return fmt.Sprintf(`
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery: {bootstrapToken: {apiServerEndpoint: %q, token: %q, caCertHashes: [%q]}}
nodeRegistration:
  name: pi-node%d
  ignorePreflightErrors: %s
  kubeletExtraArgs: [{name: node-ip, value: %s}]
timeouts: {discovery: 10m0s, tlsBootstrap: 10m0s, kubeletHealthCheck: 10m0s, kubernetesAPICall: 10m0s}
`, command[2], after("--token"), after("--discovery-token-ca-cert-hash"), i, flow(nodes.IgnorePreflight), addressByHand(i))
}
