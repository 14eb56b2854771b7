package bundle

import (
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"picluster/internal/blob"
	"picluster/internal/debian"
	"picluster/internal/debian/debiantest"
	"picluster/internal/lab/randomimage"
	"picluster/internal/payload"
	"picluster/internal/spec"
	"picluster/internal/web"
)

// world is the places that a payload is gathered from: Debian, pkgs.k8s.io and the
// registries.
type world struct {
	t                            *testing.T
	debianKey, kubernetesKey     *debiantest.Key
	debian, security, kubernetes *debiantest.Server
	registry                     string // host:port

	mu    sync.Mutex
	asked []string // paths of the registry
	spoil func(w http.ResponseWriter, r *http.Request) bool
}

func deb(name, version, arch, more string, files map[string]string) debiantest.Deb {
	return debiantest.Deb{Control: fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\n%s", name, version, arch, more), Files: files}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, debianKey: debiantest.NewKey(t, "debian"), kubernetesKey: debiantest.NewKey(t, "kubernetes")}
	now := time.Now().Add(-time.Hour)
	suite := func(name string, debs ...debiantest.Deb) *debiantest.Server {
		r := &debiantest.Repo{Key: w.debianKey, Suite: name, Date: now, Debs: debs}
		return debiantest.Serve(t, r.Files(t))
	}
	w.debian = suite("trixie",
		deb("containerd", "1.7.24-1", "arm64", "Depends: runc, libc6 (>= 2.36)\n", nil), deb("runc", "1.1-1", "arm64", "", nil),
		deb("conntrack", "1", "arm64", "", nil), deb("iptables", "1", "arm64", "", nil), deb("nftables", "1", "arm64", "", nil),
		deb("libc6", "2.41-1", "arm64", "", nil), deb("mount", "1", "arm64", "", nil))
	w.security = suite("trixie-security", deb("runc", "1.1-1+deb13u1", "arm64", "", nil))
	w.kubernetes = debiantest.Serve(t, w.kubernetesRepo().Files(t))
	w.serveRegistry()
	return w
}

func (w *world) kubernetesRepo() *debiantest.Repo {
	program := map[string]string{"/usr/bin/kubeadm": "\x7fELF…v1.14.6…3.10.2…3.6.8-0…3.7.0-0…"}
	var debs []debiantest.Deb
	for _, version := range []string{"1.37.1-1.1", "1.37.2-1.1", "1.37.2-2.1", "1.37.10-1.1"} {
		debs = append(debs, deb("kubelet", version, "arm64", "Depends: kubernetes-cni, mount\n", nil),
			deb("kubeadm", version, "arm64", "", program), deb("kubectl", version, "arm64", "", nil), deb("kubelet", version, "amd64", "", nil))
	}
	debs = append(debs, deb("kubernetes-cni", "1.9-1", "arm64", "", nil))
	return &debiantest.Repo{Key: w.kubernetesKey, Date: time.Now().Add(-time.Hour), Debs: debs}
}

// images are what a control plane of v1.37.2 runs.
var images = []string{
	"registry.k8s.io/kube-apiserver:v1.37.2", "registry.k8s.io/kube-controller-manager:v1.37.2", "registry.k8s.io/kube-scheduler:v1.37.2",
	"registry.k8s.io/kube-proxy:v1.37.2", "registry.k8s.io/coredns/coredns:v1.14.6", "registry.k8s.io/pause:3.10.2", "registry.k8s.io/etcd:3.7.0-0",
	"ghcr.io/flannel-io/flannel:v0.28.10", "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3",
}

func (w *world) serveRegistry() {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		if r.Method == http.MethodGet {
			w.asked = append(w.asked, r.URL.Path)
		}
		spoil := w.spoil
		w.mu.Unlock()
		if spoil == nil || !spoil(out, r) {
			inner.ServeHTTP(out, r)
		}
	}))
	w.t.Cleanup(server.Close)
	w.registry = strings.TrimPrefix(server.URL, "http://")
	for _, image := range images {
		_, rest, _ := strings.Cut(image, "/")
		w.push(rest, "amd64", "arm64")
	}
}

