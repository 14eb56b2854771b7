// Package randomimage makes container images for tests of what carries them.
package randomimage

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

// New makes an image for one kind of machine, of two layers with so many random bytes
// each. Nothing in it runs.
func New(t testing.TB, arch string, bytes int64) v1.Image {
	t.Helper()
	image, err := random.Image(bytes, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}
