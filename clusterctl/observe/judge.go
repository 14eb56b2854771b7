package observe

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"picluster/clusterctl/kube"
	"picluster/internal/joinapi"
)

// judge finds what a person should know, and what it makes of the cluster.
func (s Sources) judge(snapshot *Snapshot, f *facts) {
	var all []Warning
	add := func(id, about, text string) { all = append(all, warning(id, about, text)) }
	s.judgeSources(f, add)
	for i := range snapshot.Nodes {
		s.judgeNode(&snapshot.Nodes[i], f, add)
	}
	judgeStorage(snapshot.Storage, add)
	for _, a := range snapshot.Addons {
		switch a.State {
		case StateNotDeployed:
			add("A501", a.Name, a.Name+" is not deployed")
		case StateDegraded:
			add("A502", a.Name, a.Name+" is not ready: "+a.Text)
		}
	}
	slices.SortStableFunc(all, func(a, b Warning) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	snapshot.Warnings = append(snapshot.Warnings, all...)
	snapshot.Health = s.health(snapshot, f)
}

func (s Severity) rank() int { return slices.Index([]Severity{Serious, Warn, Note}, s) }

// WrongClusterError is a kubeconfig's that opens another cluster.
type WrongClusterError struct{ Err error }

func (e *WrongClusterError) Error() string { return e.Err.Error() }
func (e *WrongClusterError) Unwrap() error { return e.Err }

// NotYetError is that there is no kubeconfig, and why node0 has given none.
type NotYetError struct{ Err error }

func (e *NotYetError) Error() string {
	return "there is no kubeconfig, and node0 gives none yet: " + e.Err.Error()
}

// Is makes it one of those that are no fault.
func (e *NotYetError) Is(target error) bool { return target == kube.ErrNoKubeconfig }

func (s Sources) judgeSources(f *facts, add func(id, about, text string)) {
	node0 := s.Cluster.Nodes[0].Name
	var wrong *WrongClusterError
	var away *kube.Unreachable
	switch err := f.apiErr; {
	case err == nil:
	case errors.Is(err, kube.ErrNoKubeconfig):
		add("K103", node0, err.Error())
	case errors.As(err, &wrong):
		add("K104", node0, err.Error())
	case errors.As(err, &away), errors.Is(err, ErrSlow):
		add("K101", node0, "the API server does not answer: "+err.Error())
	default:
		add("K105", node0, "the API server refuses: "+err.Error())
	}
	if f.joinErr != nil {
		add("K102", node0, "the join service does not answer: "+f.joinErr.Error())
	}
}

func (s Sources) judgeNode(n *Node, f *facts, add func(id, about, text string)) {
	s.judgePhase(n, f, add)
	known := slices.Contains(s.Cluster.NodeNames(), n.Name)
	if c := cardOf(f.cards, n.Name); c != nil {
		if c.Conflict != nil {
			add("N204", n.Name, fmt.Sprintf("%s: its card was seen in another Pi, %s", n.Name, cmp.Or(c.Conflict.Model, "serial number "+c.Conflict.Serial)))
		}
		if f.api != nil && f.api.locked[n.Name] && !c.State.Out() {
			add("N214", n.Name, n.Name+" has a new card, and its name is locked since the old one was revoked")
		}
		if c.State == joinapi.RevokedState && n.Phase.AtLeast(Joined) {
			add("N211", n.Name, n.Name+": its card was revoked, and the node is still in the cluster")
		}
	}
	if a, ok := f.pages[n.Name]; ok && a.status != nil {
		for _, w := range a.status.Warnings {
			add("N210", n.Name, fmt.Sprintf("%s has left out %s/%s: %s", n.Name, w.Stage, w.Step, w.Text))
		}
	}
	if f.api == nil {
		return
	}
	k, ok := f.api.nodes[n.Name]
	if !ok {
		return
	}
	if !known {
		add("N209", n.Name, n.Name+" is not in cluster.yaml")
	}
	if n.Cordoned {
		add("N206", n.Name, n.Name+" is cordoned")
	}
	if len(k.short) > 0 {
		add("N207", n.Name, n.Name+" runs short of "+strings.Join(k.short, ", "))
	}
	if want := s.Cluster.Kubernetes.Version; k.kubelet != "" && k.kubelet != want {
		add("N208", n.Name, fmt.Sprintf("%s runs %s, cluster.yaml wants %s", n.Name, k.kubelet, want))
	}
}

// judgePhase is about a node that is not where it should be.
func (s Sources) judgePhase(n *Node, f *facts, add func(id, about, text string)) {
	text := n.Name
	if n.Problem != "" {
		text += ": " + n.Problem
	}
	switch {
	case n.State == "Approval":
		add("N203", n.Name, text)
	case n.State == "Failed":
		add("N205", n.Name, strings.TrimSuffix(n.Name+" has failed at "+n.Place(), " at ")+": "+n.Problem)
	case n.Phase == Off:
		add("N202", n.Name, text)
	case f.api != nil && n.Phase == Joined:
		add("N201", n.Name, text)
	case n.Phase == Ready || !s.Cluster.Kubernetes.Enabled && n.Phase.AtLeast(Provisioned):
	case f.api != nil || !n.Phase.AtLeast(Joined):
		add("N213", n.Name, fmt.Sprintf("%s is %s", n.Name, strings.ToLower(n.State)))
	}
}

func judgeStorage(st Storage, add func(id, about, text string)) {
	switch {
	case st.State == StateNotDeployed:
		add("S401", "", "storage is not deployed")
		return
	case st.State == StateDegraded && st.Nodes < st.Of:
		add("S402", "", fmt.Sprintf("storage runs on %d of %d nodes", st.Nodes, st.Of))
	}
	if st.Lost > 0 {
		add("S403", "", fmt.Sprintf("claims without their volume: %d", st.Lost))
	}
	if st.Waiting > 0 {
		add("S404", "", fmt.Sprintf("claims that wait for a volume: %d", st.Waiting))
	}
}

// health is the worst of the warnings. Where nothing answers, nothing is known.
func (s Sources) health(snapshot *Snapshot, f *facts) Health {
	heard := f.api != nil || s.Cards != nil && f.joinErr == nil
	for _, n := range snapshot.Nodes {
		heard = heard || n.Phase != Off
	}
	if !heard {
		return Unknown
	}
	health := Healthy
	for _, w := range snapshot.Warnings {
		switch {
		case w.Severity == Serious:
			return Broken
		case w.Severity == Warn:
			health = Degraded
		}
	}
	return health
}
