package steps

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/manifests"
	lab "picluster/internal/lab/kube"
	"picluster/internal/step"
)

// world is a real control plane with three played nodes.
type world struct {
	*kube.Client
	t   *testing.T
	ctx context.Context
}

// patience bounds what a busy machine may take for one run.
const patience = 2 * time.Minute

func newWorld(t *testing.T) *world {
	plane := lab.Start(t, lab.Options{Controllers: true, Scheduler: true, Kwok: true})
	config, _, err := kube.Kubeconfig{Named: plane.Kubeconfig("admin", "system:masters")}.Load()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kube.New(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{client, t, t.Context()}
	for i := range 3 {
		labels := "kubernetes.io/os: linux, kubernetes.io/arch: arm64"
		if i == 0 {
			labels += ", node-role.kubernetes.io/control-plane: ''"
		}
		w.apply(fmt.Sprintf("{apiVersion: v1, kind: Node, metadata: {name: pi-node%d, labels: {%s}}}", i, labels))
	}
	return w
}

func (w *world) apply(text string) {
	w.t.Helper()
	objects, err := manifests.Parse(text)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range objects {
		if _, err := w.Apply(w.ctx, o); err != nil {
			w.t.Fatal(err)
		}
	}
}

// storage gives claims their volumes, as the storage add-on would.
func (w *world) storage(volumes ...string) {
	w.t.Helper()
	w.apply("{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: lab, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}, provisioner: kubernetes.io/no-provisioner}")
	for _, name := range volumes {
		w.apply("{apiVersion: v1, kind: PersistentVolume, metadata: {name: " + name + "}, spec: {storageClassName: lab, capacity: {storage: 10Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /tmp/lab}}}")
	}
}

// run brings the stages about and returns what was changed.
func (w *world) run(stages []kube.Stage) (changed []string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	err := step.Run(ctx, w.Client, stages, &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		if e.Kind == step.Applying {
			changed = append(changed, e.Stage+"/"+e.Step+": "+e.Text)
		}
		if e.Kind == step.Waiting {
			w.t.Logf("%s: waiting for %s", e.Stage, e.Text)
		}
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return changed
}

func must(stages []kube.Stage, err error) []kube.Stage {
	if err != nil {
		panic(err)
	}
	return stages
}

// kinds are all that add-ons have, and what controllers make of it.
var kinds = []kube.Ref{
	{APIVersion: "v1", Kind: "Namespace"}, {APIVersion: "v1", Kind: "ServiceAccount"}, {APIVersion: "v1", Kind: "Secret"},
	{APIVersion: "v1", Kind: "ConfigMap"}, {APIVersion: "v1", Kind: "Service"}, {APIVersion: "v1", Kind: "PersistentVolumeClaim"},
	{APIVersion: "v1", Kind: "Pod"}, {APIVersion: "apps/v1", Kind: "Deployment"}, {APIVersion: "apps/v1", Kind: "ReplicaSet"},
	{APIVersion: "apps/v1", Kind: "DaemonSet"}, {APIVersion: "apps/v1", Kind: "ControllerRevision"},
	{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"}, {APIVersion: "v1", Kind: "Endpoints"},
	{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}, {APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"},
	{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"}, {APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding"},
}

// everything lists all objects of those kinds with their versions.
func (w *world) everything() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, kind := range kinds {
		objects, err := w.List(w.ctx, kind, "")
		if err != nil {
			w.t.Fatal(err)
		}
		for _, o := range objects {
			ref := kube.RefOf(&o)
			ref.Kind = kind.Kind // the list's items need not have it
			all[ref.String()] = o.GetResourceVersion()
		}
	}
	return all
}

// left says which objects there are more or less than before.
func (w *world) left(before []string) string {
	var difference []string
	now := names(w.everything())
	for _, n := range now {
		if !slices.Contains(before, n) {
			difference = append(difference, "+ "+n)
		}
	}
	for _, n := range before {
		if !slices.Contains(now, n) {
			difference = append(difference, "- "+n)
		}
	}
	return strings.Join(difference, "\n")
}

func names(all map[string]string) []string { return slices.Sorted(maps.Keys(all)) }

// settled waits until there is no reason to wait any longer.
func (w *world) settled(what string, reason func() string) {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		why := reason()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("gave up waiting until %s:\n%s", what, why)
		}
	}
}

// TestDeploy_onARealAPIServer is an add-on's life: it comes, stays as it is, is
// repaired, and goes without a trace.
func TestDeploy_onARealAPIServer(t *testing.T) {
	began := time.Now()
	w := newWorld(t)
	t.Logf("control plane: %.1f s", time.Since(began).Seconds())
	for name, lines := range forms {
		t.Run(name, func(t *testing.T) {
			w := &world{w.Client, t, t.Context()}
			w.storage("lab-" + name)
			e := env(t, lines)
			addons := slices.DeleteFunc(Wanted(e.Cluster), func(a Addon) bool { return a.Name == "storage" })
			stages := must(Deploy(e, addons))
			w.run(must(Deploy(e, nil))) // the cluster's identity, which stays
			w.rests()
			before := names(w.everything())

			began := time.Now()
			changed := w.run(stages)
			t.Logf("deploy: %d changes and waits, %.1f s", len(changed), time.Since(began).Seconds())
			w.allRun(stages)

			versions := w.rests()
			began = time.Now()
			if again := w.run(stages); len(again) > 0 {
				t.Errorf("the second run changes:\n%s", strings.Join(again, "\n"))
			}
			t.Logf("second run: %.1f s", time.Since(began).Seconds())
			if now := w.everything(); !maps.Equal(versions, now) {
				t.Errorf("versions differ after a run without changes:\n%v\n%v", versions, now)
			}
			w.repairs(stages)

			began = time.Now()
			w.run(must(Remove(e, addons)))
			t.Logf("remove: %.1f s", time.Since(began).Seconds())
			w.settled("controllers have cleaned up", func() string { return w.left(before) })
			if again := w.run(must(Remove(e, addons))); len(again) > 0 {
				t.Errorf("the second removal removes:\n%s", strings.Join(again, "\n"))
			}
		})
	}
}

// rests waits until nothing changes any more by itself: a controller manager that has
// just started makes dozens of service accounts.
func (w *world) rests() (versions map[string]string) {
	w.t.Helper()
	same := 0
	w.settled("objects rest", func() string {
		last := versions
		if versions = w.everything(); maps.Equal(last, versions) && versions["ServiceAccount default/default"] != "" && versions["ConfigMap default/kube-root-ca.crt"] != "" {
			same++
		} else {
			same = 0
		}
		if same < 5 {
			return "they change"
		}
		return ""
	})
	return versions
}

// allRun looks at the pods themselves.
func (w *world) allRun(stages []kube.Stage) {
	w.t.Helper()
	for _, o := range objectsOf(stages) {
		if !slices.Contains(working, o.GetKind()) {
			continue
		}
		live, err := w.Get(w.ctx, kube.RefOf(o))
		if err != nil || live == nil {
			w.t.Fatalf("%v: %v", kube.RefOf(o), err)
		}
		if missing, err := kube.NotReady(live); missing != "" || err != nil {
			w.t.Errorf("%v %s %v", kube.RefOf(o), missing, err)
		}
	}
	pods, err := w.List(w.ctx, kube.Ref{APIVersion: "v1", Kind: "Pod"}, "")
	if err != nil || len(pods) == 0 {
		w.t.Fatalf("%d pods, %v", len(pods), err)
	}
	for _, p := range pods {
		if missing, _ := kube.NotReady(&p); missing != "" {
			w.t.Errorf("pod %s %s", p.GetName(), missing)
		}
	}
}

// repairs spoils each object by hand, in the way of its kind, and expects the plan to
// say so and a run to mend it.
func (w *world) repairs(stages []kube.Stage) {
	w.t.Helper()
	spoil := map[string]map[string]any{
		"Deployment":         {"spec": map[string]any{"replicas": 0}},
		"ConfigMap":          {"data": nil},
		"ClusterRoleBinding": {"subjects": nil},
	}
	planted := map[string]bool{}
	for _, stage := range stages {
		for _, o := range objectsOf([]kube.Stage{stage}) {
			ref := kube.RefOf(o)
			patch, ok := spoil[o.GetKind()]
			if o.GetKind() == "DaemonSet" {
				patch, ok = otherImage(o), true
			}
			switch {
			case o.GetKind() == "Service":
				if err := w.Delete(w.ctx, ref); err != nil {
					w.t.Fatal(err)
				}
			case !ok || o.GetKind() == "ConfigMap" && o.Object["data"] == nil:
				continue
			default:
				if err := w.Merge(w.ctx, ref, patch); err != nil {
					w.t.Fatal(err)
				}
			}
			planted[stage.Name+"/"+ref.String()] = true
		}
	}
	drifts, err := step.Plan(w.ctx, w.Client, WithoutWaits(stages))
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]bool{}
	for _, d := range drifts {
		w.t.Log(d)
		found[d.Stage+"/"+d.Step] = true
	}
	if !maps.Equal(planted, found) {
		w.t.Errorf("planted %v, found %v", slices.Sorted(maps.Keys(planted)), slices.Sorted(maps.Keys(found)))
	}
	w.run(WithoutWaits(stages))
	if left, err := step.Plan(w.ctx, w.Client, WithoutWaits(stages)); err != nil || len(left) > 0 {
		w.t.Errorf("after the repair: %v, %v", left, err)
	}
}

// otherImage is a patch that makes the first container run another image.
func otherImage(o *kube.Object) map[string]any {
	containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	containers[0].(map[string]any)["image"] = "example.org/other:1"
	return map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": containers}}}}
}
