package observe

import (
	"context"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/kube"
)

// apiFacts are what Kubernetes says.
type apiFacts struct {
	version string
	nodes   map[string]apiNode
	locked  map[string]bool // names of revoked nodes
	storage Storage         // without Backend, State and Of
	addons  []Addon
}

// apiNode is a Node object as far as it matters here.
type apiNode struct {
	controlPlane bool
	ready        bool
	why          string // it is not
	since        time.Time
	cordoned     bool
	short        []string // of what
	kubelet      string
	address      string // InternalIP: its cluster address
	memory       int64
}

// defaultClass is the annotation of the StorageClass that counts where a claim
// names none (Kubernetes documentation, "Change the default StorageClass").
const defaultClass = "storageclass.kubernetes.io/is-default-class"

// api asks Kubernetes, everything at the same time: a Pi answers slowly, not seldom.
func (s Sources) api(ctx context.Context) (*apiFacts, error) {
	client, err := s.API(ctx)
	if err != nil {
		return nil, err
	}
	f := &apiFacts{nodes: map[string]apiNode{}, locked: map[string]bool{}}
	var asked sync.WaitGroup
	errs := make([]error, 5)
	asked.Go(func() { f.version, errs[0] = client.Version(ctx) })
	asked.Go(func() { errs[1] = f.readNodes(ctx, client) })
	asked.Go(func() { errs[2] = f.readStorage(ctx, client) })
	asked.Go(func() { errs[4] = f.readLocks(ctx, client) })
	if s.Addons != nil {
		asked.Go(func() { f.addons, errs[3] = s.Addons(ctx, client) })
	}
	asked.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *apiFacts) readNodes(ctx context.Context, client *kube.Client) error {
	list, err := client.List(ctx, kube.Ref{APIVersion: "v1", Kind: "Node"}, "")
	if err != nil {
		return err
	}
	for i := range list {
		f.nodes[list[i].GetName()] = readNode(&list[i])
	}
	return nil
}

// RevokedLabel is on the policies that keep a revoked node out; its value is the node.
const RevokedLabel = "picluster.io/revoked-node"

func (f *apiFacts) readLocks(ctx context.Context, client *kube.Client) error {
	list, err := client.List(ctx, kube.Ref{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"}, RevokedLabel)
	if err != nil {
		return err
	}
	for i := range list {
		f.locked[list[i].GetLabels()[RevokedLabel]] = true
	}
	return nil
}

func readNode(o *kube.Object) apiNode {
	n := apiNode{why: "its kubelet has not reported yet", since: o.GetCreationTimestamp().UTC()}
	_, n.controlPlane = o.GetLabels()["node-role.kubernetes.io/control-plane"]
	n.cordoned, _, _ = unstructured.NestedBool(o.Object, "spec", "unschedulable")
	n.kubelet, _, _ = unstructured.NestedString(o.Object, "status", "nodeInfo", "kubeletVersion")
	memory, _, _ := unstructured.NestedString(o.Object, "status", "capacity", "memory")
	if q, err := resource.ParseQuantity(memory); err == nil {
		n.memory = q.Value()
	}
	for _, a := range maps(o, "status", "addresses") {
		if a["type"] == "InternalIP" && n.address == "" {
			n.address = a["address"]
		}
	}
	for _, c := range maps(o, "status", "conditions") {
		switch kind := c["type"]; {
		case kind == "Ready":
			n.ready, n.why = c["status"] == "True", c["message"]
			if c["status"] == "Unknown" {
				n.why = "its kubelet does not report any more"
			}
			if t, err := time.Parse(time.RFC3339, c["lastTransitionTime"]); err == nil {
				n.since = t.UTC()
			}
		case strings.HasSuffix(kind, "Pressure") && c["status"] == "True":
			n.short = append(n.short, strings.ToLower(strings.TrimSuffix(kind, "Pressure")))
		}
	}
	return n
}

// maps are the texts in a list of maps.
func maps(o *kube.Object, fields ...string) []map[string]string {
	list, _, _ := unstructured.NestedSlice(o.Object, fields...)
	var all []map[string]string
	for _, item := range list {
		m, _ := item.(map[string]any)
		texts := map[string]string{}
		for k, v := range m {
			if s, ok := v.(string); ok {
				texts[k] = s
			}
		}
		all = append(all, texts)
	}
	return all
}

// readStorage looks at the default class and at the nodes that have its driver,
// whichever it is.
func (f *apiFacts) readStorage(ctx context.Context, client *kube.Client) error {
	classes, err := client.List(ctx, kube.Ref{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass"}, "")
	if err != nil {
		return err
	}
	driver := ""
	for _, c := range classes {
		if c.GetAnnotations()[defaultClass] == "true" {
			f.storage.Class = c.GetName()
			driver, _, _ = unstructured.NestedString(c.Object, "provisioner")
		}
	}
	nodes, err := client.List(ctx, kube.Ref{APIVersion: "storage.k8s.io/v1", Kind: "CSINode"}, "")
	if err != nil {
		return err
	}
	for i := range nodes {
		for _, d := range maps(&nodes[i], "spec", "drivers") {
			if driver != "" && d["name"] == driver {
				f.storage.Nodes++
			}
		}
	}
	return f.readClaims(ctx, client)
}

func (f *apiFacts) readClaims(ctx context.Context, client *kube.Client) error {
	claims, err := client.List(ctx, kube.Ref{APIVersion: "v1", Kind: "PersistentVolumeClaim"}, "")
	if err != nil {
		return err
	}
	for _, c := range claims {
		phase, _, _ := unstructured.NestedString(c.Object, "status", "phase")
		switch phase {
		case "Bound":
			f.storage.Claims++
			size, _, _ := unstructured.NestedString(c.Object, "status", "capacity", "storage")
			if q, err := resource.ParseQuantity(size); err == nil {
				f.storage.Capacity += q.Value()
			}
		case "Lost":
			f.storage.Lost++
		default:
			f.storage.Waiting++
		}
	}
	return nil
}
