package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/kube"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	lab "picluster/internal/lab/kube"
	"picluster/internal/lab/kubelet"
	"picluster/internal/secret"
	"picluster/internal/spec"
	"picluster/internal/step"
)

// poolWorld is a real API server, and nodes whose pods run programs in directory trees; a
// gluster among them says what the tree has as its answers.
type poolWorld struct {
	*world
	raw   dynamic.Interface
	trees map[string]string // of nodes; one without is not reached
}

func newPoolWorld(t *testing.T, nodes ...string) *poolWorld {
	t.Helper()
	plane := lab.Start(t, lab.Options{})
	config, _, err := kube.Kubeconfig{Named: plane.Kubeconfig("admin", "system:masters")}.Load()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kube.New(config)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &poolWorld{&world{client, t, t.Context()}, raw, map[string]string{}}
	port := kubelet.Start(t, w.exec)
	w.apply("{apiVersion: v1, kind: Namespace, metadata: {name: picluster-storage}}\n---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: picluster-storage}}")
	for _, node := range nodes {
		w.applyStatus(kubelet.Node(node, port))
		tree := hosttest.NewTree(t, "sh", "env", "cat", "find", "stat")
		if err := hosttest.WriteProgram(filepath.Join(tree, "usr/bin/gluster"), glusterAnswers); err != nil {
			t.Fatal(err)
		}
		w.trees[node] = tree
	}
	return w
}

const glusterAnswers = `#!/usr/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
exec cat "/answers/$*"
`

