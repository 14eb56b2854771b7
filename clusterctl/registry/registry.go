// Package registry copies container images into a registry: from archives and from
// other registries, for the platforms that are asked for.
//
// It does not know how the registry is reached; its callers have an address.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Image is something to push under a name ("app:1", without a registry's host).
type Image struct {
	Name    string
	content partial.WithRawManifest // v1.Image or v1.ImageIndex
}

// PlatformError says that an image runs on none of the cluster's nodes.
type PlatformError struct {
	Image string
	Has   []string // architectures
	Want  []string
}

func (e *PlatformError) Error() string {
	return fmt.Sprintf("take image %s: it is for %s, the nodes are %s", e.Image, strings.Join(e.Has, ", "), strings.Join(e.Want, ", "))
}

// FromImage is an image that this program has made, under its name without the
// registry's host.
func FromImage(as string, image v1.Image) Image { return Image{Name: localName(as), content: image} }

// FromArchive reads the images of a file of `docker save` or `podman save`. as names
// the only image of a file; "" takes the names in it. The file stays in use until the
// images are pushed.
func FromArchive(path, as string, architectures []string) ([]Image, error) {
	opener := func() (io.ReadCloser, error) { return os.Open(path) }
	manifest, err := tarball.LoadManifest(opener)
	if err != nil {
		return nil, fmt.Errorf("read %s as an archive of images: %w", path, err)
	}
	if as != "" && len(manifest) != 1 {
		return nil, fmt.Errorf("read %s: it has %d images, and one name was given", path, len(manifest))
	}
	var images []Image
	for _, d := range manifest {
		names := d.RepoTags
		if as != "" {
			names = []string{as}
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("read %s: it has an image without a name", path)
		}
		content, err := openInArchive(opener, d, len(manifest))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if err := checkArchitecture(names[0], content, architectures); err != nil {
			return nil, err
		}
		for _, n := range names {
			images = append(images, Image{localName(n), content})
		}
	}
	return images, nil
}

// openInArchive opens the image of a descriptor: the only one, or by its first name.
func openInArchive(opener tarball.Opener, d tarball.Descriptor, of int) (v1.Image, error) {
	if of == 1 {
		return tarball.Image(opener, nil)
	}
	tag, err := name.NewTag(d.RepoTags[0])
	if err != nil {
		return nil, err
	}
	return tarball.Image(opener, &tag)
}

func checkArchitecture(of string, image v1.Image, architectures []string) error {
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("read configuration of %s: %w", of, err)
	}
	if len(architectures) > 0 && !slices.Contains(architectures, config.Architecture) {
		return &PlatformError{of, []string{config.Architecture}, architectures}
	}
	return nil
}

// FromRegistry finds an image in another registry; what this machine has logged in to
// counts. Of an image for many platforms those of the architectures are taken.
func FromRegistry(ctx context.Context, reference, as string, architectures []string) (Image, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return Image{}, fmt.Errorf("read name of image: %w", err)
	}
	found, err := remote.Get(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return Image{}, fmt.Errorf("find image %s: %w", reference, err)
	}
	image := Image{Name: localName(reference)}
	if as != "" {
		image.Name = localName(as)
	}
	if !found.MediaType.IsIndex() {
		content, err := found.Image()
		if err != nil {
			return Image{}, fmt.Errorf("read image %s: %w", reference, err)
		}
		image.content = content
		return image, checkArchitecture(reference, content, architectures)
	}
	index, err := found.ImageIndex()
	if err != nil {
		return Image{}, fmt.Errorf("read image %s: %w", reference, err)
	}
	image.content, err = only(reference, index, architectures)
	return image, err
}

// only leaves out of an index what no node runs.
func only(reference string, index v1.ImageIndex, architectures []string) (v1.ImageIndex, error) {
	if len(architectures) == 0 {
		return index, nil
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", reference, err)
	}
	foreign := func(d v1.Descriptor) bool {
		return d.Platform == nil || d.Platform.OS != "linux" || !slices.Contains(architectures, d.Platform.Architecture)
	}
	if !slices.ContainsFunc(manifest.Manifests, func(d v1.Descriptor) bool { return !foreign(d) }) {
		var has []string
		for _, d := range manifest.Manifests {
			if d.Platform != nil && !slices.Contains(has, d.Platform.Architecture) {
				has = append(has, d.Platform.Architecture)
			}
		}
		return nil, &PlatformError{reference, has, architectures}
	}
	return mutate.RemoveManifests(index, foreign), nil
}

// Push writes an image into the registry at address ("127.0.0.1:40123"), over plain
// HTTP, and returns its digest. progress is told of bytes done and in all.
func Push(ctx context.Context, address string, image Image, progress func(done, total int64)) (string, error) {
	ref, err := name.ParseReference(address+"/"+image.Name, name.Insecure)
	if err != nil {
		return "", fmt.Errorf("read name of image: %w", err)
	}
	updates := make(chan v1.Update, 16)
	total := make(chan int64)
	go func() {
		var last v1.Update
		for last = range updates {
			progress(last.Complete, last.Total)
		}
		total <- last.Total
	}()
	options := []remote.Option{remote.WithContext(ctx), remote.WithProgress(updates)}
	switch content := image.content.(type) {
	case v1.Image:
		err = remote.Write(ref, content, options...)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, content, options...)
	default:
		close(updates)
		err = errors.New("it is neither an image nor an index")
	}
	all := <-total // remote closes the channel of updates
	if err != nil {
		return "", fmt.Errorf("push %s: %w", image.Name, err)
	}
	progress(all, all) // it does not count manifests
	digest, err := partial.Digest(image.content)
	return digest.String(), err
}

// List returns the names of all images of the registry at address: "app:1".
func List(ctx context.Context, address string) ([]string, error) {
	r, err := name.NewRegistry(address, name.Insecure)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	repositories, err := remote.Catalog(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var images []string
	for _, repository := range repositories {
		tags, err := remote.List(r.Repo(repository), remote.WithContext(ctx))
		if err != nil {
			return nil, fmt.Errorf("list images of %s: %w", repository, err)
		}
		for _, tag := range tags {
			images = append(images, repository+":"+tag)
		}
	}
	slices.Sort(images)
	return images, nil
}
