package registry

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	server "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"picluster/internal/lab/randomimage"
)

// serve runs a registry on loopback, one that keeps all in memory, and returns its
// address.
func serve(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(server.New(server.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// archive is a file as docker save writes it.
func archive(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	refs := map[name.Reference]v1.Image{}
	for n, i := range images {
		refs[reference(t, n)] = i
	}
	path := filepath.Join(t.TempDir(), "images.tar")
	if err := tarball.MultiRefWriteToFile(path, refs); err != nil {
		t.Fatal(err)
	}
	return path
}

func reference(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(text, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func names(images []Image) []string {
	var all []string
	for _, i := range images {
		all = append(all, i.Name)
	}
	slices.Sort(all)
	return all
}

func TestPush_fromArchive(t *testing.T) {
	address := serve(t)
	app := randomimage.New(t, "arm64", 1<<16)
	file := archive(t, map[string]v1.Image{"example.org/team/app:1": app, "web": randomimage.New(t, "arm64", 1<<16)})
	images, err := FromArchive(file, "", []string{"arm64"})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(images); !slices.Equal(got, []string{"team/app:1", "web:latest"}) {
		t.Errorf("names: %q", got)
	}
	for _, i := range images {
		var done, total int64
		digest, err := Push(t.Context(), address, i, func(d, all int64) { done, total = d, all })
		if err != nil {
			t.Fatal(err)
		}
		if done != total || total == 0 {
			t.Errorf("progress of %s ends at %d of %d", i.Name, done, total)
		}
		pulled, err := remote.Image(reference(t, address+"/"+i.Name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := pulled.Digest(); err != nil || got.String() != digest {
			t.Errorf("%s: pulled %v, pushed %s, %v", i.Name, got, digest, err)
		}
		if layers, err := pulled.Layers(); err != nil || len(layers) != 2 {
			t.Errorf("%s: %d layers, %v", i.Name, len(layers), err)
		}
	}
	if got, err := List(t.Context(), address); err != nil || !slices.Equal(got, []string{"team/app:1", "web:latest"}) {
		t.Errorf("list: %q, %v", got, err)
	}
}

func TestFromArchive_refuses(t *testing.T) {
	two := archive(t, map[string]v1.Image{"a:1": randomimage.New(t, "arm64", 1<<16), "b:1": randomimage.New(t, "arm64", 1<<16)})
	if _, err := FromArchive(two, "c:1", nil); err == nil || !strings.Contains(err.Error(), "it has 2 images, and one name was given") {
		t.Errorf("one name for two images: %v", err)
	}
	var platform *PlatformError
	amd64 := archive(t, map[string]v1.Image{"a:1": randomimage.New(t, "amd64", 1<<16)})
	if _, err := FromArchive(amd64, "", []string{"arm64"}); !errors.As(err, &platform) {
		t.Errorf("an image for other machines: %v", err)
	}
	if images, err := FromArchive(amd64, "b:2", nil); err != nil || images[0].Name != "b:2" {
		t.Errorf("any platform, another name: %v, %v", names(images), err)
	}
	if _, err := FromArchive("registry_test.go", "", nil); err == nil || !strings.Contains(err.Error(), "as an archive of images") {
		t.Errorf("no archive: %v", err)
	}
}

func TestFromRegistry_takesWhatNodesRun(t *testing.T) {
	from, to := serve(t), serve(t)
	index := v1.ImageIndex(empty.Index)
	for _, a := range []string{"amd64", "arm64", "s390x"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: randomimage.New(t, a, 1<<16),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: a}}})
	}
	source := from + "/library/web:1"
	if err := remote.WriteIndex(reference(t, source), index); err != nil {
		t.Fatal(err)
	}
	found, err := FromRegistry(t.Context(), source, "", []string{"arm64"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Push(t.Context(), to, found, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Index(reference(t, to+"/web:1"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := pushed.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Platform.Architecture != "arm64" {
		t.Errorf("pushed %+v, %v", manifest, err)
	}
	var platform *PlatformError
	if _, err := FromRegistry(t.Context(), source, "", []string{"riscv64"}); !errors.As(err, &platform) || len(platform.Has) != 3 {
		t.Errorf("for no node: %v", err)
	}
	if _, err := FromRegistry(t.Context(), from+"/none:1", "", nil); err == nil {
		t.Error("an image that is not there is found")
	}
}

func TestPush_stopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := archive(t, map[string]v1.Image{"a:1": randomimage.New(t, "arm64", 1<<16)})
	images, err := FromArchive(file, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Push(ctx, serve(t), images[0], func(int64, int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestLocalName(t *testing.T) {
	for in, want := range map[string]string{
		"nginx":                                "nginx:latest",
		"nginx:1.27":                           "nginx:1.27",
		"docker.io/library/nginx:1.27":         "nginx:1.27",
		"ghcr.io/team/app":                     "team/app:latest",
		"localhost:5000/app:1":                 "app:1",
		"localhost/app:1":                      "app:1",
		"team/app:1":                           "team/app:1",
		"example.org:8443/a/b/c:1@sha256:0123": "a/b/c:1",
		"10.0.0.1:40123/library/web:1":         "web:1",
	} {
		if got := localName(in); got != want {
			t.Errorf("localName(%q) = %q, want %q", in, got, want)
		}
	}
}