// push makes an image of some architectures.
func (w *world) push(repository string, archs ...string) {
	w.t.Helper()
	to, err := name.ParseReference(w.registry+"/"+repository, name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	var index v1.ImageIndex = empty.Index
	for _, arch := range archs {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: randomimage.New(w.t, arch, 3000), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	if err := remote.WriteIndex(to, index); err != nil {
		w.t.Fatal(err)
	}
}

// request is for arm64 nodes that have a base system.
func (w *world) request(dir string) Request {
	w.t.Helper()
	status := "Package: libc6\nStatus: install ok installed\nArchitecture: arm64\nVersion: 2.41-1\n\n" +
		"Package: mount\nStatus: install ok installed\nArchitecture: arm64\nVersion: 1\n"
	there, err := debian.ReadInstalled(strings.NewReader(status), "arm64")
	if err != nil {
		w.t.Fatal(err)
	}
	keys, err := debian.ReadKeys(w.debianKey.Public(w.t))
	if err != nil {
		w.t.Fatal(err)
	}
	place := "http://" + w.registry
	c := &spec.Cluster{Kubernetes: spec.Kubernetes{Enabled: true, Version: "v1.37.2", CNI: "flannel"}, Mirrors: spec.Mirrors{
		Debian: w.debian.URL, Security: w.security.URL, Kubernetes: w.kubernetes.URL + "/", Key: string(w.kubernetesKey.Public(w.t)),
		Images: map[string]string{"registry.k8s.io": place, "ghcr.io": place, "docker.io": place},
	}}
	return Request{Cluster: c, Release: "trixie", Arch: "arm64", There: there, Keys: keys, Dir: dir, Cache: w.t.TempDir(),
		Web: &web.Client{FirstRetry: time.Millisecond}}
}

// requests returns what the registry was asked for since the last call.
func (w *world) requests(part string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, path := range w.asked {
		if strings.Contains(path, part) {
			n++
		}
	}
	w.asked = nil
	return n
}

func TestMake_gathersWhatIsMissingOnTheNodes(t *testing.T) {
	w := newWorld(t)
	q := w.request(t.TempDir())
	if _, err := Make(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	b, err := Open(q.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var packages []string
	for _, p := range b.Packages {
		packages = append(packages, p.Name+" "+p.Version)
	}
	const want = "conntrack 1, containerd 1.7.24-1, iptables 1, kubeadm 1.37.2-2.1, kubectl 1.37.2-2.1, kubelet 1.37.2-2.1, kubernetes-cni 1.9-1, nftables 1, runc 1.1-1+deb13u1"
	if got := strings.Join(packages, ", "); got != want {
		t.Errorf("packages are %s, want %s", got, want)
	}
	var names, workers []string
	for _, i := range b.Images {
		names = append(names, i.Name)
		if len(i.Blobs) != 3 {
			t.Errorf("%s has %d files besides its manifest, want two layers and a configuration", i.Name, len(i.Blobs))
		}
	}
	if sorted := slices.Sorted(slices.Values(images)); !slices.Equal(names, sorted) {
		t.Errorf("images are %v, want %v", names, sorted)
	}
	for _, i := range b.For(false).Images {
		workers = append(workers, i.Name)
	}
	if got := strings.Join(workers, " "); strings.Contains(got, "apiserver") || strings.Contains(got, "etcd") || !strings.Contains(got, "kube-proxy") || !strings.Contains(got, "pause") {
		t.Errorf("a worker gets %s", got)
	}
	// All of it is there: nothing is downloaded again.
	w.requests("")
	if _, err := Make(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if n := w.requests("/blobs/sha256:"); n > len(images) { // the configurations say what an image is for
		t.Errorf("%d blobs were asked for again", n)
	}
}

func TestMake_goesOnWhereItStopped(t *testing.T) {
	w := newWorld(t)
	q := w.request(t.TempDir())
	blobs := 0
	w.spoil = func(out http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			blobs++
		}
		return blobs > 6 && refuse(out)
	}
	var registry *RegistryError
	if _, err := Make(t.Context(), q); !errors.As(err, &registry) {
		t.Fatalf("got %v, want a RegistryError", err)
	}
	if _, err := Open(q.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a payload is one: %v", err)
	}
	w.mu.Lock()
	w.spoil = nil
	w.mu.Unlock()
	if _, err := Make(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(q.Dir); err != nil {
		t.Error(err)
	}
}

func refuse(w http.ResponseWriter) bool {
	w.WriteHeader(http.StatusForbidden)
	return true
}

// TestMake_refuses what must not be put onto a card, and says what it is.
func TestMake_refuses(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		make func(q *Request)
		says string
	}{
		{"a repository that is signed by somebody else", func(q *Request) {
			q.Cluster.Mirrors.Key = string(debiantest.NewKey(t, "mallory").Public(t))
		}, "no good signature by"},
		{"a repository whose own key is not the project's", func(q *Request) { q.Cluster.Mirrors.Key = "" }, "it is not signed by the Kubernetes project"},
		{"Debian signed by somebody else", func(q *Request) {
			q.Keys, _ = debian.ReadKeys(w.kubernetesKey.Public(t))
		}, "no good signature by"},
		{"a version that there is not", func(q *Request) { q.Cluster.Kubernetes.Version = "v1.37.9" }, "kubeadm 1.37.9-* is not offered, but 1.37.10-1.1"},
		{"an image that there is not", func(q *Request) { q.Images = []string{"docker.io/library/nothing:1"} },
			"get image docker.io/library/nothing:1: the registry does not have it"},
		{"an image for other machines", func(q *Request) {
			w.push("library/desktop:1", "amd64")
			q.Images = []string{"docker.io/library/desktop:1"}
		}, "get image docker.io/library/desktop:1: no child with platform linux/arm64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// pkgs.k8s.io has its key beside its packages.
			files := w.kubernetesRepo().Files(t)
			files["Release.key"] = w.kubernetesKey.Public(t)
			w.kubernetes.Set(maps.Clone(files))
			q := w.request(t.TempDir())
			c.make(&q)
			_, err := Make(t.Context(), q)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
			if _, err := os.Stat(filepath.Join(q.Dir, payload.ManifestName)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("there is a payload (%v)", err)
			}
		})
	}
}

func TestOpen_findsWhatIsDamaged(t *testing.T) {
	w := newWorld(t)
	q := w.request(t.TempDir())
	m, err := Make(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	files := m.Files()
	first, last := filepath.Join(q.Dir, files[0].SHA256), filepath.Join(q.Dir, files[len(files)-1].SHA256)
	if err := os.WriteFile(first, []byte("rubbish"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(q.Dir); err == nil || !strings.Contains(err.Error(), "sha256 is") {
		t.Errorf("a damaged file: %v", err)
	}
	if err := os.Remove(last); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(q.Dir); err != nil {
		t.Errorf("gathered again: %v", err)
	}
	if err := os.Remove(last); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(q.Dir); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a payload that lacks a file is none, or whole: %v", err)
	}
}

// TestMake_sweeps what the last payload had: the directory goes onto cards as it is
// looked at by people.
func TestMake_sweeps(t *testing.T) {
	w := newWorld(t)
	q := w.request(t.TempDir())
	if _, err := Make(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	q.Cluster.Kubernetes.Version = "v1.37.1"
	for _, image := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		w.push(image+":v1.37.1", "arm64")
	}
	m, err := Make(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(q.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(m.Files()) + 1; len(entries) != want {
		t.Errorf("the directory has %d files, want %d", len(entries), want)
	}
}

// What no registry has comes from an archive, under its own name.
func TestMake_takesImagesFromAnArchive(t *testing.T) {
	w := newWorld(t)
	q := w.request(t.TempDir())
	saved := func(arch string, names ...string) string {
		image := randomimage.New(t, arch, 3000)
		tags := map[name.Tag]v1.Image{}
		for _, text := range names {
			tag, err := name.NewTag(text)
			if err != nil {
				t.Fatal(err)
			}
			tags[tag] = image
		}
		path := filepath.Join(t.TempDir(), "image.tar")
		if err := tarball.MultiWriteToFile(path, tags); err != nil {
			t.Fatal(err)
		}
		return path
	}
	q.Archives = []string{saved("arm64", "localhost:5000/picluster/storage:1.0"), saved("arm64", "redis:7")}
	if _, err := Make(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	b, err := Open(q.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, i := range b.For(false).Images {
		if i.Name == "localhost:5000/picluster/storage:1.0" || i.Name == "docker.io/library/redis:7" {
			found = append(found, i.Name)
			var out strings.Builder
			if err := i.Archive(&out, func(r blob.Ref) (io.ReadCloser, error) { return os.Open(b.Path(r)) }); err != nil {
				t.Errorf("%s: %v", i.Name, err)
			}
			if len(i.Blobs) != 3 || i.ControlPlane {
				t.Errorf("it is %+v", i)
			}
		}
	}
	if len(found) != 2 {
		t.Errorf("a worker gets of the archives only %v", found)
	}
	for path, says := range map[string]string{
		saved("amd64", "desktop:1"):                "it is for linux/amd64, want linux/arm64",
		filepath.Join(q.Dir, payload.ManifestName): "read image archive",
		filepath.Join(q.Dir, "nowhere.tar"):        "no such file",
	} {
		q.Archives = []string{path}
		var registry *RegistryError
		if _, err := Make(t.Context(), q); err == nil || !strings.Contains(err.Error(), says) || errors.As(err, &registry) {
			t.Errorf("%s: got %v, want %s", path, err, says)
		}
	}
}
