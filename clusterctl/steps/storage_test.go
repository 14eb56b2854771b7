package steps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/kube"
	"picluster/internal/golden"
	"picluster/internal/secret"
	"picluster/internal/spec"
	"picluster/internal/step"
)

func storageAddon(t *testing.T) []Addon {
	t.Helper()
	for _, a := range Addons() {
		if a.Name == "storage" {
			return []Addon{a}
		}
	}
	t.Fatal("there is no add-on for storage")
	return nil
}

// What is deployed is a reviewed file: the steps, and of the objects those that depend
// on cluster.yaml.
func TestStorage_isAsReviewed(t *testing.T) {
	e := env(t, "spares: 1\nstorage: {replicas: 2, bricks: loopfile}\n")
	stages := must(Deploy(e, storageAddon(t)))
	var b strings.Builder
	for _, stage := range stages {
		fmt.Fprintf(&b, "# stage %s\n", stage.Name)
		for _, s := range stage.Steps {
			fmt.Fprintf(&b, "# %s\n", s.Name())
		}
	}
	for _, o := range objectsOf(stages) {
		switch o.GetKind() {
		case "ConfigMap", "DaemonSet", "Deployment", "StorageClass":
			data, err := yaml.Marshal(o.Object)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "---\n%s", data)
		}
	}
	golden.Equal(t, "testdata/deploy-storage.yaml", []byte(strings.ReplaceAll(b.String(), StorageImage(), "IMAGE")))
}

// With a Heketi that is there no node of the cluster has anything of Gluster's but the
// client.
func TestStorage_byAHeketiThatIsThere(t *testing.T) {
	key := secret.New("planted-key")
	e := env(t, "")
	e.Cluster.Storage = spec.Storage{Backend: "glusterfs", Replicas: 3, Heketi: spec.Heketi{URL: "http://192.168.1.5:8080", Key: key}}
	for i := range e.Cluster.Nodes {
		e.Cluster.Nodes[i].Storage = spec.NodeStorage{}
	}
	stages := must(Deploy(e, storageAddon(t)))
	all := ""
	for _, o := range objectsOf(stages) {
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		all += string(data)
	}
	for _, is := range []string{"- --heketi-url=http://192.168.1.5:8080", "name: storage-node", "provisioner: glusterfs.picluster", `replicas: "3"`} {
		if !strings.Contains(all, is) {
			t.Errorf("it deploys no %s", is)
		}
	}
	for _, not := range []string{"glusterd", "storage-topology", "storage-peers", "--bricks", key.Reveal()} {
		if strings.Contains(all, not) {
			t.Errorf("it deploys %s", not)
		}
	}
	var names []string
	for _, s := range stages[len(stages)-1].Steps {
		names = append(names, s.Name())
		if k, ok := s.(Keys); ok && k.Admin != key {
			t.Error("the storage's key is another than the Heketi's")
		}
	}
	if text := strings.Join(names, ", "); strings.Contains(text, "storage node pi-") || strings.Contains(text, "topology") || strings.Contains(text, "present form") {
		t.Errorf("its steps are %s", text)
	}
}

// The whole add-on on a real API server, whose controllers and played nodes run what is
// deployed; only the storage's controller is played here.
func TestStorage_onARealAPIServer(t *testing.T) {
	w := newWorld(t)
	e := env(t, "nodePrefix: pi-\n")
	w.run(must(Deploy(e, nil))) // the cluster's identity, which stays
	before := names(w.rests())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // the storage's controller, which finds fault with a node for a moment
		problems := []string{"add node pi-node2: dial pi-node2: no route to host"}
		for ; ctx.Err() == nil; time.Sleep(time.Second) {
			if _, version, err := pods.ReadTopology(ctx, w.Client); err == nil && version != "" {
				if err := pods.WriteProblems(ctx, w.Client, version, problems); err == nil {
					problems = nil
				}
			}
		}
	}()
	stages := must(Deploy(e, storageAddon(t)))
	began := time.Now()
	changed := w.run(stages)
	t.Logf("%d changes in %v", len(changed), time.Since(began).Round(100*time.Millisecond))
	want := []string{"Secret picluster-storage/heketi-keys", "storage node pi-node0", "storage node pi-node1", "storage node pi-node2"}
	for _, o := range objectsOf(stages[len(stages)-1:]) {
		want = append(want, kube.RefOf(o).String())
	}
	for _, name := range want { // besides, waits; which may find nothing to wait for
		if !slices.ContainsFunc(changed, func(c string) bool { return strings.HasPrefix(c, "storage/"+name+": ") }) {
			t.Errorf("it did not change %s, but %q", name, changed)
		}
	}
	if len(want) < 18 {
		t.Errorf("it wants only %q", want)
	}
	secret, err := w.Get(ctx, keysRef)
	if err != nil || secret == nil {
		t.Fatalf("the keys: %v", err)
	}
	if again := w.run(stages); len(again) > 0 {
		t.Errorf("the second time it changed %q", again)
	}
	if is, err := w.Get(ctx, keysRef); err != nil || is.GetResourceVersion() != secret.GetResourceVersion() {
		t.Errorf("the second time the keys are others: %v", err)
	}

	// A volume in use is in the way of a removal.
	w.apply(`{apiVersion: v1, kind: PersistentVolume, metadata: {name: pvc-1}, spec: {storageClassName: glusterfs-storage, capacity: {storage: 1Gi}, accessModes: [ReadWriteMany],
		csi: {driver: glusterfs.picluster, volumeHandle: pvc-1}, claimRef: {namespace: default, name: photos}}}`)
	remove := must(Remove(e, storageAddon(t)))
	err = step.Run(ctx, w.Client, remove, nil)
	if err == nil || !strings.Contains(err.Error(), "in use: default/photos") {
		t.Errorf("with a volume in use it is removed: %v", err)
	}
	if err := (kube.Absent{Ref: kube.Ref{APIVersion: "v1", Kind: "PersistentVolume", Name: "pvc-1"}}).Apply(ctx, w.Client); err != nil {
		t.Fatal(err)
	}
	cancel()
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := step.Run(ctx, w.Client, remove, nil); err != nil {
		t.Fatal(err)
	}
	w.settled("controllers have cleaned up", func() string { return w.left(before) })
}
