package payload

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"picluster/internal/blob"
)

// made is a payload with a package and two images that share a layer, and its files.
func made() (*Manifest, map[string][]byte) {
	files := map[string][]byte{}
	file := func(text string) blob.Ref {
		ref := blob.Ref{SHA256: Digest([]byte(text)), Size: int64(len(text))}
		files[ref.SHA256] = []byte(text)
		return ref
	}
	image := func(name string, controlPlane bool) Image {
		return Image{Name: name, MediaType: "application/vnd.oci.image.manifest.v1+json", ControlPlane: controlPlane,
			Manifest: file("manifest of " + name), Blobs: []blob.Ref{file("shared"), file("layer of " + name)}}
	}
	return &Manifest{Version: Version, Kubernetes: "v1.37.2", Release: "trixie", Arch: "arm64",
		Packages: []Package{{Name: "kubelet", Version: "1.37.2-1.1", File: file("package")}},
		Images:   []Image{image("registry.k8s.io/etcd:3.7.0-0", true), image("registry.k8s.io/pause:3.10.2", false)}}, files
}

func TestManifest_comesBackAsItWas(t *testing.T) {
	m, _ := made()
	first, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.Marshal()
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("%v:\n%s\n%s", err, first, second)
	}
	if n := len(m.Files()); n != 6 { // the shared layer once
		t.Errorf("%d files, want 6", n)
	}
	if part := m.For(false); len(part.Images) != 1 || len(m.Images) != 2 || len(part.Files()) != 4 {
		t.Errorf("a worker gets %v", part.Images)
	}
}

// TestParse_refusesWhatIsDangerous: names become arguments and file names.
func TestParse_refusesWhatIsDangerous(t *testing.T) {
	for says, change := range map[string]func(*Manifest){
		"this program knows":         func(m *Manifest) { m.Version = 2 },
		"no name or version":         func(m *Manifest) { m.Packages[0].Name = "--purge" },
		"kubelet\" has no digest":    func(m *Manifest) { m.Packages[0].File.SHA256 = "../../etc/shadow" },
		"no registry, name and tag":  func(m *Manifest) { m.Images[0].Name = "--all" },
		"a file without a digest":    func(m *Manifest) { m.Images[0].Blobs[0].SHA256 = strings.Repeat("A", 64) },
		"release or arch is missing": func(m *Manifest) { m.Release = "" },
	} {
		m, _ := made()
		change(m)
		if _, err := m.Marshal(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
	if _, err := Parse([]byte(`{"version": 1, "more": true}`)); err == nil {
		t.Error("an unknown field is read over")
	}
}

func TestArchive_isAnImageLayout(t *testing.T) {
	m, files := made()
	open := func(ref blob.Ref) (io.ReadCloser, error) {
		data, ok := files[ref.SHA256]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	var out bytes.Buffer
	if err := m.Images[1].Archive(&out, open); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = string(data)
	}
	if len(found) != 5 || !strings.Contains(found["index.json"], `"io.containerd.image.name":"registry.k8s.io/pause:3.10.2"`) {
		t.Errorf("the archive has %v", found)
	}
	for _, ref := range m.Images[1].Files() {
		if found["blobs/sha256/"+ref.SHA256] != string(files[ref.SHA256]) {
			t.Errorf("%s is missing or another file", ref.SHA256)
		}
	}
	// A wrong byte, and the archive has no end.
	whole := m.Images[1].Blobs[0].SHA256
	files[whole] = []byte("sharex")
	out.Reset()
	var damaged *blob.DigestError
	if err := m.Images[1].Archive(&out, open); !errors.As(err, &damaged) {
		t.Errorf("got %v, want a DigestError", err)
	}
	delete(files, whole)
	if err := m.Images[1].Archive(&out, open); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
