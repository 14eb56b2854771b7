package observe

import (
	"fmt"

	"picluster/internal/joinapi"
	"picluster/internal/status"
)

// merge makes one picture of the answers.
func (s Sources) merge(f *facts) *Snapshot {
	snapshot := &Snapshot{Version: Version, Time: s.Now().UTC(), Cluster: Cluster{Name: s.Cluster.Name, ID: s.ID},
		Sources: s.sources(f), Nodes: []Node{}, Addons: []Addon{}, Warnings: []Warning{}}
	for _, name := range s.names(f) {
		snapshot.Nodes = append(snapshot.Nodes, s.mergeNode(f, name))
	}
	snapshot.Storage = s.mergeStorage(f)
	if f.api != nil {
		snapshot.Cluster.Kubernetes = f.api.version
		snapshot.Addons = append(snapshot.Addons, f.api.addons...)
	}
	return snapshot
}

func (s Sources) sources(f *facts) []Source {
	list := []Source{}
	if s.API != nil {
		list = append(list, sourceOf(APISource, f.apiErr))
	}
	if s.Cards != nil {
		list = append(list, sourceOf(JoinSource, f.joinErr))
	}
	return list
}

func sourceOf(name string, err error) Source {
	if err != nil {
		return Source{Name: name, Text: err.Error()}
	}
	return Source{Name: name, OK: true}
}

// mergeNode goes from the weakest word to the strongest: a card's state is older than
// what the node itself says, and where Kubernetes has a node, that counts.
func (s Sources) mergeNode(f *facts, name string) Node {
	n := Node{Name: name, Role: "worker", Phase: Off, State: "Off", Sources: []string{}}
	s.addSpec(&n)
	if c := cardOf(f.cards, name); c != nil {
		addCard(&n, c)
	}
	if a, ok := f.pages[name]; ok {
		s.addAnswer(&n, a)
	}
	if f.api != nil {
		if k, ok := f.api.nodes[name]; ok {
			addKubernetes(&n, k)
		}
	}
	return n
}

func (s Sources) addSpec(n *Node) {
	for i, node := range s.Cluster.Nodes {
		if node.Name != n.Name {
			continue
		}
		n.Role = node.Role
		if a := s.Cluster.ClusterAddress(i); a.IsValid() {
			n.ClusterAddress = a.Addr().String()
		}
		if node.Address.IsValid() {
			n.Address = node.Address.Addr().String()
		}
	}
}

// cardStates are what a card's state means for its node.
var cardStates = map[joinapi.State]struct {
	phase Phase
	word  string
}{
	joinapi.Provisioned:  {Off, "Off"},
	joinapi.Waiting:      {Provisioned, "Approval"},
	joinapi.Enrolled:     {Booted, "Joining"},
	joinapi.TokenIssued:  {Provisioned, "Joining"},
	joinapi.Joined:       {Joined, "Joined"},
	joinapi.RevokedState: {Booted, "Revoked"},
	joinapi.Replaced:     {Booted, "Replaced"},
	joinapi.Removed:      {Booted, "Removed"},
}

func addCard(n *Node, c *joinapi.CardStatus) {
	n.Card, n.CardName, n.CardState = c.CardID, c.Name, c.State
	if c.Node == "" && c.State != joinapi.Provisioned {
		n.Role = "spare"
	}
	if c.State == joinapi.Provisioned {
		return // it stands in the list, which is all that is known
	}
	known := cardStates[c.State]
	n.Phase, n.State, n.Since = known.phase, known.word, c.Changed
	n.Sources = append(n.Sources, JoinSource)
	if c.State == joinapi.Waiting {
		n.Problem, n.Hint = c.Why, "clusterctl node approve "+n.Name
	}
	if h := c.Hardware; h != nil {
		n.Model, n.Memory = h.Model, h.RAM
	}
	if e := c.Event; e != nil && c.State != joinapi.Joined && c.State != joinapi.Waiting {
		n.Stage, n.Step = e.Phase, ""
		if e.Detail != "" {
			n.Problem = e.Detail
		}
		n.Since = c.EventTime
	}
}

var stateWords = map[status.State]string{
	status.Starting: "Starting", status.Running: "Configuring", status.Waiting: "Waiting",
	status.Failed: "Failed", status.Rebooting: "Rebooting", status.Done: "Configured",
}

