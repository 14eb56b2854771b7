// Package topology is what a cluster's storage is made of: nodes, how they are
// reached, in which failure domain they are, and the devices that they give.
//
// It reads and writes topology.json in the form that heketi-cli takes, so that a
// file that somebody has already goes on working; most clusters have none, and
// theirs follows from cluster.yaml.
package topology

import (
	"encoding/json"
	"errors"

	"picluster/internal/spec"
)

// Topology is the whole document.
type Topology struct {
	Clusters []Cluster `json:"clusters"`
}

// Cluster is one trusted pool of GlusterFS: volumes do not cross it.
type Cluster struct {
	Nodes []Node `json:"nodes"`
}

// Node is a machine that gives devices. Both lists have at least one entry, and the
// first is the one that counts, as in Heketi.
type Node struct {
	Manage  []string // how we reach it: with Kubernetes, the node's name
	Storage []string // how other nodes and clients reach its bricks
	Zone    int      // failure domain, from 1
	Tags    map[string]string
	Devices []Device
}

// Device is a block device that becomes the storage's.
type Device struct {
	Name        string            `json:"name"` // absolute path
	DestroyData bool              `json:"destroydata,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// wireNode is a node as the document nests it.
type wireNode struct {
	Node struct {
		Hostnames struct {
			Manage  []string `json:"manage"`
			Storage []string `json:"storage"`
		} `json:"hostnames"`
		Zone int               `json:"zone"`
		Tags map[string]string `json:"tags,omitempty"`
	} `json:"node"`
	Devices []Device `json:"devices"`
}

// MarshalJSON implements json.Marshaler.
func (n Node) MarshalJSON() ([]byte, error) {
	var w wireNode
	w.Node.Hostnames.Manage, w.Node.Hostnames.Storage = n.Manage, n.Storage
	w.Node.Zone, w.Node.Tags, w.Devices = n.Zone, n.Tags, n.Devices
	if w.Devices == nil {
		w.Devices = []Device{} // heketi-cli wants a list
	}
	return json.Marshal(w)
}

// UnmarshalJSON keeps readers from coming by the checks of Parse.
func (n *Node) UnmarshalJSON([]byte) error {
	return errors.New("read topology: use topology.Parse")
}

// LoopDevice is the name that a node's loop device has, whatever its number, when
// cluster.yaml gives a file for storage. firstboot makes the link.
const LoopDevice = "/dev/picluster/storage"

// ZoneLabel is the Kubernetes label that says in which failure domain a node is.
const ZoneLabel = "topology.kubernetes.io/zone"

// FromSpec is the topology that cluster.yaml means: every node with storage, under
// its name and its cluster address. Zones are numbered in the order in which nodes
// name them; nodes that name none are in one together.
func FromSpec(c *spec.Cluster) Topology {
	zones := map[string]int{}
	var nodes []Node
	for k, n := range c.Nodes {
		if !n.Storage.Enabled {
			continue
		}
		zone := n.Labels[ZoneLabel]
		if zones[zone] == 0 {
			zones[zone] = len(zones) + 1
		}
		nodes = append(nodes, Node{
			Manage:  []string{n.Name},
			Storage: []string{c.ClusterAddress(k).Addr().String()},
			Zone:    zones[zone],
			Devices: []Device{deviceOf(n.Storage.Device)},
		})
	}
	if nodes == nil {
		return Topology{}
	}
	return Topology{Clusters: []Cluster{{Nodes: nodes}}}
}

// deviceOf has no permission to destroy: firstboot has emptied the device already
// if cluster.yaml said so, and what is on it since is not to be lost.
func deviceOf(d spec.Device) Device {
	if d.Disk != "" {
		return Device{Name: d.Disk}
	}
	return Device{Name: LoopDevice}
}
