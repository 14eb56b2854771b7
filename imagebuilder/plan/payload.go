package plan

import (
	"fmt"
	"path"

	"picluster/internal/node"
	"picluster/internal/payload"
	"picluster/internal/spec"
)

// Payload is what cards bring along so that their Pis need no network.
type Payload struct {
	*payload.Manifest
	// Files are the contents by SHA-256. They are large, and nobody changes them.
	Files map[string][]byte
}

// PayloadFile is a file of the payload on the FAT partition.
type PayloadFile struct {
	Name string
	Data []byte // shared by all cards
}

func (f PayloadFile) Path() string                 { return f.Name }
func (f PayloadFile) Secret() bool                 { return false }
func (f PayloadFile) Apply([]byte) ([]byte, error) { return f.Data, nil }

// HostPackages are Debian's packages that a node needs for what is deployed on it.
func HostPackages(c *spec.Cluster) []string {
	if c.Storage.Backend == "glusterfs" {
		// Volumes are mounted by the host's own client, which outlives the pod that
		// asks for them.
		return []string{"glusterfs-client"}
	}
	return nil
}

// fits refuses a payload that was gathered for another cluster or image.
func (p *Payload) fits(in *Inputs) error {
	f := in.Base.Facts
	if err := p.Fits(in.Cluster.Kubernetes.Version, f.Release.Name, f.Arch); err != nil {
		return err
	}
	if p.Base != "" && p.Base != in.Base.SHA256 && in.Base.SHA256 != UnknownDigest {
		return &payload.MismatchError{Reason: fmt.Sprintf("it was gathered for another image than %s", in.Base.Name)}
	}
	return nil
}

// payloadEdits lay the part of the payload that a node needs onto its card, and name
// it in the node's document.
func (in *Inputs) payloadEdits(c *node.Config) ([]Edit, error) {
	if in.Payload == nil || c.Kubernetes == nil {
		return nil, nil
	}
	part := in.Payload.For(c.Role == node.ControlPlane)
	list, err := part.Marshal()
	if err != nil {
		return nil, err
	}
	c.Kubernetes.Payload = payload.Digest(list)
	var edits []Edit
	for _, f := range part.Files() {
		data, ok := in.Payload.Files[f.SHA256]
		if !ok {
			return nil, fmt.Errorf("lay out payload: file %s is missing", f.SHA256)
		}
		edits = append(edits, PayloadFile{path.Join(payload.Dir, f.Name), data})
	}
	return append(edits, PayloadFile{path.Join(payload.Dir, payload.ManifestName), list}), nil
}
