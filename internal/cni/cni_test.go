package cni

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// images collects what stands behind the key image anywhere in a document.
func images(n any, found *[]string) {
	switch v := n.(type) {
	case map[string]any:
		for key, value := range v {
			if text, ok := value.(string); ok && key == "image" {
				*found = append(*found, text)
			}
			images(value, found)
		}
	case []any:
		for _, item := range v {
			images(item, found)
		}
	}
}

func TestManifest_namesItsSubnetAndItsImages(t *testing.T) {
	for _, name := range []string{Flannel, Weave} {
		text, err := Manifest(name, netip.MustParsePrefix("10.32.0.0/16"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "10.32.0.0/16") || strings.Contains(text, podSubnetWord) {
			t.Errorf("%s does not have the subnet", name)
		}
		var found []string
		for in := yaml.NewDecoder(strings.NewReader(text)); ; {
			var document map[string]any
			if err := in.Decode(&document); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			images(document, &found)
		}
		slices.Sort(found)
		found = slices.Compact(found)
		if want := slices.Sorted(slices.Values(Images(name))); !slices.Equal(found, want) {
			t.Errorf("%s names the images %v, the list %v", name, found, want)
		}
		for _, image := range found {
			if _, tag, ok := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":"); !ok || tag == "latest" {
				t.Errorf("%s: image %s is not pinned", name, image)
			}
		}
	}
}

func TestManifest_ofAnUnknownName(t *testing.T) {
	if text, err := Manifest("calico", netip.Prefix{}); err == nil || text != "" {
		t.Errorf("got %q, %v", text, err)
	}
}
