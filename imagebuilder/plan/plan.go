// Package plan turns a cluster's spec, its secrets and what a base image says
// about itself into everything that will be written: the edits of the boot
// partition and one node.json per card.
//
// It is pure: no files, no clock, no randomness. The same inputs give the same
// Plan, so a plan can be a golden file and a card can be made again. How edits
// get onto an image is package patch; what an image is, package image.
package plan

import (
	"fmt"
	"path"
	"strings"
	"time"

	"picluster/imagebuilder/image"
	"picluster/imagebuilder/secrets"
	"picluster/internal/node"
	"picluster/internal/spec"
	"picluster/overlays"
)

// Inputs is everything that a plan depends on.
type Inputs struct {
	Cluster *spec.Cluster
	Secrets *secrets.Bundle
	Cards   []string // the cards to plan: names from CardNames
	Base    Base
	Agent   Agent
	Payload *Payload // nil: nodes get everything from the network
	Tool    string   // version of imagebuilder
}

// Base is the image that all cards start from.
type Base struct {
	Name   string       `json:"name"`
	SHA256 string       `json:"sha256"` // of the decompressed image
	Size   int64        `json:"size"`   // bytes
	Facts  *image.Facts `json:"facts"`
}

// Agent is the firstboot binary for the image's userland.
type Agent struct {
	Arch string // Debian's name: arm64, armhf
	Data []byte
}

// Plan is everything that will be written.
type Plan struct {
	Base  Base
	Time  time.Time // the time stamp of every file written: when the secrets were made
	Edits []Edit    // the same on all cards
	Cards []Card
}

// Card is what one card differs by.
type Card struct {
	Config *node.Config
	Edits  []Edit
}

// EditsOf returns all edits of one card, the common ones first.
func (p *Plan) EditsOf(c Card) []Edit {
	return append(append([]Edit{}, p.Edits...), c.Edits...)
}

// dir is where our files live on the FAT partition.
const dir = "picluster"

// Make makes the plan. Its errors speak of cluster.yaml and the image: what the
// person asked for and this image is not able to be.
func Make(in Inputs) (*Plan, error) {
	if err := Supports(in.Cluster, in.Base.Name, in.Base.Facts); err != nil {
		return nil, err
	}
	if in.Payload != nil {
		if err := in.Payload.fits(&in); err != nil {
			return nil, err
		}
	}
	p := &Plan{Base: in.Base, Time: in.Secrets.Created(), Edits: in.commonEdits()}
	for _, name := range in.Cards {
		c, err := in.card(name)
		if err != nil {
			return nil, fmt.Errorf("plan card %s: %w", name, err)
		}
		p.Cards = append(p.Cards, *c)
	}
	return p, nil
}

// UnknownDigest stands for the image's until that is known: with it, a plan has all
// sizes right, and what is wrong with it shows before anything is written. Only that a
// payload was gathered for another image shows later, when the digest is known.
var UnknownDigest = strings.Repeat("0", 64)

// Supports refuses what an image of that name is not able to do, before anything is
// written.
func Supports(c *spec.Cluster, name string, f *image.Facts) error {
	k := c.Kubernetes
	if f.Booted {
		return fmt.Errorf("plan cards on %s: the image has been booted before (no first-boot hook is left in cmdline.txt); use a stock image", name)
	}
	switch {
	case !k.Enabled:
		return nil
	case f.Arch != "arm64":
		return fmt.Errorf("plan cards on %s: it is a 32-bit image (%s), and Kubernetes has had no 32-bit ARM build since 1.27; "+
			"use raspios-lite-arm64, or set kubernetes.enabled: false for plain configured Pis", name, f.Arch)
	case !f.Release.Kubernetes:
		return fmt.Errorf("plan cards on %s: it is %s, and Kubernetes %s needs the cgroup v2 and containerd of bookworm or trixie; "+
			"use raspios-lite-arm64, or set kubernetes.enabled: false for plain configured Pis", name, f.Release.Name, k.Version)
	}
	return nil
}

func (in *Inputs) commonEdits() []Edit {
	edits := []Edit{CmdlineTxt{Arguments: cgroupArguments, Tail: hook}}
	if in.Cluster.Boot.USBBoot == "card" {
		edits = append(edits, USBBoot)
	}
	if in.Base.Facts.Userconf {
		// sshswitch enables ssh and deletes the file. Older images have a user whose
		// password everybody knows: there the agent enables ssh, for keys only.
		edits = append(edits, Touch{"ssh"})
	}
	for _, f := range overlays.Boot() {
		edits = append(edits, WriteFile{Name: f.Path, Data: f.Data})
	}
	return append(edits, WriteFile{Name: path.Join(dir, "firstboot"), Data: in.Agent.Data})
}

func (in *Inputs) card(name string) (*Card, error) {
	config, err := in.config(name)
	if err != nil {
		return nil, err
	}
	edits, err := in.vendorEdits(config)
	if err != nil {
		return nil, err
	}
	brought, err := in.payloadEdits(config)
	if err != nil {
		return nil, err
	}
	data, err := config.Marshal()
	if err != nil {
		return nil, err
	}
	return &Card{config, append(append(edits, brought...),
		WriteFile{Name: "NODE.txt", Data: nodeTxt(config, in.Base.Name)},
		WriteFile{Name: path.Join(dir, "node.json"), Data: data, Masked: true},
	)}, nil
}