// joinStages are those of the agent by which its system is configured.
var joinStages = map[string]bool{"control-plane": true, "join": true, "packages": true, "seal": true}

func (s Sources) addAnswer(n *Node, a answer) {
	if a.alive && a.address != "" {
		n.Address = a.address
	}
	if a.alive && n.Phase == Off {
		n.Phase, n.State = Booted, "Started"
	}
	st := a.status
	if st == nil {
		if a.err != nil && len(n.Sources) == 0 {
			n.Problem = a.err.Error()
		}
		return
	}
	n.Sources = append(n.Sources, a.source)
	if n.Address == "" && len(st.Addresses) > 0 {
		n.Address = st.Addresses[0].String()
	}
	switch {
	case st.State == status.Done || joinStages[st.Stage]:
		n.Phase = later(n.Phase, Provisioned)
	default:
		n.Phase = later(n.Phase, Booted)
	}
	if n.State == "Approval" || n.Phase == Joined && st.State == status.Done {
		return // the join service has said more
	}
	n.State, n.Stage, n.Step, n.Since = stateWords[st.State], st.Stage, st.Step, st.Since
	n.Percent, n.Problem, n.Hint = percent(st), "", ""
	if st.State == status.Failed || st.State == status.Waiting || st.State == status.Running {
		n.Problem = st.Text
	}
	if st.State == status.Failed || st.State == status.Waiting {
		n.Hint = st.Hint
	}
}

func percent(st *status.Status) int {
	switch {
	case st.State == status.Done:
		return 100
	case st.Of == 0 || st.N == 0:
		return 0
	}
	return (st.N - 1) * 100 / st.Of
}

func later(a, b Phase) Phase {
	if a.AtLeast(b) {
		return a
	}
	return b
}

func addKubernetes(n *Node, k apiNode) {
	n.Sources = append(n.Sources, APISource)
	n.Kubelet, n.Cordoned, n.Memory = k.kubelet, k.cordoned, k.memory
	if k.controlPlane {
		n.Role = "control-plane"
	}
	if n.ClusterAddress == "" {
		n.ClusterAddress = k.address
	}
	if k.ready {
		n.Phase, n.State, n.Percent, n.Since = Ready, "Ready", 100, k.since
		n.Stage, n.Step, n.Problem, n.Hint = "", "", "", ""
		return
	}
	n.Phase = Joined
	// What its agent is at explains it better than that the kubelet is silent.
	if n.State == "Failed" || n.State == "Waiting" || n.State == "Configuring" || n.State == "Rebooting" {
		return
	}
	n.State, n.Since, n.Problem = "NotReady", k.since, k.why
}

func (s Sources) mergeStorage(f *facts) Storage {
	st := Storage{Backend: s.Cluster.Storage.Backend, State: StateNone}
	if st.Backend == "none" || s.API == nil {
		return st
	}
	st.State = StateUnknown
	for _, n := range s.Cluster.Nodes {
		if n.Storage.Enabled {
			st.Of++
		}
	}
	if f.api == nil {
		return st
	}
	k := f.api.storage
	st.Class, st.Nodes, st.Claims, st.Waiting, st.Lost, st.Capacity = k.Class, k.Nodes, k.Claims, k.Waiting, k.Lost, k.Capacity
	switch {
	case st.Class == "":
		st.State = StateNotDeployed
	case st.Nodes < st.Of || st.Lost > 0:
		st.State = StateDegraded
	default:
		st.State = StateOK
	}
	return st
}

// String is the node in one line, for where there is no terminal.
func (n Node) String() string {
	line := n.Name + " " + n.State
	if at := n.Place(); at != "" {
		line += " " + at
	}
	if n.Percent > 0 && n.Percent < 100 {
		line += fmt.Sprintf(" %d %%", n.Percent)
	}
	if n.Address != "" {
		line += " at " + n.Address
	}
	if n.Problem != "" {
		line += ": " + n.Problem
	}
	return line
}

// Place is where its agent is: "packages/containerd".
func (n Node) Place() string {
	if n.Stage != "" && n.Step != "" {
		return n.Stage + "/" + n.Step
	}
	return n.Stage
}
