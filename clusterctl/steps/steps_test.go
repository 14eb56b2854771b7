package steps

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"picluster/clusterctl/csi"
	"picluster/clusterctl/kube"
	"picluster/internal/golden"
	"picluster/internal/spec"
)

// env is made from a cluster.yaml with these lines in it.
func env(t *testing.T, lines string) Env {
	t.Helper()
	text := "apiVersion: picluster/v1\nkind: Cluster\nname: home\nnodes: 3\nsystem: {user: {authorizedKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7d8d2yV0kW0Yw6PWbYwR0h1nDsdmMmxWMkFEYQXb0a me@laptop]}}\n"
	c, err := spec.Parse("cluster.yaml", []byte(text+lines), spec.References{})
	if err != nil {
		t.Fatal(err)
	}
	return Env{Cluster: c, ID: "4b1c0000"}
}

// forms are the clusters whose add-ons differ.
var forms = map[string]string{
	"default":    "",
	"seed":       "kubernetes: {cni: weave}\naddons: {dashboard: kubernetes-dashboard}\n",
	"no-storage": "storage: {backend: none}\naddons: {dashboard: none}\n",
}

// What is deployed is a reviewed file: the steps and every object in full.
func TestDeploy_isAsReviewed(t *testing.T) {
	for name, lines := range forms {
		t.Run(name, func(t *testing.T) {
			e := env(t, lines)
			addons := slices.DeleteFunc(Wanted(e.Cluster), func(a Addon) bool { return a.Name == "storage" }) // has its own
			stages, err := Deploy(e, addons)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, stage := range stages {
				fmt.Fprintf(&b, "# stage %s\n", stage.Name)
				for _, s := range stage.Steps {
					fmt.Fprintf(&b, "# %s\n", s.Name())
				}
			}
			for _, o := range objectsOf(stages) {
				data, err := yaml.Marshal(o.Object)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "---\n%s", data)
			}
			golden.Equal(t, "testdata/deploy-"+name+".yaml", []byte(b.String()))
		})
	}
}

func objectsOf(stages []kube.Stage) []*kube.Object {
	var all []*kube.Object
	for _, stage := range stages {
		for _, s := range stage.Steps {
			if a, ok := s.(kube.Applied); ok {
				all = append(all, a.Object)
			}
		}
	}
	return all
}

// Server-side apply leaves its mark only in an object of which it sets a field: without
// one, remove could not tell that it is ours.
func TestObjects_haveAFieldOfOurs(t *testing.T) {
	for name, lines := range forms {
		e := env(t, lines)
		stages, err := Deploy(e, Wanted(e.Cluster))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objectsOf(stages) {
			rest := o.DeepCopy().Object
			for _, field := range [][]string{{"apiVersion"}, {"kind"}, {"metadata", "name"}, {"metadata", "namespace"}} {
				unstructured.RemoveNestedField(rest, field...)
			}
			if metadata, _ := rest["metadata"].(map[string]any); len(rest) == 1 && len(metadata) == 0 {
				t.Errorf("%s: %v sets no field", name, kube.RefOf(o))
			}
		}
	}
}

// A version that moves is not one, and a Pi with 1 GB has no room for surprises.
func TestWorkloads_arePinnedAndBounded(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z0-9.-]+/[a-z0-9/._-]+:v?[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9]+)?$`)
	for name, lines := range forms {
		e := env(t, lines)
		stages, err := Deploy(e, Wanted(e.Cluster))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objectsOf(stages) {
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
			for _, c := range containers {
				m := c.(map[string]any)
				if image := m["image"].(string); !pinned.MatchString(image) && !strings.HasPrefix(image, StorageImage()) {
					t.Errorf("%s: %v: image %s is not pinned to a version", name, kube.RefOf(o), image)
				}
				if _, ok, _ := unstructured.NestedString(m, "resources", "requests", "memory"); !ok {
					t.Errorf("%s: %v: container %s asks for no memory", name, kube.RefOf(o), m["name"])
				}
			}
		}
	}
}

func TestUnwanted_namesTheLine(t *testing.T) {
	c := env(t, "addons: {registry: false, dashboard: none}\n").Cluster
	want := map[string]string{"cni": "", "registry": "addons.registry: false", "dashboard": "addons.dashboard: none"}
	for _, a := range Addons() {
		if w, ok := want[a.Name]; ok && a.Unwanted(c) != w {
			t.Errorf("%s: %q, want %q", a.Name, a.Unwanted(c), w)
		}
	}
}

func TestRedis_needsStorage(t *testing.T) {
	if _, err := Redis(env(t, "storage: {backend: none}\n")); err == nil {
		t.Error("the demonstration of storage is deployed without storage")
	}
}

func TestStorageDriver_isTheDriversName(t *testing.T) {
	if StorageDriver != csi.Name {
		t.Errorf("%s, the driver calls itself %s", StorageDriver, csi.Name)
	}
}

// Names of steps are what a person sees and what the journal is keyed by.
func TestNames_areUniqueInTheirStage(t *testing.T) {
	for name, lines := range forms {
		e := env(t, lines)
		for _, list := range []func(Env, []Addon) ([]kube.Stage, error){Deploy, Remove} {
			stages, err := list(e, Addons())
			if err != nil {
				t.Fatal(err)
			}
			for _, stage := range stages {
				seen := map[string]bool{}
				for _, s := range stage.Steps {
					if seen[s.Name()] {
						t.Errorf("%s: %s has two steps %s", name, stage.Name, s.Name())
					}
					seen[s.Name()] = true
				}
			}
		}
	}
}
