//go:build e2e

package debs_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"picluster/internal/debian"
	"picluster/internal/lab"
	"picluster/internal/lab/kube"
	"picluster/internal/lab/kube/debs"
)

// Both readers that there will be: apt on a node, ours at a desk.
func TestServe_isReadByAptAndByOurs(t *testing.T) {
	server, key := debs.Serve(t, "amd64")
	root := lab.AptRoot(t, "trixie", "")
	for name, data := range map[string]string{
		"etc/apt/keyrings/kubernetes.asc":        string(key.Public(t)),
		"etc/apt/sources.list.d/kubernetes.list": "deb [signed-by=/etc/apt/keyrings/kubernetes.asc] " + server.URL + "/ /\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	version := strings.TrimPrefix(kube.Version, "v") + debs.Revision
	for _, args := range [][]string{{"update"}, {"download", "kubeadm=" + version, "kubelet", "kubectl", "kubernetes-cni"}} {
		apt := exec.Command("chroot", append([]string{root, "apt-get", "-o", "Acquire::AllowInsecureRepositories=false"}, args...)...)
		if out, err := apt.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}

	keys, err := debian.ReadKeys(key.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	reader := &debian.Reader{Arch: "amd64", Dir: t.TempDir()}
	index, err := reader.Open(t.Context(), debian.Source{URI: server.URL, Suite: "/", Keyring: keys})
	if err != nil {
		t.Fatal(err)
	}
	needed, err := debian.Resolve(debian.Request{From: []*debian.Index{index}, Want: []string{"kubelet", "kubeadm"},
		There: new(debian.Installed).Assume("iptables", "mount", "util-linux")})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range needed {
		names = append(names, p.Name)
		if _, err := reader.Fetch(context.Background(), p); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(names, " "); got != "kubeadm kubelet kubernetes-cni" {
		t.Errorf("to be installed: %s", got)
	}
}
