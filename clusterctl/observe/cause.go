package observe

import (
	"fmt"
	"strings"
)

// LikelyCause says what most likely keeps a node from being ready, and what helps:
// by what the others do, where the node itself says nothing.
func (s *Snapshot) LikelyCause(n *Node) string {
	control := s.controlPlane()
	switch {
	case n.Hint != "":
		return n.Hint
	case n.Phase == Off && s.nothingHeard():
		return "none of the nodes is found: is this computer in the same network as they are? Guest networks keep devices apart"
	case n.Phase == Off:
		return "other nodes are found, so it is this one: is it switched on, are its lamps on? Its card, put into a computer, has STATUS.txt"
	case strings.Contains(n.Problem, "cni plugin not initialized"), strings.Contains(n.Problem, "NetworkPluginNotReady"):
		return "the pod network does not run on it: clusterctl deploy cni"
	case n.Phase == Joined:
		return "its kubelet: clusterctl doctor --node " + n.Name
	case control != nil && n != control && !control.Phase.AtLeast(Joined):
		return fmt.Sprintf("it needs %s, which is %s", control.Name, strings.ToLower(control.State))
	case s.silent(JoinSource) && !n.Phase.AtLeast(Joined):
		return "the join service does not answer, and admits nobody"
	case n.Phase == Booted && n.Stage == "":
		return "it has been started and says nothing: in its first two minutes that is usual; later, STATUS.txt on its card says why"
	}
	return "it takes its time: http://" + n.Name + ".local:7390/ shows what it does"
}

func (s *Snapshot) controlPlane() *Node {
	for i := range s.Nodes {
		if s.Nodes[i].Role == "control-plane" {
			return &s.Nodes[i]
		}
	}
	return nil
}

func (s *Snapshot) nothingHeard() bool {
	for _, n := range s.Nodes {
		if n.Phase != Off {
			return false
		}
	}
	return true
}

func (s *Snapshot) silent(source string) bool {
	found := s.Source(source)
	return found != nil && !found.OK
}
