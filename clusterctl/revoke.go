package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/observe"
	"picluster/internal/cli"
	"picluster/internal/joinapi"
)

func nodeRevokeCommand() cli.Command {
	var flags siteFlags
	var yes bool
	return cli.Command{
		Name: "revoke", Complete: completeNodes, Args: "NODE|CARD-ID", Summary: "lock a node out whose card is lost or stolen",
		Details: "At once and for good: its card opens nothing any more, what it has of Kubernetes may\n" +
			"change nothing, and its pods are started elsewhere. What the thief can have read stays\n" +
			"read: it lists what has to be changed. A new card of the node is let in with\n" +
			"`clusterctl node approve`, or its name is given up with `clusterctl node remove`.",
		Examples: []string{"clusterctl node revoke raspberrypi-node2", "clusterctl node revoke --yes 0123456789abcdef"},
		Flags:    func(f *pflag.FlagSet) { flags.register(f); f.BoolVar(&yes, "yes", false, "do not ask") },
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.openFor(env, "node revoke", args)
			if err != nil {
				return err
			}
			if err := d.workerOnly("revoke", args[0]); err != nil {
				return err
			}
			if d.join == nil {
				return noSecrets("revoke a card")
			}
			if err := confirm(ctx, env, yes, args[0], args[0]+" is locked out for good."); err != nil {
				return err
			}
			return d.revoke(ctx, env, args[0])
		},
	}
}

// revoke begins with what takes effect at once. Everything can be done again.
func (d *site) revoke(ctx context.Context, env cli.Env, card string) error {
	name := card
	cards, err := d.join.Cards(ctx)
	if err != nil {
		return joinError(err)
	}
	for _, c := range cards {
		if c.CardID == card {
			name = cmp.Or(c.Node, c.Name)
		}
	}
	if err := d.join.Act(ctx, card, joinapi.Revoke); err != nil {
		return joinError(err)
	}
	fmt.Fprintf(env.Stderr, "%s: its card is revoked\n", name)
	client, err := d.connect(ctx)
	if err != nil {
		return cli.Exit(cli.Partial, cli.Hint(fmt.Errorf("take %s out of Kubernetes: %w", name, err), "run it again when the API server answers"))
	}
	if err := d.expel(ctx, env, client, name); err != nil {
		return cli.Exit(cli.Partial, cli.Hint(fmt.Errorf("take %s out of Kubernetes: %w", name, err), "run it again"))
	}
	return nil
}

// expel takes the node and its pods out and says what stays known to it.
func (d *site) expel(ctx context.Context, env cli.Env, client *kube.Client, name string) error {
	pods, err := client.PodsOn(ctx, name)
	if err != nil {
		return err
	}
	if err := lockName(ctx, client, name); err != nil {
		return err
	}
	o, err := client.Get(ctx, nodeRef(name))
	if err != nil {
		return err
	}
	if o != nil {
		if err := client.Drain(ctx, name, kube.DrainOptions{Force: true, Now: true}); err != nil {
			return err
		}
		if err := client.Delete(ctx, nodeRef(name)); err != nil {
			return err
		}
		fmt.Fprintf(env.Stderr, "%s: it is out of Kubernetes\n", name)
	}
	fmt.Fprintln(env.Stderr, "What it knew, and has to be changed:")
	for _, what := range d.knownTo(pods) {
		fmt.Fprintln(env.Stderr, "  "+what)
	}
	return nil
}

// knownTo lists what a machine's card and its pods had of secrets.
func (d *site) knownTo(pods []kube.Object) []string {
	var all []string
	for _, w := range d.cluster.Network.WiFi {
		if w.Security != "open" {
			all = append(all, fmt.Sprintf("the passphrase of the Wi-Fi network %s", w.SSID))
		}
	}
	if d.cluster.System.User.Password.HashFile+d.cluster.System.User.Password.HashEnv != "" {
		all = append(all, "the password of "+d.cluster.System.User.Name+", by its hash")
	}
	secrets := map[string]bool{}
	for i := range pods {
		for _, name := range secretsOf(&pods[i]) {
			secrets["Secret "+pods[i].GetNamespace()+"/"+name] = true
		}
	}
	all = append(all, slices.Sorted(maps.Keys(secrets))...)
	if len(all) == 0 {
		all = append(all, "nothing that is known here")
	}
	return all
}

// secretsOf are the names of a pod's Secrets: of volumes, variables and pulls.
func secretsOf(pod *kube.Object) (names []string) {
	spec, _, _ := unstructured.NestedMap(pod.Object, "spec")
	var walk func(key string, value any)
	walk = func(key string, value any) {
		switch v := value.(type) {
		case []any:
			for _, item := range v {
				walk(key, item)
			}
		case map[string]any:
			for k, item := range v {
				walk(k, item)
			}
			for _, field := range []string{"secretName", "name"} {
				name, ok := v[field].(string)
				isSecret := strings.HasPrefix(strings.ToLower(key), "secret") || key == "imagePullSecrets"
				if ok && isSecret && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	walk("", spec)
	return names
}

// lockName has the API server refuse whatever a node of that name wants to change.
// The kubelet's certificate is valid until it ends, and with it a machine whose Node
// was deleted would register it again; Kubernetes has no list of revoked
// certificates (Kubernetes documentation, "Certificates and Certificate Signing
// Requests").
func lockName(ctx context.Context, client *kube.Client, node string) error {
	policy, binding := lockObjects(node)
	for _, o := range []*kube.Object{policy, binding} {
		if _, err := client.Apply(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// unlockName takes back what lockName has done. A node that is not locked is no error.
func unlockName(ctx context.Context, client *kube.Client, node string) error {
	policy, binding := lockObjects(node)
	for _, o := range []*kube.Object{binding, policy} {
		if err := client.Delete(ctx, kube.RefOf(o)); err != nil {
			return err
		}
	}
	return nil
}

func lockObjects(node string) (policy, binding *kube.Object) {
	metadata := map[string]any{"name": "picluster-revoked-" + node, "labels": map[string]any{observe.RevokedLabel: node}}
	policy = &kube.Object{Object: map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": metadata,
		"spec": map[string]any{
			"failurePolicy": "Fail",
			"matchConstraints": map[string]any{"resourceRules": []any{map[string]any{
				"apiGroups": []any{"*"}, "apiVersions": []any{"*"}, "resources": []any{"*/*"},
				"operations": []any{"CREATE", "UPDATE", "DELETE", "CONNECT"},
			}}},
			"matchConditions": []any{map[string]any{"name": "revoked-node", "expression": fmt.Sprintf("request.userInfo.username == 'system:node:%s'", node)}},
			"validations":     []any{map[string]any{"expression": "false", "message": "the card of node " + node + " was revoked"}},
		},
	}}
	binding = &kube.Object{Object: map[string]any{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata,
		"spec": map[string]any{"policyName": "picluster-revoked-" + node, "validationActions": []any{"Deny"}},
	}}
	return policy, binding
}
