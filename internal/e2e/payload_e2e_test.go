//go:build e2e

package e2e

import (
	"io"
	"os"
	"path"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"picluster/firstboot/steps"
	"picluster/internal/blob"
	"picluster/internal/debian"
	"picluster/internal/host"
	"picluster/internal/lab/nodes"
	"picluster/internal/lab/randomimage"
	"picluster/internal/payload"
	"picluster/internal/step"
)

const payloadAt = "/boot/firmware/" + payload.Dir

// onCard puts a file of the payload onto a node's disk.
func onCard(n *nodes.Node, name string, data []byte) blob.Ref {
	ref := blob.Ref{SHA256: payload.Digest(data), Size: int64(len(data))}
	n.Install(path.Join(payloadAt, name), host.File{Data: data})
	return ref
}

// realPackages are containerd and what it needs, as Debian has them.
func realPackages(t *testing.T, n *nodes.Node) (all []payload.Package) {
	t.Helper()
	files, err := nodes.Debs(payload.DebianPackages...)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		control, err := debian.Control(strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		p := payload.Package{Name: control.Get("Package"), Version: control.Get("Version"), File: blob.Ref{SHA256: payload.Digest(data), Size: int64(len(data))}}
		onCard(n, p.FileName(), data)
		all = append(all, p)
	}
	return all
}

// realImage is one of layers of random files, as a registry would give it.
func realImage(t *testing.T, n *nodes.Node, name string, size int64) payload.Image {
	t.Helper()
	image := randomimage.New(t, runtime.GOARCH, size)
	keep := func(data []byte, err error) blob.Ref {
		if err != nil {
			t.Fatal(err)
		}
		return onCard(n, payload.Digest(data), data)
	}
	media, err := image.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	out := payload.Image{Name: name, MediaType: string(media), Manifest: keep(image.RawManifest()), Blobs: []blob.Ref{keep(image.RawConfigFile())}}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		out.Blobs = append(out.Blobs, keep(readLayer(l)))
	}
	return out
}

func readLayer(l v1.Layer) ([]byte, error) {
	r, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestPayload_isInstalledByRealAptAndContainerd on a node whose mirrors are nowhere:
// Debian's own containerd out of its packages, then images into it; a disk that is full
// in the middle, and a damaged layer.
func TestPayload_isInstalledByRealAptAndContainerd(t *testing.T) {
	n := nodes.New(t).Node("pi-node0")
	m := &payload.Manifest{Version: payload.Version, Kubernetes: "v1.37.2", Release: "trixie", Arch: runtime.GOARCH, Packages: realPackages(t, n),
		Images: []payload.Image{realImage(t, n, "registry.k8s.io/pause:3.10.2", 10_000), realImage(t, n, "registry.k8s.io/etcd:3.7.0-0", 8<<20)}}
	list, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p := steps.Payload{Dir: payloadAt, Digest: onCard(n, payload.ManifestName, list).SHA256, Kubernetes: m.Kubernetes, Release: m.Release, Arch: m.Arch}
	n.Install("/etc/apt/sources.list", host.File{Data: []byte("deb http://192.0.2.1/debian trixie main\n")})
	n.PowerOn()
	n.AwaitUp()
	do := func(steps ...steps.Step) error {
		recorder := &step.Recorder{Observers: []step.Observer{func(e step.Event) { t.Log(e.Kind, e.Step, e.Text) }}}
		return step.Run[host.Host](t.Context(), n, []step.Stage[host.Host]{{Name: "payload", Steps: steps}}, recorder)
	}
	run := func(args ...string) string {
		out, err := n.Run(t.Context(), host.Cmd{Args: args})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if err := do(steps.PayloadWhole{Payload: p}, steps.PayloadPackages{Payload: p}); err != nil {
		t.Fatal(err)
	}

	// A card that has become full: containerd's directory has room for the small image.
	run("systemctl", "stop", "containerd")
	run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", "/var/lib/containerd")
	run("systemctl", "start", "containerd")
	images := steps.PayloadImages{Payload: p}
	if err := do(images); err == nil || !strings.Contains(err.Error(), "no space left on the card") {
		t.Errorf("got %v, want that no space is left", err)
	}
	run("mount", "-o", "remount,size=64m", "/var/lib/containerd")

	// A bit of the large one's layer turns while nobody looks.
	layer := path.Join(payloadAt, m.Images[1].Blobs[2].SHA256)
	right, err := n.ReadFile(t.Context(), layer)
	if err != nil {
		t.Fatal(err)
	}
	wrong := append([]byte{}, right...)
	wrong[len(wrong)/2] ^= 1
	if err := n.Write(t.Context(), layer, host.File{Data: wrong}); err != nil {
		t.Fatal(err)
	}
	if err := do(images); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("got %v, want that the file is damaged", err)
	}
	if got := run("ctr", "--namespace", "k8s.io", "images", "list"); strings.Contains(got, m.Images[1].Name) {
		t.Errorf("a damaged image is there:\n%s", got)
	}
	if err := n.Write(t.Context(), layer, host.File{Data: right}); err != nil {
		t.Fatal(err)
	}
	if err := do(images); err != nil {
		t.Fatal(err)
	}
	// containerd's own opinion: all content is there, and unpacked. (Its CRI part adds
	// a second name to each image, by its configuration.)
	listed, checked := run("ctr", "--namespace", "k8s.io", "images", "list"), run("ctr", "--namespace", "k8s.io", "images", "check")
	for _, i := range m.Images {
		if line := lineOf(listed, i.Name); !strings.Contains(line, "io.cri-containerd.pinned=pinned") || !strings.Contains(line, i.Manifest.SHA256) {
			t.Errorf("not pinned, or another image: %s", line)
		}
		if line := lineOf(checked, i.Name); !strings.Contains(line, "complete (3/3)") || !strings.HasSuffix(strings.TrimSpace(line), "true") {
			t.Errorf("not whole, or not unpacked: %s", line)
		}
	}
	if err := do(steps.PayloadRoom{Payload: p}); err != nil {
		t.Fatal(err)
	}
	if err := do(steps.PayloadWhole{Payload: p}, steps.PayloadPackages{Payload: p}, images, steps.PayloadRoom{Payload: p}); err != nil {
		t.Errorf("with the payload gone: %v", err)
	}
	if out, err := n.Run(t.Context(), host.Cmd{Args: []string{"ls", payloadAt}}); err == nil {
		t.Errorf("the payload is still there: %s", out)
	}
}

// lineOf is the line of a table that begins with the word.
func lineOf(table, word string) string {
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, word+" ") {
			return line
		}
	}
	return "none"
}
