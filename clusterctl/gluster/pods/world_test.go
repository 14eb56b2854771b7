//go:build e2e

package pods_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/kube"
	"picluster/internal/host"
	lab "picluster/internal/lab/gluster"
	labkube "picluster/internal/lab/kube"
	"picluster/internal/lab/kubelet"
)

// world is a real API server, and real storage nodes of which it knows as nodes with a
// pod each. There are no containers: what is run in a pod runs on its node.
type world struct {
	*lab.Cluster
	Kube *kube.Client
	api  *labkube.ControlPlane
	t    *testing.T
}

func newWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{Cluster: lab.Start(t, n), api: labkube.Start(t, labkube.Options{}), t: t}
	w.Kube = w.client("admin", "system:masters")
	port := kubelet.Start(t, w.exec)
	w.apply(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "` + pods.Namespace + `"}}`)
	// No controller makes it here.
	w.apply(`{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "` + pods.Namespace + `"}}`)
	for _, node := range w.Nodes {
		w.apply(kubelet.Node(node.Name, port))
		w.pod(node.Name)
	}
	return w
}

func (w *world) client(user string, groups ...string) *kube.Client {
	w.t.Helper()
	config, _, err := kube.Kubeconfig{Named: w.api.Kubeconfig(user, groups...)}.Load()
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := kube.New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return client
}

// apply applies an object, with its status.
func (w *world) apply(object string) {
	w.t.Helper()
	o := new(kube.Object)
	w.must(o.UnmarshalJSON([]byte(object)))
	_, err := w.Kube.Apply(w.t.Context(), o)
	w.must(err)
	if _, ok := o.Object["status"]; !ok {
		return
	}
	config, _, err := kube.Kubeconfig{Named: w.api.Kubeconfig("admin", "system:masters")}.Load()
	w.must(err)
	client, err := dynamic.NewForConfig(config)
	w.must(err)
	resource := schema.GroupVersionResource{Version: "v1", Resource: strings.ToLower(o.GetKind()) + "s"}
	_, err = client.Resource(resource).Namespace(o.GetNamespace()).ApplyStatus(w.t.Context(), o.GetName(), o, metav1.ApplyOptions{FieldManager: "test", Force: true})
	w.must(err)
}

// pod makes glusterd's pod of a node, as the DaemonSet would.
func (w *world) pod(node string) {
	w.t.Helper()
	pod := map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": "glusterfs-" + node, "namespace": pods.Namespace, "labels": map[string]any{pods.Component: pods.Daemon}},
		"spec": map[string]any{"nodeName": node, "hostNetwork": true, "automountServiceAccountToken": false,
			"containers": []any{map[string]any{"name": pods.Container, "image": "none"}}},
		"status": map[string]any{"phase": "Running", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	}
	data, err := json.Marshal(pod)
	w.must(err)
	w.apply(string(data))
}

// exec runs a program as a container's runtime does: it leads a session of its own, and
// goes on when nobody listens any more.
func (w *world) exec(_ context.Context, pod string, s host.Streams) (int, error) {
	for _, n := range w.Nodes {
		if pod != "glusterfs-"+n.Name {
			continue
		}
		if n.PID() == 0 {
			return 0, errors.New("no route to host")
		}
		cmd := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(n.PID()), "--mount", "--uts", "--net", "--ipc", "--pid", "--", "setsid", "--wait"}, s.Args...)...)
		cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if s.Stdin != nil {
			in, err := cmd.StdinPipe()
			if err != nil {
				return 0, err
			}
			go func() {
				io.Copy(in, s.Stdin)
				in.Close()
			}()
		}
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
				return 128 + int(status.Signal()), nil
			}
			return exit.ExitCode(), nil
		}
		return 0, err
	}
	return 0, fmt.Errorf("there is no pod %s", pod)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run(on host.Host, script string, args ...string) string {
	w.t.Helper()
	out, err := on.Run(w.t.Context(), host.Cmd{Args: append([]string{"sh", "-ec", script, "sh"}, args...)})
	w.must(err)
	return strings.TrimSpace(string(out))
}
