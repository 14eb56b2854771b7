//go:build e2e

package kube_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"picluster/internal/joinapi"
	lab "picluster/internal/lab/kube"
)

// kubeadmOpens lets the real kubeadm make what it makes at init and at each upgrade:
// rights of bootstrap tokens, automatic approval, public cluster-info.
func (w *world) kubeadmOpens() {
	w.t.Helper()
	config := filepath.Join(w.t.TempDir(), "kubeadm.yaml")
	text := fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: 10.77.0.10}
nodeRegistration: {name: pi-node0, criSocket: unix:///run/containerd/containerd.sock}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: %s
`, lab.Version)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(lab.Program(w.t, "kubeadm"), "init", "phase", "bootstrap-token", "--skip-token-print", "--config="+config, "--kubeconfig="+w.admin)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("kubeadm: %v\n%s", err, out)
	}
}

// A token of kubeadm's own, which may be lying about from before, is worth nothing.
func TestRun_deniesTokensOfKubeadm(t *testing.T) {
	w := start(t, 3, 0)
	w.kubeadmOpens()
	w.until("kubeadm's approval is shut", func() bool {
		_, err := w.kubectl(w.admin, "", "get", "clusterrolebinding", "kubeadm:node-autoapprove-bootstrap")
		return err != nil
	})
	cmd := exec.Command(lab.Program(t, "kubeadm"), "token", "create", "--kubeconfig="+w.admin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	config := w.plane.TokenKubeconfig("kubeadm", strings.TrimSpace(string(out)))
	wantText(t, "kubeadm's token", w.ask(config, clientRequest(t, "kubeadm", "pi-node1")), string(joinapi.NotAllowed))
}

// A real kubelet bootstraps with what the service hands out. There is no container
// runtime here, so it ends after that; and it does not rotate its certificate, or
// it would bootstrap in the background and end before.
func TestKubelet_bootstrapsWithTheBundle(t *testing.T) {
	w := start(t, 3, 0)
	p := w.newPi("pi-node1", 1)
	b := w.bundle(p)
	if out := w.kubelet("thief", w.tokenConfig("token", b), "pi-node2"); !strings.Contains(out, "is for pi-node1, not for system:node:pi-node2") {
		t.Errorf("a kubelet with another node's name: %s", tail(out))
	}
	dir := "owner"
	w.kubelet(dir, w.tokenConfig("token", b), "pi-node1")
	config := w.dir(dir, "kubelet.conf")
	if out := w.must(w.kubectl(config, "", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")); out != "system:node:pi-node1" {
		t.Errorf("the kubelet is %s", out)
	}
	if err := w.register(config, "pi-node1"); err != nil {
		t.Fatal(err)
	}
	if err := p.Joined(w.context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Join(w.context(), false); err == nil || !strings.Contains(err.Error(), "has joined as pi-node1") {
		t.Errorf("after it has joined: %v", err)
	}
}

func (w *world) dir(parts ...string) string {
	return filepath.Join(append([]string{w.plane.Dir}, parts...)...)
}

// kubelet runs until it ends by itself, or has its certificate, and returns its log.
func (w *world) kubelet(name, bootstrap, node string) string {
	w.t.Helper()
	dir := w.dir(name)
	config := fmt.Sprintf(`{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"KubeletConfiguration","rotateCertificates":false,"failCgroupV1":false,
		"failSwapOn":false,"containerRuntimeEndpoint":"unix://%s/none.sock","authentication":{"x509":{"clientCAFile":%q}},"port":0}`, dir, w.plane.CAFile())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.context())
	defer cancel()
	cmd := exec.CommandContext(ctx, lab.Program(w.t, "kubelet"), "--config="+filepath.Join(dir, "config.yaml"),
		"--kubeconfig="+filepath.Join(dir, "kubelet.conf"), "--bootstrap-kubeconfig="+bootstrap, "--cert-dir="+filepath.Join(dir, "pki"),
		"--root-dir="+filepath.Join(dir, "root"), "--hostname-override="+node)
	log, err := os.Create(filepath.Join(dir, "kubelet.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	denied := func() bool { return strings.Contains(w.read(log.Name()), "is denied") }
	certified := func() bool {
		_, err := os.Stat(filepath.Join(dir, "kubelet.conf"))
		return err == nil
	}
	w.until("the kubelet has an answer", func() bool { return len(ended) > 0 || certified() || denied() })
	cancel()
	<-ended
	return w.read(log.Name())
}

func tail(s string) string { return s[max(0, len(s)-2000):] }
