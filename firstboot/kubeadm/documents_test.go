package kubeadm

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"picluster/internal/lab/kube"
	"picluster/internal/secret"
)

// The documents are read by the real kubeadm, which knows every key and warns of
// those that it does not.
func TestKubeadm_takesTheDocuments(t *testing.T) {
	program := kube.Program(t, "kubeadm")
	worker := node0()
	worker.Name, worker.Network.ClusterAddress = "raspberrypi-node1", netip.MustParsePrefix("10.77.0.11/24")
	discovery := filepath.Join(t.TempDir(), "discovery.conf")
	init, err := Init(node0(), boards["pi3"], "/patches")
	if err != nil {
		t.Fatal(err)
	}
	join, err := Join(worker, Joining{Discovery: discovery, Token: secret.New("abcdef.0123456789abcdef")}, "/patches")
	if err != nil {
		t.Fatal(err)
	}
	for name, document := range map[string][]byte{discovery: []byte("{}"), "init.json": init, "join.json": join} {
		if name != discovery {
			name = filepath.Join(filepath.Dir(discovery), name)
		}
		if err := os.WriteFile(name, document, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"init.json", "join.json"} {
		out, err := exec.Command(program, "config", "validate", "--config", filepath.Join(filepath.Dir(discovery), name)).CombinedOutput()
		if err != nil || string(out) != "ok\n" {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
