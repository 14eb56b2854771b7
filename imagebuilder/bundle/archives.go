package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"picluster/internal/payload"
)

// archived gets the images of an archive, as `clusterctl images build` and `docker save`
// write them: what no registry has, such as the image of the storage without which the
// cluster's own registry has nowhere to keep anything.
func (q *Request) archived(ctx context.Context, path string) ([]payload.Image, error) {
	open := func() (io.ReadCloser, error) { return os.Open(path) }
	list, err := tarball.LoadManifest(open)
	if err != nil {
		return nil, fmt.Errorf("read image archive %s: %w", path, err)
	}
	var all []payload.Image
	for _, entry := range list {
		for _, text := range entry.RepoTags {
			image, err := q.fromArchive(ctx, open, text)
			var source *RegistryError
			if errors.As(err, &source) { // there is no registry
				err = source.Err
			}
			if err != nil {
				return nil, fmt.Errorf("read image %s of %s: %w", text, path, err)
			}
			all = append(all, *image)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("read image archive %s: no image in it has a name", path)
	}
	return all, nil
}

func (q *Request) fromArchive(ctx context.Context, open tarball.Opener, text string) (*payload.Image, error) {
	tag, err := name.NewTag(text)
	if err != nil {
		return nil, err
	}
	from, err := tarball.Image(open, &tag)
	if err != nil {
		return nil, err
	}
	config, err := from.ConfigFile()
	if err != nil {
		return nil, err
	}
	if config.OS != "linux" || config.Architecture != q.Arch {
		return nil, fmt.Errorf("it is for %s/%s, want linux/%s", config.OS, config.Architecture, q.Arch)
	}
	mediaType, err := from.MediaType()
	if err != nil {
		return nil, err
	}
	// containerd's name of Docker's registry is another than that library's.
	full := strings.Replace(tag.Name(), "index.docker.io/", "docker.io/", 1)
	image := &payload.Image{Name: full, MediaType: string(mediaType)}
	return image, q.files(ctx, from, image, "archive")
}
