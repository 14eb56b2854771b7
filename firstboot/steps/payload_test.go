package steps_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"picluster/firstboot/steps"
	"picluster/internal/blob"
	"picluster/internal/debian/debiantest"
	"picluster/internal/host"
	"picluster/internal/lab"
	"picluster/internal/node"
	"picluster/internal/payload"
	"picluster/internal/step"
)

// payloadDir is where a card's payload is on the machine.
const payloadDir = "/boot/firmware/" + payload.Dir

// lay puts a payload of packages and images into the machine's root, and returns the
// document of the node that it is for.
func lay(t *testing.T, root string, debs []debiantest.Deb, images []payload.Image, blobs map[string][]byte) *node.Config {
	t.Helper()
	dir := filepath.Join(root, payloadDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := &payload.Manifest{Version: payload.Version, Kubernetes: "v1.37.2", Release: "trixie", Arch: runtime.GOARCH, Images: images}
	for _, d := range debs {
		data := d.Bytes()
		p := payload.Package{Name: d.Field("Package"), Version: d.Field("Version"), File: blob.Ref{SHA256: payload.Digest(data), Size: int64(len(data))}}
		put(p.FileName(), data)
		m.Packages = append(m.Packages, p)
	}
	for name, data := range blobs {
		put(name, data)
	}
	list, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	put(payload.ManifestName, list)
	c := worker(t, "trixie")
	c.Build.Arch = runtime.GOARCH
	c.Kubernetes.Payload = payload.Digest(list)
	return c
}

// brought are packages that need each other and one that is installed.
func brought() []debiantest.Deb {
	make := func(name, more string) debiantest.Deb {
		return debiantest.Deb{Control: fmt.Sprintf("Package: %s\nVersion: 1.37.2-1.1\nArchitecture: %s\n%s", name, runtime.GOARCH, more),
			Files: map[string]string{"/opt/brought/" + name: "1\n"}}
	}
	kubelet := make("brought-kubelet", "Depends: brought-cni (>= 1.2), dpkg\n")
	kubelet.Scripts = map[string]string{"postinst": "#!/bin/sh\nset -e\ntest -e /opt/brought/brought-cni\n"}
	return []debiantest.Deb{kubelet, make("brought-cni", "Pre-Depends: brought-base\n"), make("brought-base", "")}
}

// offline is a Debian whose only repository is nowhere.
func offline(t *testing.T) (host.Local, string) {
	t.Helper()
	dir := lab.AptRoot(t, "trixie", memory())
	list := filepath.Join(dir, "etc/apt/sources.list")
	if err := os.WriteFile(list, []byte("deb http://192.0.2.1/ ./\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return host.Local{Root: dir, Chroot: true}, dir
}

// on is the payload of the node.
func on(c *node.Config) steps.Payload {
	return steps.Payload{Dir: payloadDir, Digest: c.Kubernetes.Payload, Kubernetes: c.Kubernetes.Version, Release: c.Build.Release, Arch: c.Build.Arch}
}

// bring runs the steps for the payload that need no containerd.
func bring(ctx context.Context, h host.Host, c *node.Config) (events []string, err error) {
	recorder := &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		events = append(events, strings.TrimSpace(fmt.Sprintf("%s %s: %s", e.Kind, e.Step, e.Text)))
	}}}
	return events, step.Run(ctx, h, []steps.Stage{{Name: "kubernetes", Steps: []steps.Step{steps.PayloadWhole{Payload: on(c)}, steps.PayloadPackages{Payload: on(c)}}}}, recorder)
}

func TestPayload_installsWithoutANetwork(t *testing.T) {
	t.Parallel()
	h, root := offline(t)
	c := lay(t, root, brought(), nil, nil)
	events, err := bring(t.Context(), h, c)
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, events, "applying payload: the payload on the card is not checked yet", "done payload:",
		"applying payload packages: not installed: brought-kubelet, brought-cni, brought-base", "done payload packages:")
	for _, d := range brought() {
		if got := status(t, h, d.Field("Package")); got != "ii " {
			t.Errorf("dpkg has %s as %q", d.Field("Package"), got)
		}
	}
	room := steps.PayloadRoom{Payload: on(c)}
	if err := room.Apply(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, payloadDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the payload is still on the card (%v)", err)
	}
	// With the payload gone nothing asks for it, also after a reboot.
	if err := os.RemoveAll(filepath.Join(root, "run/picluster")); err != nil {
		t.Fatal(err)
	}
	events, err = bring(t.Context(), h, c)
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, events, "unchanged payload:", "unchanged payload packages:")
	if drift, err := room.Check(t.Context(), h); drift != "" || err != nil {
		t.Errorf("room: %q, %v", drift, err)
	}
}

