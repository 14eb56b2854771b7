package kube

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	lab "picluster/internal/lab/kube"
	"picluster/internal/step"
)

// client opens a real API server as a user.
func client(t *testing.T, plane *lab.ControlPlane, user string, groups ...string) *Client {
	t.Helper()
	config, _, err := Kubeconfig{Named: plane.Kubeconfig(user, groups...)}.Load()
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bring runs steps and returns the drifts that were mended.
func bring(t *testing.T, c *Client, steps ...Step) (mended []string, err error) {
	t.Helper()
	err = step.Run(t.Context(), c, []Stage{{Name: "s", Steps: steps}}, &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		if e.Kind == step.Applying {
			mended = append(mended, e.Text)
		}
	}}})
	return mended, err
}

func TestClient_onARealAPIServer(t *testing.T) {
	plane := lab.Start(t, lab.Options{})
	c := client(t, plane, "admin", "system:masters")
	t.Run("applied", func(t *testing.T) { testApplied(t, c) })
	t.Run("once", func(t *testing.T) { testOnce(t, c) })
	t.Run("renewed", func(t *testing.T) { testRenewed(t, c) })
	t.Run("absent", func(t *testing.T) { testAbsent(t, c) })
	t.Run("kinds", func(t *testing.T) { testKinds(t, c) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, c, client(t, plane, "nobody")) })
	t.Run("identity", func(t *testing.T) { testIdentity(t, c) })
	t.Run("waits", func(t *testing.T) { testWaits(t, c) })
}

const config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: default}, data: {a: '1', b: '2'}}"

func testApplied(t *testing.T, c *Client) {
	want := Applied{Object: object(t, config)}
	for i, drift := range []string{"is not there", ""} {
		mended, err := bring(t, c, want)
		if err != nil || strings.Join(mended, ";") != drift {
			t.Fatalf("run %d: %q, %v", i, mended, err)
		}
	}
	// Another's field stays, ours is set back, and one that we no longer name goes.
	if err := c.Merge(t.Context(), RefOf(want.Object), map[string]any{"data": map[string]any{"a": "9", "theirs": "x"}}); err != nil {
		t.Fatal(err)
	}
	if mended, err := bring(t, c, want); err != nil || strings.Join(mended, ";") != "data.a is 9, want 1" {
		t.Errorf("a changed field: %q, %v", mended, err)
	}
	less := Applied{Object: object(t, strings.Replace(config, ", b: '2'", "", 1))}
	if mended, err := bring(t, c, less); err != nil || strings.Join(mended, ";") != "data.b is set, want it unset" {
		t.Errorf("a field less: %q, %v", mended, err)
	}
	live, err := c.Get(t.Context(), RefOf(want.Object))
	if err != nil {
		t.Fatal(err)
	}
	if data := live.Object["data"].(map[string]any); len(data) != 2 || data["a"] != "1" || data["theirs"] != "x" {
		t.Errorf("data is %v", data)
	}
	// Looking changes nothing.
	if _, err := want.Check(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if after, err := c.Get(t.Context(), RefOf(want.Object)); err != nil || after.GetResourceVersion() != live.GetResourceVersion() {
		t.Errorf("a check has changed the object: %v, %v", after, err)
	}
	if missing, err := (Applied{Object: object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: nowhere}}")}).Check(t.Context(), c); missing != "is not there" || err != nil {
		t.Errorf("in a namespace that is not there: %q, %v", missing, err)
	}
}

func testOnce(t *testing.T, c *Client) {
	claim := "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: p, namespace: default}, spec: {storageClassName: x, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}"
	want := Applied{Object: object(t, claim), Once: true}
	if _, err := bring(t, c, want); err != nil {
		t.Fatal(err)
	}
	want.Object = object(t, strings.Replace(claim, "1Gi", "2Gi", 1))
	if mended, err := bring(t, c, want); err != nil || len(mended) > 0 {
		t.Errorf("one that is there: %q, %v", mended, err)
	}
}

func testRenewed(t *testing.T, c *Client) {
	class := "{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: s}, provisioner: example.org/p, parameters: {replicas: '2'}}"
	if _, err := bring(t, c, Applied{Object: object(t, class)}); err != nil {
		t.Fatal(err)
	}
	changed := object(t, strings.Replace(class, "'2'", "'3'", 1))
	if _, err := bring(t, c, Applied{Object: changed}); err == nil || !strings.Contains(err.Error(), "immutable") {
		t.Errorf("an immutable field: %v", err)
	}
	if mended, err := bring(t, c, Applied{Object: changed, Renew: true}); err != nil || strings.Join(mended, ";") != "differs in what can only be made anew" {
		t.Errorf("renewed: %q, %v", mended, err)
	}
}

