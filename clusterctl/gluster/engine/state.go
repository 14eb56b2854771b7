package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"picluster/clusterctl/gluster/brick"
	"picluster/internal/host"
)

// State is all that is kept. Volumes are not in it: gluster has them, and their
// sizes in options of theirs.
type State struct {
	Clusters []Cluster `json:"clusters"`
	Pending  []Pending `json:"pending,omitempty"`
}

// Cluster is one trusted pool.
type Cluster struct {
	ID    string `json:"id"`
	Nodes []Node `json:"nodes"`
}

// Node is a machine of the pool.
type Node struct {
	ID      string            `json:"id"`
	Manage  string            `json:"manage"`  // how we reach it
	Storage string            `json:"storage"` // how nodes and clients reach its bricks
	Zone    int               `json:"zone"`
	Tags    map[string]string `json:"tags,omitempty"`
	Mode    Mode              `json:"mode"`
	Devices []Device          `json:"devices"`

	// Preparing are devices that are not there yet: name → the id that it is getting.
	Preparing map[string]string `json:"preparing,omitempty"`
}

// String is what people call the node.
func (n Node) String() string { return n.Manage }

// Device is a node's block device, prepared for bricks.
type Device struct {
	ID    string            `json:"id"`
	Name  string            `json:"name"`
	Tags  map[string]string `json:"tags,omitempty"`
	Mode  Mode              `json:"mode"`
	Total int64             `json:"total"` // bytes that bricks can take
}

func (d Device) brick() brick.Device { return brick.Device{ID: d.ID, Name: d.Name} }

// Mode says what may happen to a node or device.
type Mode string

const (
	Online  Mode = "online"  // gets bricks
	Offline Mode = "offline" // gets no new ones
	Failed  Mode = "failed"  // has been emptied, and gets no new ones
)

// Pending is a change that has begun. It is written down first, so that whatever a
// power cut leaves of it is found and taken to its end, or back.
type Pending struct {
	ID      string  `json:"id"`
	Kind    Kind    `json:"kind"`
	Cluster string  `json:"cluster"`
	Volume  string  `json:"volume"` // gluster's name for it
	Bricks  []Place `json:"bricks"` // those that are made or removed

	Options map[string]string `json:"options,omitempty"` // of the volume, when it has been expanded
}

// Kind is what a change does.
type Kind string

const (
	Create  Kind = "create volume"
	Delete  Kind = "delete volume"
	Expand  Kind = "expand volume"
	Replace Kind = "replace brick"
)

// Place is where a brick is.
type Place struct {
	Device string `json:"device"`
	ID     string `json:"brick"`
}

// Store keeps the state. What Save has returned from is there after a power cut; one
// in the middle of it leaves the old state or the new.
type Store interface {
	// Load returns an empty state if none has been saved.
	Load(ctx context.Context) (State, error)
	Save(ctx context.Context, s State) error
}

// File keeps the state in a file.
type File struct {
	Host host.Host
	Path string
}

var _ Store = File{}

// Load implements Store. A file that is damaged is an error: what it said is not to be
// guessed.
func (f File) Load(ctx context.Context) (State, error) {
	var s State
	data, err := f.Host.ReadFile(ctx, f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		in := json.NewDecoder(bytes.NewReader(data))
		in.DisallowUnknownFields()
		err = in.Decode(&s)
	}
	if err != nil {
		return State{}, fmt.Errorf("load storage state: %w", err)
	}
	return s, nil
}

// Save implements Store.
func (f File) Save(ctx context.Context, s State) error {
	data, err := json.MarshalIndent(s, "", "\t")
	if err == nil {
		err = f.Host.Write(ctx, f.Path, host.File{Mode: 0o600, Data: append(data, '\n')})
	}
	if err != nil {
		return fmt.Errorf("save storage state: %w", err)
	}
	return nil
}

// NewID is an id as Heketi has them: 32 hexadecimal digits.
func NewID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// unfinished lists the changes that have begun to make or remove a volume.
func (s *State) unfinished(cluster, volume string) (all []*Pending) {
	for i, p := range s.Pending {
		if p.Cluster == cluster && p.Volume == volume && (p.Kind == Create || p.Kind == Delete) {
			all = append(all, &s.Pending[i])
		}
	}
	return all
}

// cluster, node and device return nil if there is none of that id.
func (s *State) cluster(id string) *Cluster {
	i := slices.IndexFunc(s.Clusters, func(c Cluster) bool { return c.ID == id })
	if i < 0 {
		return nil
	}
	return &s.Clusters[i]
}

func (s *State) node(id string) (*Cluster, *Node) {
	for i := range s.Clusters {
		for j := range s.Clusters[i].Nodes {
			if s.Clusters[i].Nodes[j].ID == id {
				return &s.Clusters[i], &s.Clusters[i].Nodes[j]
			}
		}
	}
	return nil, nil
}

func (s *State) device(id string) (*Cluster, *Node, *Device) {
	for i := range s.Clusters {
		for j := range s.Clusters[i].Nodes {
			n := &s.Clusters[i].Nodes[j]
			for k := range n.Devices {
				if n.Devices[k].ID == id {
					return &s.Clusters[i], n, &n.Devices[k]
				}
			}
		}
	}
	return nil, nil, nil
}