// TestPayload_isLookedAtBeforeAnythingIsInstalled: each fault is named, nothing is
// installed, and once it is gone the node goes on.
func TestPayload_isLookedAtBeforeAnythingIsInstalled(t *testing.T) {
	t.Parallel()
	h, root := offline(t)
	debs := brought()
	first := payload.Package{File: blob.Ref{SHA256: payload.Digest(debs[0].Bytes())}}.FileName()
	layer := []byte("a layer")
	image := payload.Image{Name: "registry.k8s.io/pause:3.10.2", MediaType: "application/vnd.oci.image.manifest.v1+json",
		Manifest: blob.Ref{SHA256: payload.Digest([]byte("manifest")), Size: 8}, Blobs: []blob.Ref{{SHA256: payload.Digest(layer), Size: int64(len(layer))}}}
	blobs := map[string][]byte{image.Manifest.SHA256: []byte("manifest"), image.Blobs[0].SHA256: layer}
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, dir string, c *node.Config)
		says   string
	}{
		{"damaged package", func(t *testing.T, dir string, _ *node.Config) { flip(t, filepath.Join(dir, first)) },
			"check payload: damaged or missing: package brought-kubelet"},
		{"missing package", func(t *testing.T, dir string, _ *node.Config) { remove(t, filepath.Join(dir, first)) },
			"check payload: damaged or missing: package brought-kubelet"},
		{"damaged image", func(t *testing.T, dir string, _ *node.Config) {
			flip(t, filepath.Join(dir, image.Blobs[0].SHA256))
		}, "check payload: damaged or missing: image registry.k8s.io/pause:3.10.2"},
		{"missing image", func(t *testing.T, dir string, _ *node.Config) {
			remove(t, filepath.Join(dir, image.Manifest.SHA256))
		}, "check payload: damaged or missing: image registry.k8s.io/pause:3.10.2"},
		{"damaged list", func(t *testing.T, dir string, _ *node.Config) { flip(t, filepath.Join(dir, payload.ManifestName)) },
			"manifest.json is damaged, or of another card"},
		{"no payload", func(t *testing.T, dir string, _ *node.Config) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}, "manifest.json is missing"},
		{"another version", func(_ *testing.T, _ string, c *node.Config) { c.Kubernetes.Version = "v1.36.3" },
			"check payload: it is for Kubernetes v1.37.2, and this node is for v1.36.3"},
		{"another release", func(_ *testing.T, _ string, c *node.Config) { c.Build.Release = "bookworm" },
			"check payload: it is for Debian trixie, and this node is for bookworm"},
	} {
		c := lay(t, root, debs, []payload.Image{image}, blobs)
		tc.damage(t, filepath.Join(root, payloadDir), c)
		_, err := bring(t.Context(), h, c)
		if err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.says)
		}
		for _, d := range debs {
			if got := status(t, h, d.Field("Package")); got != "" {
				t.Errorf("%s: dpkg has %s as %q", tc.name, d.Field("Package"), got)
			}
		}
	}
	c := lay(t, root, debs, []payload.Image{image}, blobs)
	if _, err := bring(t.Context(), h, c); err != nil {
		t.Errorf("once it is right: %v", err)
	}
}

// TestPayload_survivesAPowerCut in the middle of dpkg: what is half there is made whole.
func TestPayload_survivesAPowerCut(t *testing.T) {
	t.Parallel()
	h, root := offline(t)
	debs := brought()
	debs[1].Scripts = map[string]string{"postinst": "#!/bin/sh\nif [ ! -e /run/second ]; then touch /run/second; kill -9 $PPID; sleep 1; exit 1; fi\n"}
	c := lay(t, root, debs, nil, nil)
	if _, err := bring(t.Context(), h, c); err == nil {
		t.Fatal("dpkg was killed, and nothing is said of it")
	}
	if _, err := bring(t.Context(), h, c); err != nil {
		t.Fatal(err)
	}
	for _, d := range debs {
		if got := status(t, h, d.Field("Package")); got != "ii " {
			t.Errorf("dpkg has %s as %q", d.Field("Package"), got)
		}
	}
}

// TestPayload_saysThatTheCardIsFull, and goes on when there is room.
func TestPayload_saysThatTheCardIsFull(t *testing.T) {
	t.Parallel()
	h, root := offline(t)
	small := filepath.Join(root, "opt/brought")
	if err := os.MkdirAll(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	debs := brought()
	debs[0].Files["/opt/brought/large"] = strings.Repeat("0123456789abcdef", 64<<10)
	c := lay(t, root, debs, nil, nil)
	_, err := bring(t.Context(), h, c)
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("got %v, want that no space is left", err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", unix.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	if _, err := bring(t.Context(), h, c); err != nil {
		t.Errorf("with room: %v", err)
	}
}

func flip(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}
