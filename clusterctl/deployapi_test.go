package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/manifests"
	"picluster/internal/cli"
	lab "picluster/internal/lab/kube"
	"picluster/internal/lab/relay"
)

// apiWorld is a project whose cluster is a real control plane with played nodes.
type apiWorld struct {
	t      *testing.T
	plane  *lab.ControlPlane
	config *rest.Config // an administrator's
	client *kube.Client
	dir    string       // of cluster.yaml
	relay  *relay.Relay // the way to the API server
}

const apiClusterID = "4b1c0000"

// newAPIWorld starts the control plane; ports of pods lead to addresses on loopback.
func newAPIWorld(t *testing.T, podPorts map[int]string) *apiWorld {
	t.Helper()
	w := &apiWorld{t: t, dir: t.TempDir(), plane: lab.Start(t, lab.Options{Controllers: true, Scheduler: true, Kwok: true, PodPorts: podPorts})}
	w.relay = relay.New(t, strings.TrimPrefix(w.plane.URL, "https://"))
	path := w.plane.Kubeconfig("admin", "system:masters")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	w.write("cluster.yaml", "apiVersion: picluster/v1\nkind: Cluster\nname: home\nnodePrefix: pi-\nnodes: 3\n"+
		"system: {user: {authorizedKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7d8d2yV0kW0Yw6PWbYwR0h1nDsdmMmxWMkFEYQXb0a me@laptop]}}\n")
	w.write("secrets/cluster.json", `{"version": 1, "id": "`+apiClusterID+`", "name": "home"}`)
	w.write("secrets/kubeconfig", strings.ReplaceAll(string(data), w.plane.URL, "https://"+w.relay.Address))
	if w.config, _, err = (kube.Kubeconfig{Named: path}).Load(); err != nil {
		t.Fatal(err)
	}
	if w.client, err = kube.New(w.config); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		w.apply(fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: pi-node%d, labels: {kubernetes.io/os: linux, kubernetes.io/arch: arm64}}}", i))
	}
	return w
}

func (w *apiWorld) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *apiWorld) apply(text string) {
	w.t.Helper()
	objects, err := manifests.Parse(text)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range objects {
		if _, err := w.client.Apply(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

// volumes are what claims get, as the storage add-on would make them.
func (w *apiWorld) volumes(names ...string) {
	w.t.Helper()
	w.apply("{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: lab, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}, provisioner: kubernetes.io/no-provisioner}")
	for _, name := range names {
		w.apply("{apiVersion: v1, kind: PersistentVolume, metadata: {name: " + name + "}, spec: {storageClassName: lab, capacity: {storage: 10Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /tmp/lab}}}")
	}
}

// apiPatience bounds what a busy machine may take for one command.
const apiPatience = 5 * time.Minute

// run runs a command at the desk.
func (w *apiWorld) run(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), apiPatience)
	defer cancel()
	var out, errs bytes.Buffer
	code = cli.Run(ctx, program(), cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}, w.inProject(args))
	return code, out.String(), errs.String()
}

func (w *apiWorld) inProject(args []string) []string {
	return append(args, "--file", filepath.Join(w.dir, "cluster.yaml"))
}

// want is run that fails the test with any other exit code.
func (w *apiWorld) want(code int, args ...string) (stdout, stderr string) {
	w.t.Helper()
	got, stdout, stderr := w.run(args...)
	if got != code {
		w.t.Fatalf("clusterctl %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout, stderr)
	}
	return stdout, stderr
}

// background runs a command until stop, and returns the first lines of its output.
func (w *apiWorld) background(lines int, args ...string) (output []string, stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	r, out := io.Pipe()
	done := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		done <- cli.Run(ctx, program(), cli.Env{Stdin: strings.NewReader(""), Stdout: out, Stderr: &errs}, w.inProject(args))
		out.Close()
	}()
	stop = func() {
		cancel()
		if code := <-done; code != 0 {
			w.t.Errorf("clusterctl %s ends with %d: %s", strings.Join(args, " "), code, errs.String())
		}
	}
	data := make([]byte, 0, 1<<16)
	for bytes.Count(data, []byte("\n")) < lines {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err != nil {
			w.t.Fatalf("clusterctl %s: code %d: %s%s", strings.Join(args, " "), <-done, data, errs.String())
		}
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n"), stop
}

func decode[T any](t *testing.T, text string) (value T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return value
}
