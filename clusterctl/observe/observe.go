// Package observe puts together what is known of a cluster: from the API server,
// from node0's join service, from the pages of nodes that are being set up and, where
// all of these are silent, over ssh. None of them has to be there. Before a cluster
// exists, and when its control plane is down, there is still something to say.
//
// Look asks; merge and judge are pure and decide what the answers mean. Nothing here
// changes anything.
package observe

import (
	"time"

	"picluster/internal/joinapi"
)

// Version is the form of Snapshot as JSON. Fields may be added to a form; taking one
// away or changing what it means makes another.
const Version = 1

// Health is the cluster in a word.
type Health string

const (
	Healthy  Health = "healthy"
	Degraded Health = "degraded" // it works, with less than it should have
	Broken   Health = "error"    // something that it is there for does not work
	Unknown  Health = "unknown"  // nothing of it could be reached
)

// Snapshot is what is known of a cluster at one moment.
type Snapshot struct {
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	Cluster Cluster   `json:"cluster"`
	Health  Health    `json:"health"`
	Sources []Source  `json:"sources"`

	Nodes    []Node    `json:"nodes"` // in the order of cluster.yaml, then by name
	Storage  Storage   `json:"storage"`
	Addons   []Addon   `json:"addons"`
	Warnings []Warning `json:"warnings"` // the worst first
}

// Cluster is who it is.
type Cluster struct {
	Name       string `json:"name"`
	ID         string `json:"id,omitempty"`
	Kubernetes string `json:"kubernetes,omitempty"` // the API server's version, if it answers
}

// Source is one that was asked for the whole cluster.
type Source struct {
	Name string `json:"name"` // APISource or JoinSource
	OK   bool   `json:"ok"`
	Text string `json:"text,omitempty"` // why it had no answer
}

// Names of sources.
const (
	APISource  = "API server"
	JoinSource = "join service"
	PageSource = "status page"
	SSHSource  = "ssh"
)

// Phase is how far a node has come: each one includes those before it.
type Phase string

const (
	Off         Phase = "off"         // nothing was heard of it
	Booted      Phase = "booted"      // it has been switched on
	Provisioned Phase = "provisioned" // its system is configured
	Joined      Phase = "joined"      // Kubernetes knows it
	Ready       Phase = "ready"       // and gives it work
)

var phases = []Phase{Off, Booted, Provisioned, Joined, Ready}

// AtLeast reports whether a node has come that far.
func (p Phase) AtLeast(other Phase) bool { return p.rank() >= other.rank() }

func (p Phase) rank() int {
	for i, known := range phases {
		if p == known {
			return i
		}
	}
	return 0
}

// Node is what is known of one node.
type Node struct {
	Name    string    `json:"name"`
	Role    string    `json:"role"` // control-plane, worker or spare
	Phase   Phase     `json:"phase"`
	State   string    `json:"state"`           // for people: "Ready", "Waiting"
	Stage   string    `json:"stage,omitempty"` // where its agent is
	Step    string    `json:"step,omitempty"`  // in that stage
	Percent int       `json:"percent"`         // of its agent's steps
	Since   time.Time `json:"since,omitzero"`  // when the state began
	Problem string    `json:"problem,omitempty"`
	Hint    string    `json:"hint,omitempty"` // what a person does about the problem

	Address        string `json:"address,omitempty"`        // as people reach it
	ClusterAddress string `json:"clusterAddress,omitempty"` // as the nodes do
	Model          string `json:"model,omitempty"`
	Memory         int64  `json:"memory,omitempty"` // bytes
	Kubelet        string `json:"kubelet,omitempty"`
	Cordoned       bool   `json:"cordoned,omitempty"` // gets no new pods

	Card      string        `json:"card,omitempty"`      // id
	CardName  string        `json:"cardName,omitempty"`  // on the card; "spare-1" of what was one
	CardState joinapi.State `json:"cardState,omitempty"` // at the join service
	Sources   []string      `json:"sources"`             // who said so
}

// Storage is the shared storage as Kubernetes sees it.
type Storage struct {
	Backend  string `json:"backend"` // of cluster.yaml
	State    string `json:"state"`   // ok, not deployed, degraded, unknown, none
	Class    string `json:"class,omitempty"`
	Nodes    int    `json:"nodes"`    // that run it
	Of       int    `json:"of"`       // that should
	Claims   int    `json:"claims"`   // PersistentVolumeClaims that are bound
	Waiting  int    `json:"waiting"`  // that have no volume yet
	Lost     int    `json:"lost"`     // whose volume is gone
	Capacity int64  `json:"capacity"` // bytes of all bound claims
}

// States of storage and of add-ons.
const (
	StateOK          = "ok"
	StateDegraded    = "degraded"
	StateNotDeployed = "not deployed"
	StateUnknown     = "unknown" // the API server does not answer
	StateNone        = "none"    // cluster.yaml wants none
)

// Addon is one of those that cluster.yaml wants.
type Addon struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Text  string `json:"text,omitempty"` // what it lacks
}

// Warning is something that a person should know. Explain tells more about its ID.
type Warning struct {
	ID       string   `json:"id"` // of one of Problems, and never of another
	Severity Severity `json:"severity"`
	About    string   `json:"about,omitempty"` // a node, an add-on
	Text     string   `json:"text"`
	Do       string   `json:"do,omitempty"` // what helps, a sentence or a command
}

// Node returns a node by its name, nil if there is none.
func (s *Snapshot) Node(name string) *Node {
	for i := range s.Nodes {
		if s.Nodes[i].Name == name {
			return &s.Nodes[i]
		}
	}
	return nil
}

// Source returns one of those that were asked, nil if it was not.
func (s *Snapshot) Source(name string) *Source {
	for i := range s.Sources {
		if s.Sources[i].Name == name {
			return &s.Sources[i]
		}
	}
	return nil
}
