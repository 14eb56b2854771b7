package plan_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"picluster/imagebuilder/plan"
	"picluster/internal/blob"
	"picluster/internal/lab"
	"picluster/internal/node"
	"picluster/internal/payload"
)

// gathered is a payload of a package and two images.
func gathered() *plan.Payload {
	p := &plan.Payload{Manifest: &payload.Manifest{Version: payload.Version, Kubernetes: "v1.37.2", Release: "trixie", Arch: "arm64"}, Files: map[string][]byte{}}
	file := func(text string) blob.Ref {
		ref := blob.Ref{SHA256: payload.Digest([]byte(text)), Size: int64(len(text))}
		p.Files[ref.SHA256] = []byte(text)
		return ref
	}
	p.Packages = []payload.Package{{Name: "kubelet", Version: "1.37.2-1.1", File: file("a package")}}
	for name, controlPlane := range map[string]bool{"registry.k8s.io/etcd:3.7.0-0": true, "registry.k8s.io/pause:3.10.2": false} {
		p.Images = append(p.Images, payload.Image{Name: name, MediaType: "application/vnd.oci.image.manifest.v1+json", ControlPlane: controlPlane,
			Manifest: file("manifest of " + name), Blobs: []blob.Ref{file("shared layer"), file("layer of " + name)}})
	}
	return p
}

// TestMake_laysOutWhatEachNodeNeeds: each card has its part, and its node.json names
// the very list that is on it.
func TestMake_laysOutWhatEachNodeNeeds(t *testing.T) {
	in := inputs(t, clusters+"home.yaml", detect(t, lab.Layout{Release: "trixie", Arch: "arm64"}))
	in.Payload = gathered()
	p, err := plan.Make(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Cards {
		files := map[string][]byte{}
		for _, e := range c.Edits {
			if name, ok := strings.CutPrefix(e.Path(), payload.Dir+"/"); ok {
				if files[name], err = e.Apply(nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		list := files[payload.ManifestName]
		if c.Config.Kubernetes.Payload != payload.Digest(list) {
			t.Errorf("%s: node.json names another list than the card has", c.Config.Name)
		}
		m, err := payload.Parse(list)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != len(m.Files())+1 {
			t.Errorf("%s: the card has %d files, its list %d", c.Config.Name, len(files)-1, len(m.Files()))
		}
		for _, f := range m.Files() {
			if payload.Digest(files[f.Name]) != f.SHA256 {
				t.Errorf("%s: %s is missing or another file", c.Config.Name, f.Name)
			}
		}
		etcd := slices.ContainsFunc(m.Images, func(i payload.Image) bool { return strings.Contains(i.Name, "etcd") })
		if want := c.Config.Role == node.ControlPlane; etcd != want {
			t.Errorf("%s, a %s, has etcd: %v", c.Config.Name, c.Config.Role, etcd)
		}
		if last := c.Edits[len(c.Edits)-1].Path(); last != "picluster/node.json" {
			t.Errorf("%s: %s comes last: a card that was cut off must have no node.json", c.Config.Name, last)
		}
	}
}

func TestMake_refusesAPayloadOfAnotherCluster(t *testing.T) {
	in := inputs(t, clusters+"home.yaml", detect(t, lab.Layout{Release: "trixie", Arch: "arm64"}))
	for _, tc := range []struct {
		change func(*payload.Manifest)
		says   string
	}{
		{func(m *payload.Manifest) { m.Kubernetes = "v1.36.3" }, "it is for Kubernetes v1.36.3, and this node is for v1.37.2"},
		{func(m *payload.Manifest) { m.Release = "bookworm" }, "it is for Debian bookworm, and this node is for trixie"},
		{func(m *payload.Manifest) { m.Arch = "amd64" }, "it is for the architecture amd64, and this node is for arm64"},
		{func(m *payload.Manifest) { m.Base = strings.Repeat("cd", 32) }, "it was gathered for another image than base.img"},
	} {
		in.Payload = gathered()
		tc.change(in.Payload.Manifest)
		_, err := plan.Make(in)
		var mismatch *payload.MismatchError
		if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("got %v, want %q", err, tc.says)
		}
	}
	in.Payload = gathered()
	in.Payload.Manifest.Base = in.Base.SHA256
	if _, err := plan.Make(in); err != nil {
		t.Errorf("the right one: %v", err)
	}
}
