package kube

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"picluster/internal/lab/tool"
)

// stageFiles are kwok's own descriptions of how fast nodes and pods live. Without
// any kwok has nothing to do and ends.
var stageFiles = []string{
	"node/fast/node-initialize.yaml",
	"node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
	"pod/fast/pod-ready.yaml",
	"pod/fast/pod-complete.yaml",
	"pod/fast/pod-delete.yaml",
}

// startKwok starts kwok; in the place of all kubelets it also answers the API server's
// calls for a port of a pod. Without a lease its nodes give a sign of life every ten
// minutes only, and the controller manager, which waits 50 s, takes them for dead and
// their pods for not ready.
func (c *ControlPlane) startKwok(podPorts map[int]string) {
	c.t.Helper()
	address := FreeAddress(c.t)
	ip, port, _ := net.SplitHostPort(address)
	c.run("kwok", "--kubeconfig="+c.Kubeconfig("admin", "system:masters"), "--manage-all-nodes=true",
		"--node-lease-duration-seconds=40", "--config="+c.kwokConfig(podPorts), "--node-ip="+ip, "--node-port="+port, "--server-address="+address,
		"--tls-cert-file="+c.pki.path("apiserver.crt"), "--tls-private-key-file="+c.pki.path("apiserver.key"))
}

// kwokConfig returns the path of one file with all stages and forwards.
func (c *ControlPlane) kwokConfig(podPorts map[int]string) string {
	c.t.Helper()
	dir, err := moduleDir("kwok", "sigs.k8s.io/kwok")
	if err != nil {
		c.t.Fatal(err)
	}
	var all [][]byte
	for _, file := range stageFiles {
		data, err := os.ReadFile(filepath.Join(dir, "kustomize/stage", file))
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, data)
	}
	for port, address := range podPorts {
		ip, target, err := net.SplitHostPort(address)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, fmt.Appendf(nil, "{apiVersion: kwok.x-k8s.io/v1alpha1, kind: ClusterPortForward, metadata: {name: port-%d},\n"+
			" spec: {forwards: [{ports: [%d], target: {address: %s, port: %s}}]}}\n", port, port, ip, target))
	}
	path := filepath.Join(c.Dir, "stages.yaml")
	if err := os.WriteFile(path, bytes.Join(all, []byte("\n---\n")), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// source is where a module of this package is.
func source(ctx context.Context, module string) (string, error) {
	root, err := tool.Output(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "picluster")
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", module, err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "internal/lab/kube/modules", module), nil
}

// moduleDir is where the sources of one of a module's dependencies are.
func moduleDir(module, dependency string) (string, error) {
	dir, err := source(context.Background(), module)
	if err != nil {
		return "", err
	}
	out, err := tool.Cmd{Dir: dir, Args: []string{"go", "list", "-m", "-f", "{{.Dir}}", dependency}}.Output(context.Background())
	return strings.TrimSpace(string(out)), err
}