func (w *poolWorld) put(node, name, text string) {
	w.t.Helper()
	path := filepath.Join(w.trees[node], name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *poolWorld) answer(node, command, xml string) {
	w.t.Helper()
	w.put(node, "answers/"+command, "<?xml version=\"1.0\"?><cliOutput><opRet>0</opRet><opErrno>0</opErrno><opErrstr/>"+xml+"</cliOutput>")
}

func (w *poolWorld) exec(_ context.Context, pod string, s host.Streams) (int, error) {
	tree := w.trees[strings.TrimPrefix(pod, "glusterfs-")]
	if tree == "" {
		return 0, errors.New("no route to host")
	}
	cmd := exec.Command("chroot", append([]string{tree}, s.Args...)...)
	cmd.Stdout, cmd.Stderr = s.Stdout, s.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// applyStatus applies an object with its status.
func (w *poolWorld) applyStatus(object string) {
	w.t.Helper()
	o := new(kube.Object)
	if err := o.UnmarshalJSON([]byte(object)); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.Apply(w.ctx, o); err != nil {
		w.t.Fatal(err)
	}
	resource := schema.GroupVersionResource{Version: "v1", Resource: strings.ToLower(o.GetKind()) + "s"}
	_, err := w.raw.Resource(resource).Namespace(o.GetNamespace()).ApplyStatus(w.ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "test", Force: true})
	if err != nil {
		w.t.Fatal(err)
	}
}

// pod is glusterd's pod of a node, as the DaemonSet would make it.
func (w *poolWorld) pod(node, phase, ready string) {
	w.t.Helper()
	w.applyStatus(fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "glusterfs-%[1]s", "namespace": "picluster-storage", "labels": {"app.kubernetes.io/component": "glusterfs"}},
		"spec": {"nodeName": "%[1]s", "automountServiceAccountToken": false, "containers": [{"name": "glusterd", "image": "none"}]},
		"status": {"phase": "%[2]s", "conditions": [{"type": "Ready", "status": "%[3]s"}]}}`, node, phase, ready))
}

func (w *poolWorld) state(s engine.State) {
	w.t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = w.Apply(w.ctx, configMap("storage-state", "state.json", string(data)))
	if err != nil {
		w.t.Fatal(err)
	}
}

const (
	aPeer     = "<peerStatus><peer><uuid>1</uuid><hostname>localhost</hostname><connected>1</connected></peer></peerStatus>"
	oneVolume = `<volInfo><volumes><volume><name>data</name><statusStr>Started</statusStr><brickCount>1</brickCount><replicaCount>1</replicaCount>
		<bricks><brick><name>10.0.0.1:/b</name></brick></bricks></volume><count>1</count></volumes></volInfo>`
)

func brickIs(status string) string {
	return "<volStatus><volumes><volume><node><hostname>10.0.0.1</hostname><path>/b</path><status>" + status + "</status></node></volume></volumes></volStatus>"
}

// All of this is about one pool of which the first node answers.
func TestStorage_asksItsPool(t *testing.T) {
	w := newPoolWorld(t, "pi-node0", "pi-node1")
	w.pod("pi-node0", "Running", "True")
	w.answer("pi-node0", "pool list", aPeer)
	w.answer("pi-node0", "volume info all", oneVolume)
	// A pool without nodes comes first: heketi-cli may make one.
	w.state(engine.State{Clusters: []engine.Cluster{{ID: "empty"}, {ID: "full", Nodes: []engine.Node{{
		Manage: "pi-node0", Storage: "10.0.0.1", Devices: []engine.Device{{Name: "/dev/sda"}}}}}}})
	t.Run("a volume of one copy is whole when its bricks are there", func(t *testing.T) { testOneCopy(t, w) })
	t.Run("remove refuses while there are volumes", func(t *testing.T) { testNoneInPool(t, w) })
	t.Run("reset erases only what it can look at", func(t *testing.T) { testReset(t, w) })
}

func testOneCopy(t *testing.T, w *poolWorld) {
	for status, want := range map[string]string{"1": "", "0": "volume data: brick 10.0.0.1:/b is not connected"} {
		w.answer("pi-node0", "volume status data detail", brickIs(status))
		if why, err := NotWhole(t.Context(), w.Client); err != nil || why != want {
			t.Errorf("with a brick of status %s it is not whole because %q: %v", status, why, err)
		}
	}
	if err := Heal(t.Context(), w.Client, []string{"data"}); err != nil {
		t.Errorf("heal: %v", err)
	}
	if err := Heal(t.Context(), w.Client, []string{"other"}); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("heal a volume that there is not: %v", err)
	}
}

func testNoneInPool(t *testing.T, w *poolWorld) {
	if drift, err := (NoneInPool{}).Check(t.Context(), w.Client); err != nil || drift != "" {
		t.Errorf("where glusterd is not deployed it finds %q: %v", drift, err)
	}
	w.apply(`{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: glusterfs, namespace: picluster-storage}, spec: {selector: {matchLabels: {a: b}},
		template: {metadata: {labels: {a: b}}, spec: {containers: [{name: glusterd, image: none}]}}}}`)
	remove := must(Remove(env(t, ""), storageAddon(t)))
	err := step.Run(t.Context(), w.Client, remove, nil)
	if cli.CodeOf(err) != cli.Refused || !strings.Contains(err.Error(), "volumes are there: data") {
		t.Errorf("with a volume that no claim has it is removed: %v", err)
	}
}

func testReset(t *testing.T, w *poolWorld) {
	e := env(t, "nodePrefix: pi-\nstorage: {replicas: 2, bricks: loopfile}\n")
	reset := func() ([]kube.Stage, string, error) {
		stages, lost, err := ResetStorage(t.Context(), e, w.Client)
		return stages, strings.Join(lost, "; "), err
	}
	refused := func(when, why string) {
		t.Helper()
		if _, _, err := reset(); err == nil || !strings.Contains(err.Error(), "look at what pi-node1 has of the storage: "+why) {
			t.Errorf("%s: %v", when, err)
		}
	}
	refused("without a pod of glusterd", pods.ErrNoPod.Error())
	w.pod("pi-node1", "Pending", "False")
	refused("with a pod that has yet to start", pods.ErrNoPod.Error())
	w.pod("pi-node1", "Running", "True")
	tree := w.trees["pi-node1"]
	w.trees["pi-node1"] = ""
	refused("with the node away", "")
	w.trees["pi-node1"] = tree

	// Its glusterd does not run, as after an erasure; and the node is in cluster.yaml only,
	// as after a removal.
	w.pod("pi-node1", "Running", "False")
	w.put("pi-node1", "var/lib/glusterd/glusterd.info", "UUID=1\n")
	stages, lost, err := reset()
	if err != nil {
		t.Fatal(err)
	}
	if want := "all that is on /dev/sda of pi-node0; what the storage has on pi-node1; nothing on pi-node2, which is no node of Kubernetes"; lost != want {
		t.Errorf("it says that %s are lost,\nwant %s", lost, want)
	}
	var names []string
	for _, s := range stages[0].Steps {
		if is, ok := s.(Erased); ok {
			drift, err := is.Check(t.Context(), w.Client)
			names = append(names, fmt.Sprint(is.Node, ":", drift, err))
		}
	}
	if want := "pi-node0:<nil> pi-node1:is there<nil>"; strings.Join(names, " ") != want {
		t.Errorf("left is %v, want %s", names, want)
	}
	if _, err := left(t.Context(), host.Shell{Name: "away", Start: func(context.Context, host.Streams) (int, error) { return 0, errors.New("cut off") }}); err == nil {
		t.Error("of a node that does not answer nothing is left")
	}
}

// The controller reads the key of a Heketi once: with another key it has to start anew. The
// key itself is nowhere but in the Secret.
func TestStorage_startsTheControllerAnewWithAnotherKey(t *testing.T) {
	template := func(key string) string {
		e := env(t, "")
		e.Cluster.Storage = spec.Storage{Backend: "glusterfs", Replicas: 3, Heketi: spec.Heketi{URL: "http://192.168.1.5:8080"}}
		if key != "" {
			e.Cluster.Storage.Heketi.Key = secret.New(key)
		}
		for _, o := range objectsOf(must(Deploy(e, storageAddon(t)))) {
			if o.GetName() == StorageController && o.GetKind() == "Deployment" {
				return fmt.Sprint(o.Object["spec"].(map[string]any)["template"].(map[string]any)["metadata"])
			}
		}
		t.Fatal("there is no controller")
		return ""
	}
	one, other := template("one"), template("other")
	if one == other || one != template("one") || one == template("") {
		t.Errorf("the controller's template is with one key %s, with the other %s", one, other)
	}
}