func testAbsent(t *testing.T, c *Client) {
	ours := object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: ours, namespace: default, finalizers: [example.org/hold]}}")
	if _, err := c.Apply(t.Context(), ours); err != nil {
		t.Fatal(err)
	}
	gone := Absent{Ref: RefOf(ours), Ours: true, Limit: 3 * time.Second}
	_, err := bring(t, c, gone)
	if !errors.Is(err, step.ErrGaveUp) || !strings.Contains(err.Error(), "is being removed; example.org/hold has to let go of it") {
		t.Errorf("one that is held: %v", err)
	}
	if err := c.Merge(t.Context(), RefOf(ours), map[string]any{"metadata": map[string]any{"finalizers": nil}}); err != nil {
		t.Fatal(err)
	}
	if _, err := bring(t, c, gone); err != nil {
		t.Error(err)
	}
	// kubernetes is the API server's own Service.
	theirs := Absent{Ref: Ref{"v1", "Service", "default", "kubernetes"}, Ours: true}
	if mended, err := bring(t, c, theirs); err != nil || len(mended) > 0 {
		t.Errorf("another's: %q, %v", mended, err)
	}
}

func testKinds(t *testing.T, c *Client) {
	thing := Ref{"example.org/v1", "Thing", "default", "t"}
	if o, err := c.Get(t.Context(), thing); o != nil || err != nil {
		t.Errorf("an unknown kind: %v, %v", o, err)
	}
	thingObject := object(t, "{apiVersion: example.org/v1, kind: Thing, metadata: {name: t, namespace: default}}")
	var unknown *UnknownKind
	if _, err := c.Apply(t.Context(), thingObject); !errors.As(err, &unknown) {
		t.Errorf("an unknown kind is applied: %v", err)
	}
	definition := object(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: things.example.org}, spec: {group: example.org, scope: Namespaced, names: {plural: things, singular: thing, kind: Thing}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}")
	if _, err := bring(t, c, Applied{Object: definition}, Ready{Ref: RefOf(definition)}); err != nil {
		t.Fatal(err)
	}
	err := step.Wait{For: "the new kind", Limit: time.Minute, Every: 100 * time.Millisecond}.Until(t.Context(), func(ctx context.Context) error {
		_, err := bring(t, c, Applied{Object: thingObject})
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func testRefusals(t *testing.T, c, nobody *Client) {
	if _, err := nobody.List(t.Context(), Ref{APIVersion: "v1", Kind: "Secret"}, ""); !apierrors.IsForbidden(err) {
		t.Errorf("nobody lists secrets: %v", err)
	}
	if _, err := c.Apply(t.Context(), object(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: Bad_Name, namespace: default}}")); !apierrors.IsInvalid(err) {
		t.Errorf("a bad name: %v", err)
	}
	if _, err := c.Token(t.Context(), "default", "nobody", time.Hour); !apierrors.IsNotFound(err) {
		t.Errorf("a token of nobody: %v", err)
	}
	if _, err := c.Forward(t.Context(), "default", "none", 80, 0); err == nil || !strings.Contains(err.Error(), "find Service default/none: there is none") {
		t.Errorf("a tunnel to nothing: %v", err)
	}
}

func testIdentity(t *testing.T, c *Client) {
	if id, err := c.ClusterID(t.Context()); id != "" || err != nil {
		t.Errorf("a new cluster's: %q, %v", id, err)
	}
	if _, err := bring(t, c, Applied{Object: Identity("4b1c", "home")}); err != nil {
		t.Fatal(err)
	}
	if id, err := c.ClusterID(t.Context()); id != "4b1c" || err != nil {
		t.Errorf("got %q, %v", id, err)
	}
}

func testWaits(t *testing.T, c *Client) {
	deployment := object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d, namespace: default}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: c}]}}}}")
	_, err := bring(t, c, Applied{Object: deployment}, Ready{Ref: RefOf(deployment), Limit: 5 * time.Second})
	if !errors.Is(err, step.ErrGaveUp) || !strings.Contains(err.Error(), "wait for Deployment default/d: gave up after 5s: has not been looked at by its controller") {
		t.Errorf("nobody makes its pods: %v", err)
	}
	job := "{apiVersion: batch/v1, kind: Job, metadata: {name: j, namespace: default}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: c}]}}}}"
	if _, err := c.Apply(t.Context(), object(t, job)); err != nil {
		t.Fatal(err)
	}
	if missing, err := (Ready{Ref: RefOf(object(t, job))}).Check(t.Context(), c); missing != "is not complete" || err != nil {
		t.Errorf("a job: %q, %v", missing, err)
	}
}
