package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"picluster/internal/blob"
	"picluster/internal/payload"
)

// images gets the images, each as its registry has it for the nodes' architecture.
func (q *Request) images(ctx context.Context, wanted []wantedImage) ([]payload.Image, error) {
	var all []payload.Image
	for n, w := range wanted {
		image, err := q.image(ctx, w, fmt.Sprintf("image %d/%d", n+1, len(wanted)))
		if err != nil {
			return nil, fmt.Errorf("get image %s: %w", w.name, err)
		}
		all = append(all, *image)
	}
	for _, path := range q.Archives {
		images, err := q.archived(ctx, path)
		if err != nil {
			return nil, err
		}
		all = append(all, images...)
	}
	slices.SortFunc(all, func(a, b payload.Image) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(all, func(a, b payload.Image) bool { return a.Name == b.Name }), nil
}

func (q *Request) image(ctx context.Context, w wantedImage, what string) (*payload.Image, error) {
	reference, err := q.place(w.name)
	if err != nil {
		return nil, err
	}
	remoteImage, err := remote.Image(reference, q.remoteOptions(ctx)...)
	if err != nil {
		return nil, registryError(err)
	}
	config, err := remoteImage.ConfigFile()
	if err != nil {
		return nil, registryError(err)
	}
	// An image without a list of platforms is what it is, whatever was asked for.
	if config.OS != "linux" || config.Architecture != q.Arch {
		return nil, fmt.Errorf("it is for %s/%s, want linux/%s", config.OS, config.Architecture, q.Arch)
	}
	mediaType, err := remoteImage.MediaType()
	if err != nil {
		return nil, registryError(err)
	}
	image := &payload.Image{Name: w.name, MediaType: string(mediaType), ControlPlane: w.controlPlane}
	return image, q.files(ctx, remoteImage, image, what)
}

// files gets the layers, the configuration and the manifest of an image.
func (q *Request) files(ctx context.Context, from v1.Image, image *payload.Image, what string) error {
	layers, err := from.Layers()
	if err != nil {
		return registryError(err)
	}
	manifest, err := from.Manifest()
	if err != nil {
		return registryError(err)
	}
	var done, total int64
	for _, l := range manifest.Layers {
		total += l.Size
	}
	shown := what + ", " + image.Name[strings.LastIndexByte(image.Name, '/')+1:]
	for i, layer := range layers {
		ref := blob.Ref{SHA256: manifest.Layers[i].Digest.Hex, Size: manifest.Layers[i].Size}
		before := done
		open := func() (io.ReadCloser, error) {
			done = before // what came of a try that broke off comes again
			return layer.Compressed()
		}
		if err := q.keep(ctx, ref, image.Name, open, func(n int) {
			done += int64(n)
			q.progress(shown, done, total)
		}); err != nil {
			return err
		}
		image.Blobs = append(image.Blobs, ref)
	}
	q.progress(shown, total, total)
	config := blob.Ref{SHA256: manifest.Config.Digest.Hex, Size: manifest.Config.Size}
	image.Blobs = append(image.Blobs, config)
	if err := q.keepBytes(ctx, config, image.Name, from.RawConfigFile); err != nil {
		return err
	}
	digest, err := from.Digest()
	if err != nil {
		return registryError(err)
	}
	raw, err := from.RawManifest()
	if err != nil {
		return registryError(err)
	}
	image.Manifest = blob.Ref{SHA256: digest.Hex, Size: int64(len(raw))}
	return q.keepBytes(ctx, image.Manifest, image.Name, from.RawManifest)
}

// keep stores a file unless it is there. A layer that broke off is begun anew, once:
// registries are asked for whole blobs.
func (q *Request) keep(ctx context.Context, ref blob.Ref, source string, open func() (io.ReadCloser, error), added func(n int)) error {
	if _, err := q.store().Find(ref); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var err error
	for range 2 {
		var content io.ReadCloser
		if content, err = open(); err != nil {
			err = registryError(err)
			continue
		}
		_, err = q.store().Put(ctx, ref, source, content, added)
		content.Close()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (q *Request) keepBytes(ctx context.Context, ref blob.Ref, source string, get func() ([]byte, error)) error {
	return q.keep(ctx, ref, source, func() (io.ReadCloser, error) {
		data, err := get()
		return io.NopCloser(bytes.NewReader(data)), err
	}, nil)
}

// place is where an image is had from: its own registry, or the person's mirror of it.
func (q *Request) place(image string) (name.Reference, error) {
	registry, rest, _ := strings.Cut(image, "/")
	place, mirrored := q.Cluster.Mirrors.Images[registry]
	if !mirrored {
		return name.ParseReference(image, name.StrictValidation)
	}
	host, plain := strings.CutPrefix(place, "http://")
	if plain {
		return name.ParseReference(host+"/"+rest, name.StrictValidation, name.Insecure)
	}
	return name.ParseReference(host+"/"+rest, name.StrictValidation)
}

func (q *Request) remoteOptions(ctx context.Context) []remote.Option {
	options := []remote.Option{remote.WithContext(ctx), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: q.Arch}), remote.WithUserAgent("picluster-imagebuilder")}
	if q.Web != nil && q.Web.HTTP != nil && q.Web.HTTP.Transport != nil {
		options = append(options, remote.WithTransport(q.Web.HTTP.Transport))
	}
	return options
}
