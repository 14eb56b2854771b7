package baseimage

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"picluster/internal/web"
)

const (
	liteFile   = "/raspios_lite_arm64/images/raspios_lite_arm64-2025-10-02/2025-10-01-raspios-trixie-arm64-lite.img.xz"
	legacyFile = "/raspios_oldstable_lite_arm64/images/raspios_oldstable_lite_arm64-2025-10-02/2025-10-01-raspios-bookworm-arm64-lite.img.xz"
	armhfFile  = "/raspios_lite_armhf/images/raspios_lite_armhf-2025-10-02/2025-10-01-raspios-trixie-armhf-lite.img.xz"
)

// listSite serves a list of images in the form of Raspberry Pi's, and the one
// image that all its entries lead to.
func listSite(t *testing.T, seed uint64) (s *site, img, packed []byte) {
	t.Helper()
	img = newImage(seed, 3<<20)
	packed = packingOf(t, "xz", img)
	s = newSite(t, map[string][]byte{})
	text, err := os.ReadFile("testdata/os_list.json")
	if err != nil {
		t.Fatal(err)
	}
	list := strings.NewReplacer("SITE", s.URL, "EXTRACT_SIZE", fmt.Sprint(len(img)), "EXTRACT_SHA256", digestOf(img),
		"DOWNLOAD_SHA256", digestOf(packed)).Replace(string(text))
	more := fmt.Sprintf(`{"os_list": [{"subitems": [{"url": %q, "release_date": "2025-10-02", "extract_sha256": %q}]}]}`, s.URL+armhfFile, digestOf(img))
	s.files = map[string][]byte{"/os_list.json": []byte(list), "/more.json": []byte(more),
		liteFile: packed, legacyFile: packed, armhfFile: packed}
	return s, img, packed
}

func TestGet_findsKnownNamesInTheList(t *testing.T) {
	t.Parallel()
	s, img, packed := listSite(t, 40)
	for name, want := range map[string][]string{
		"raspios-lite-arm64":        {"/os_list.json", liteFile + ".sha256", liteFile},
		"raspios-legacy-lite-arm64": {"/os_list.json", legacyFile},
		// In a list that the first one leads to.
		"raspios-lite-armhf": {"/os_list.json", "/gone.json", "/more.json", armhfFile + ".sha256", armhfFile},
	} {
		o := options(t)
		o.ListURL = s.URL + "/os_list.json"
		s.requests()
		got := get(t, Source{Location: name}, o, img)
		if asked := s.requests(); !reflect.DeepEqual(asked, want) {
			t.Errorf("%s: requests %q, want %q", name, asked, want)
		}
		if file := want[len(want)-1]; !strings.HasSuffix(file, "/"+got.Name+".xz") {
			t.Errorf("%s: image is called %s", name, got.Name)
		}
		if !got.Verified || got.SourceSHA256 != digestOf(packed) || got.Released.Format("2006-01-02") != "2025-10-02" {
			t.Errorf("%s: %+v", name, got)
		}
		// Again: the list is read, for there may be something newer.
		get(t, Source{Location: name}, o, img)
		if asked := s.requests(); slices.Contains(asked, want[len(want)-1]) {
			t.Errorf("%s: loaded again: %q", name, asked)
		}
		// With a digest not even that, and nothing is forgotten.
		for _, digest := range []string{digestOf(img), digestOf(packed)} {
			again := get(t, Source{Location: name, SHA256: digest}, o, img)
			if asked := s.requests(); asked != nil {
				t.Errorf("%s: requests %q for a digest in the cache", name, asked)
			}
			if again.Name != got.Name || again.Released != got.Released || !again.Verified || again.SourceSHA256 != got.SourceSHA256 {
				t.Errorf("%s: %+v, was %+v", name, again, got)
			}
		}
	}
}

func TestGet_knownNameWithADigest(t *testing.T) {
	t.Parallel()
	s, img, packed := listSite(t, 41)
	for _, name := range []string{"raspios-lite-arm64", "raspios-legacy-lite-arm64"} {
		for _, digest := range []string{digestOf(img), digestOf(packed)} {
			o := options(t)
			o.ListURL = s.URL + "/os_list.json"
			if got := get(t, Source{Location: name, SHA256: digest}, o, img); !got.Verified {
				t.Errorf("%s: not verified", name)
			}
		}
	}
	// The list has gone on to another release: said before anything is loaded.
	o := options(t)
	o.ListURL = s.URL + "/os_list.json"
	s.requests()
	old := strings.Repeat("a", 64)
	_, err := Get(t.Context(), Source{Location: "raspios-legacy-lite-arm64", SHA256: old}, o)
	var digest *DigestError
	if !errors.As(err, &digest) || digest.Want != old || !reflect.DeepEqual(s.requests(), []string{"/os_list.json"}) {
		t.Errorf("%v", err)
	}
}

func TestGet_listThatIsWrongAboutTheImage(t *testing.T) {
	t.Parallel()
	s, img, _ := listSite(t, 42)
	s.set(liteFile, packingOf(t, "xz", newImage(43, 3<<20)), `"two"`)
	o := options(t)
	o.ListURL = s.URL + "/os_list.json"
	_, err := Get(t.Context(), Source{Location: "raspios-lite-arm64"}, o)
	var digest *DigestError
	if !errors.As(err, &digest) || digest.Want != digestOf(img) || !strings.HasPrefix(digest.Source, "image in http://") {
		t.Errorf("%v", err)
	}
	wantEmpty(t, o.Cache)
}

func TestGet_listThatIsNotThere(t *testing.T) {
	t.Parallel()
	s, img, _ := listSite(t, 44)
	o := options(t)
	o.ListURL = s.URL + "/os_list.json"
	src := Source{Location: "raspios-lite-arm64"}
	get(t, src, o, img)
	for status, ok := range map[int]bool{500: true, 404: false} {
		s.misbehave(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			return true
		})
		_, err := Get(t.Context(), src, o)
		if (err == nil) != ok {
			t.Errorf("list answers %d: %v", status, err)
		}
	}
	s.misbehave(nil)
	for says, list := range map[string]string{
		"list of images has no raspios-lite-arm64": `{"os_list": []}`,
		"read list of images: invalid character":   `<html>`,
	} {
		s.set("/os_list.json", []byte(list), `"three"`)
		if _, err := Get(t.Context(), src, o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// A list that was fetched safely must not lead to what is not.
func TestSearch_skipsPlainAddressesInASafeList(t *testing.T) {
	u, err := web.Parse("https://example.org/list.json")
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"http://example.org/a":  "",
		"https://example.com/a": "https://example.com/a",
		"sub/b.json":            "https://example.org/sub/b.json",
		"ftp://example.org/a":   "",
		"internal://back":       "",
		"":                      "",
	} {
		got := ""
		if r := (&list{url: u}).resolve(address); r != nil {
			got = r.String()
		}
		if got != want {
			t.Errorf("%q resolves to %q, want %q", address, got, want)
		}
	}
}

// A name that is a beginning of another must not match its directory.
func TestVariants_directoriesAreWholeNames(t *testing.T) {
	seen := map[string]bool{}
	for name, v := range variants {
		if seen[v.directory] || !strings.HasPrefix(name, "raspios-") {
			t.Errorf("%s: directory %s is there twice", name, v.directory)
		}
		seen[v.directory] = true
	}
	if len(Names()) != len(variants) || !slices.IsSorted(Names()) {
		t.Errorf("names are %q", Names())
	}
}
