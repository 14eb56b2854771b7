package images

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"picluster/internal/lab"
)

// edition is part of every archive's name in the cache. Raise it with any change to a
// recipe that leaves the image its name.
const edition = "1"

// Archive returns the path of an image's archive, as `docker save` writes it and
// `ctr images import` reads it. It is made if it is not in the lab's cache; for that
// the programs in it have to be built.
func Archive(ref, arch string) (string, error) {
	r, ok := recipes[ref]
	if !ok {
		return "", fmt.Errorf("assemble image %s: it is none of the lab's", ref)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		return "", err
	}
	file := strings.NewReplacer("/", "-", ":", "-").Replace(ref)
	return lab.Cached("image"+edition+"-"+file+"-"+arch+".tar", func(ctx context.Context, path string) error {
		image, err := r.make(ctx, arch)
		if err != nil {
			return fmt.Errorf("assemble image %s: %w", ref, err)
		}
		return tarball.WriteToFile(path, tag, image)
	})
}

// Open returns an image of the lab.
func Open(ref, arch string) (v1.Image, error) {
	path, err := Archive(ref, arch)
	if err != nil {
		return nil, err
	}
	return tarball.ImageFromPath(path, nil)
}

// Serve serves images at a registry on loopback, which ends with the test, and returns
// its address: HOST:PORT. See Handler.
func Serve(t testing.TB, refs []string, arches ...string) string {
	t.Helper()
	server := httptest.NewServer(Handler(t, refs, arches...))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// Handler is a registry with images. It stands in for all registries at once:
// registry.k8s.io/pause:3.10.2 is HOST/pause:3.10.2 there. Each name is an index of its
// architectures, as at the real ones.
func Handler(t testing.TB, refs []string, arches ...string) http.Handler {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(handler)
	defer server.Close()
	for _, ref := range refs {
		if err := push(ref, strings.TrimPrefix(server.URL, "http://"), arches); err != nil {
			t.Fatal(err)
		}
	}
	return handler
}

func push(ref, address string, arches []string) error {
	from, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	to, err := name.ParseReference(address+"/"+from.Context().RepositoryStr()+":"+from.Identifier(), name.Insecure)
	if err != nil {
		return err
	}
	var index v1.ImageIndex = empty.Index
	for _, arch := range arches {
		image, err := Open(ref, arch)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	if err := remote.WriteIndex(to, index); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}
