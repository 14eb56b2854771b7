package steps

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"picluster/firstboot/join"
	"picluster/firstboot/kubeadm"
	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// The timer and its service: what is to be looked at again for as long as the node
// lives, by `firstboot sync`.
var (
	//go:embed picluster-sync.timer
	syncTimer string
	//go:embed picluster-sync.service
	syncUnit string
)

func syncService() Configured {
	return Configured{What: "sync", Unit: "picluster-sync.timer", Files: []Text{
		{Path: unitDir + "picluster-sync.service", Content: syncUnit},
		{Path: unitDir + "picluster-sync.timer", Content: syncTimer},
	}}
}

// Sync lists what is kept right on a node after it has joined: names of the others,
// which come and go, if any are known; on node0 the control plane's certificates, and the
// labels that no node may give itself, its own among them; elsewhere the membership, should the node have been away for too long.
func Sync(c *node.Config, e Env, others []join.Member) []Stage {
	hosts := Hosts{Host: c.Name}
	var last Stage
	for _, m := range others {
		hosts.Peers = append(hosts.Peers, Peer(m.Peer))
		if labels := reserved(m.Labels); c.Role == node.ControlPlane && m.Joined && len(labels) > 0 {
			last.Steps = append(last.Steps, step.Optional[host.Host](NodeLabels{Node: m.Name, Labels: labels}))
		}
	}
	last.Name = "labels"
	if c.Role == node.Worker {
		last = Stage{Name: "join", Steps: []Step{Membership{config: c, env: e}}}
	}
	var all []Stage
	if c.Role == node.ControlPlane { // first: with ended certificates nothing else can be asked
		all = append(all, Stage{Name: "certificates", Steps: []Step{step.Optional[host.Host](Certificates{})}})
	}
	if len(others) > 0 {
		all = append(all, Stage{Name: "name", Steps: []Step{hosts}})
	}
	return append(all, last)
}

// reserved are the labels that only an administrator may give.
func reserved(labels map[string]string) map[string]string {
	some := map[string]string{}
	for key, value := range labels {
		if kubeadm.Reserved(key) {
			some[key] = value
		}
	}
	return some
}

// NodeLabels wants a node of the cluster to have labels; others are left alone.
type NodeLabels struct {
	Node   string
	Labels map[string]string
}

func (s NodeLabels) Name() string { return "labels of " + s.Node }

func (s NodeLabels) missing(ctx context.Context, h host.Host) ([]string, error) {
	out, err := kubectl(ctx, h, "", "get", "node", s.Node, "-o", "jsonpath={.metadata.labels}")
	if err != nil {
		return nil, err
	}
	have := map[string]string{}
	if err := json.Unmarshal(out, &have); err != nil {
		return nil, fmt.Errorf("read labels of %s: %w", s.Node, err)
	}
	var missing []string
	for _, key := range slices.Sorted(maps.Keys(s.Labels)) {
		if value, ok := have[key]; !ok || value != s.Labels[key] {
			missing = append(missing, key+"="+s.Labels[key])
		}
	}
	return missing, nil
}

// Check implements Step.
func (s NodeLabels) Check(ctx context.Context, h host.Host) (string, error) {
	missing, err := s.missing(ctx, h)
	if err != nil || len(missing) == 0 {
		return "", err
	}
	return "it does not have " + strings.Join(missing, ", "), nil
}

// Apply implements Step.
func (s NodeLabels) Apply(ctx context.Context, h host.Host) error {
	missing, err := s.missing(ctx, h)
	if err == nil && len(missing) > 0 {
		_, err = kubectl(ctx, h, "", append([]string{"label", "node", s.Node, "--overwrite"}, missing...)...)
	}
	return err
}
