package kubeadm

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"picluster/internal/golden"
	"picluster/internal/node"
	"picluster/internal/secret"
)

func node0() *node.Config {
	return &node.Config{Name: "raspberrypi-node0", Role: node.ControlPlane, Cluster: node.Cluster{Name: "home"},
		System:  node.System{Swap: "zram"},
		Network: node.Network{ClusterAddress: netip.MustParsePrefix("10.77.0.10/24")},
		Kubernetes: &node.Kubernetes{Version: "v1.37.2", Schedulable: true,
			PodSubnet: netip.MustParsePrefix("10.244.0.0/16"), ServiceSubnet: netip.MustParsePrefix("10.96.0.0/12")}}
}

var boards = map[string]Board{"pi3": {Memory: 921 << 20}, "pi4": {Memory: 3794 << 20}}

func TestInit_isWhatReviewersRead(t *testing.T) {
	small, large := node0(), node0()
	large.System.Swap = "off"
	large.Kubernetes.Schedulable = false
	large.Kubernetes.Labels = map[string]string{"disk": "ssd", "node-role.kubernetes.io/storage": ""}
	large.Kubernetes.Taints = []string{"dedicated=db:NoSchedule", "slow:NoExecute"}
	large.Kubernetes.IgnorePreflight = []string{"NumCPU"}
	large.Kubernetes.Kubelet = map[string]any{"maxPods": 50.0, "cgroupDriver": "cgroupfs", "systemReserved": map[string]any{"cpu": "100m"}}
	large.Kubernetes.KubeProxy = map[string]any{"mode": "nftables", "conntrack": map[string]any{"maxPerCore": 0.0}}
	for name, c := range map[string]*node.Config{"pi3": small, "pi4": large} {
		init, err := Init(c, boards[name], "/patches")
		if err != nil {
			t.Fatal(err)
		}
		patch, err := KubeletPatch(c, boards[name])
		if err != nil {
			t.Fatal(err)
		}
		golden.Equal(t, "testdata/init-"+name+".golden", append(append(init, "# patch\n"...), patch...))
	}
}

func TestJoin_isWhatReviewersRead(t *testing.T) {
	c := node0()
	c.Name, c.Role, c.Network.ClusterAddress = "raspberrypi-node1", node.Worker, netip.MustParsePrefix("10.77.0.11/24")
	data, err := Join(c, Joining{Discovery: "/run/discovery.conf", Token: secret.New("abcdef.0123456789abcdef"), Labels: map[string]string{"disk": "ssd"}}, "/patches")
	if err != nil {
		t.Fatal(err)
	}
	patch, err := KubeletPatch(c, boards["pi3"])
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/join.golden", append(append(data, "# patch\n"...), patch...))
}

// kubeadm ends at a check with an error that is not ignored, and "all" would ignore
// errors that nobody has thought of.
func TestInit_ignoresWhatIsKnownAndNoMore(t *testing.T) {
	for name, want := range map[string]string{"pi3": `["Mem"]`, "pi4": ""} {
		data, err := Init(node0(), boards[name], "/patches")
		if err != nil {
			t.Fatal(err)
		}
		first, _, _ := strings.Cut(string(data), "---\n")
		var init struct {
			NodeRegistration struct {
				IgnorePreflightErrors json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(first), &init); err != nil {
			t.Fatal(err)
		}
		if have := strings.Join(strings.Fields(string(init.NodeRegistration.IgnorePreflightErrors)), ""); have != want {
			t.Errorf("%s: ignores %s, want %s", name, have, want)
		}
	}
}

func TestReserved_areLabelsThatAKubeletMayNotTake(t *testing.T) {
	for key, want := range map[string]bool{
		"disk": false, "example.org/disk": false, "node.kubernetes.io/disk": false, "x.node.kubernetes.io/a": false,
		"node-role.kubernetes.io/storage": true, "kubernetes.io/disk": true, "k8s.io/disk": true, "notk8s.io/disk": false,
	} {
		if Reserved(key) != want {
			t.Errorf("Reserved(%q) is %v", key, !want)
		}
	}
}
