//go:build e2e

package images_test

import (
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"picluster/internal/cni"
	"picluster/internal/lab/kube"
	"picluster/internal/lab/kube/images"
)

// unpack makes a directory of an image, as a container would see it.
func unpack(t *testing.T, image v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	files := mutate.Extract(image)
	defer files.Close()
	tar := exec.Command("tar", "--extract", "--directory", dir)
	tar.Stdin = files
	if out, err := tar.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// What an image lacks shows when its programs are run with nothing else around them.
func TestImages_runByThemselves(t *testing.T) {
	for ref, command := range map[string][]string{
		images.Busybox: {"sh", "-c", "cp /bin/busybox /tmp/ && ls /tmp"},
		images.Redis:   {"redis-server", "--version"},
		"ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3": {"cp", "-f", "/flannel", "/tmp/flannel"},
		"registry.k8s.io/pause:3.10.2":                          nil,
	} {
		image, err := images.Open(ref, runtime.GOARCH)
		if err != nil {
			t.Fatal(err)
		}
		root := unpack(t, image)
		if command == nil {
			continue
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("chroot", append([]string{root}, command...)...)
		cmd.Env = config.Config.Env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", ref, err, out)
		}
		t.Logf("%s: %s", ref, out)
	}
}

func TestServe_isARegistry(t *testing.T) {
	address := images.Serve(t, []string{images.Busybox}, runtime.GOARCH)
	tags, err := crane.ListTags(address+"/library/busybox", crane.Insecure)
	if err != nil || !slices.Equal(tags, []string{"1.37"}) {
		t.Fatalf("it has %v: %v", tags, err)
	}
	image, err := crane.Pull(address+"/library/busybox:1.37", crane.Insecure, crane.WithPlatform(&v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		t.Fatal(err)
	}
	files := mutate.Extract(image)
	defer files.Close()
	if n, err := io.Copy(io.Discard, files); err != nil || n == 0 {
		t.Errorf("%d bytes: %v", n, err)
	}
}

// The names are kubeadm's and the product's own, or nobody will find the images.
func TestNames_areThoseThatAreAskedFor(t *testing.T) {
	out, err := exec.Command(kube.Program(t, "kubeadm"), "config", "images", "list", "--kubernetes-version", kube.Version).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := append(strings.Fields(string(out)), cni.Images(cni.Flannel)...)
	for _, ref := range want {
		if !slices.Contains(images.Names(), ref) {
			t.Errorf("%s is not among them", ref)
		}
	}
	if len(want) < 9 {
		t.Errorf("kubeadm lists %v", want)
	}
}
