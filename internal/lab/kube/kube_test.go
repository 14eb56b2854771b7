//go:build e2e

package kube_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab/kube"
)

// kubectl runs the real client with a kubeconfig.
func kubectl(t *testing.T, config, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(kube.Program(t, "kubectl"), append([]string{"--kubeconfig=" + config}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

const workload = `
apiVersion: v1
kind: Node
metadata: {name: pi, annotations: {kwok.x-k8s.io/node: fake}}
status: {allocatable: {cpu: "4", memory: 1Gi, pods: "110"}, capacity: {cpu: "4", memory: 1Gi, pods: "110"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.org/web}]}
`

func TestStart_runsWorkloadsOnPlayedNodes(t *testing.T) {
	began := time.Now()
	c := kube.Start(t, kube.Options{Controllers: true, Scheduler: true, Kwok: true})
	t.Logf("all programs up after %v", time.Since(began).Round(100*time.Millisecond))
	admin := c.Kubeconfig("admin", "system:masters")
	if out, err := kubectl(t, admin, workload, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := kubectl(t, admin, "", "rollout", "status", "deployment/web", "--timeout=2m"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// What keeps the node Ready for longer than the first minute.
	if out, err := kubectl(t, admin, "", "wait", "--for=create", "lease/pi", "--namespace=kube-node-lease", "--timeout=1m"); err != nil {
		t.Errorf("the node does not hold a lease: %v\n%s", err, out)
	}
}

func TestKubeconfig_isNoMoreThanItsUser(t *testing.T) {
	c := kube.Start(t, kube.Options{})
	out, err := kubectl(t, c.Kubeconfig("nobody"), "", "get", "secrets", "--all-namespaces")
	if err == nil || !strings.Contains(out, `User "nobody" cannot list resource "secrets"`) {
		t.Errorf("a user without rights lists secrets: %v\n%s", err, out)
	}
}
