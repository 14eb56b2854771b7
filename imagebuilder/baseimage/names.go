package baseimage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"picluster/internal/web"
)

// DefaultListURL is Raspberry Pi's list of images, which Raspberry Pi Imager reads
// (OSLIST_URL in its config.h).
const DefaultListURL = "https://downloads.raspberrypi.com/os_list_imagingutility_v4.json"

// variant is one of Raspberry Pi's images through all its releases.
type variant struct {
	// directory of the server: .../raspios_lite_arm64/images/... The titles in
	// the list change with the releases; this has not since 2020.
	directory string
}

// variants are the known names. "Legacy" is, as in the list, the release before
// the current one.
var variants = map[string]*variant{
	"raspios-arm64":             {"raspios_arm64"},
	"raspios-armhf":             {"raspios_armhf"},
	"raspios-full-arm64":        {"raspios_full_arm64"},
	"raspios-full-armhf":        {"raspios_full_armhf"},
	"raspios-legacy-arm64":      {"raspios_oldstable_arm64"},
	"raspios-legacy-armhf":      {"raspios_oldstable_armhf"},
	"raspios-legacy-full-arm64": {"raspios_oldstable_full_arm64"},
	"raspios-legacy-full-armhf": {"raspios_oldstable_full_armhf"},
	"raspios-legacy-lite-arm64": {"raspios_oldstable_lite_arm64"},
	"raspios-legacy-lite-armhf": {"raspios_oldstable_lite_armhf"},
	"raspios-lite-arm64":        {"raspios_lite_arm64"},
	"raspios-lite-armhf":        {"raspios_lite_armhf"},
}

// Names returns the known names, sorted.
func Names() []string { return slices.Sorted(maps.Keys(variants)) }

const (
	maxList  = 16 << 20 // bytes of one list; Raspberry Pi's has a few hundred thousand
	maxLists = 20       // lists that are followed for one name
)

// listItem is an entry of a list of images, or a list in it. Fields are those of
// os-list-schema.json of Raspberry Pi Imager. Items are decoded one by one, so
// that one of another vendor that does not keep to it does no harm.
type listItem struct {
	URL            string            `json:"url"`
	ExtractSize    int64             `json:"extract_size"`
	ExtractSHA256  string            `json:"extract_sha256"`        // of the image
	DownloadSHA256 string            `json:"image_download_sha256"` // of the file; often empty
	ReleaseDate    string            `json:"release_date"`          // 2025-10-02
	Subitems       []json.RawMessage `json:"subitems"`
	SubitemsURL    string            `json:"subitems_url"`
}

// list is a list of images that was read.
type list struct {
	url   *url.URL
	items []json.RawMessage
}

// findName looks a known name up: in the list first, then in the lists it names.
func (g *getter) findName(ctx context.Context, name string) (*listItem, *url.URL, error) {
	first, err := web.Parse(g.ListURL)
	if err != nil {
		return nil, nil, fmt.Errorf("read list of images: %w", err)
	}
	pending := []*url.URL{first}
	seen := map[string]bool{first.String(): true}
	for n := 0; n < len(pending) && n < maxLists; n++ {
		l, err := g.readList(ctx, pending[n])
		if err != nil && n == 0 {
			return nil, nil, err
		}
		if err != nil {
			g.Log.Info("skipping part of the list of images", "cause", err)
			continue
		}
		found, more := l.search(variants[name].directory)
		if found != nil {
			return found, l.resolve(found.URL), nil
		}
		for _, u := range more {
			if !seen[u.String()] {
				seen[u.String()] = true
				pending = append(pending, u)
			}
		}
	}
	return nil, nil, &DownloadError{URL: web.Shown(first), Status: http.StatusOK, Err: fmt.Errorf("list of images has no %s", name)}
}

func (g *getter) readList(ctx context.Context, u *url.URL) (*list, error) {
	data, err := g.web.Small(ctx, u, maxList)
	if err != nil {
		return nil, err
	}
	// The top of the list is os_list; a list that an item leads to may be an item
	// itself, or a bare array of them.
	var top struct {
		Items    []json.RawMessage `json:"os_list"`
		Subitems []json.RawMessage `json:"subitems"`
	}
	var bare []json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil && json.Unmarshal(data, &bare) != nil {
		return nil, &DownloadError{URL: web.Shown(u), Status: http.StatusOK, Err: fmt.Errorf("read list of images: %w", err)}
	}
	return &list{u, slices.Concat(top.Items, top.Subitems, bare)}, nil
}

// search returns the newest item whose file lies in that directory, and the
// further lists that are named.
func (l *list) search(directory string) (best *listItem, more []*url.URL) {
	var walk func(items []json.RawMessage)
	walk = func(items []json.RawMessage) {
		for _, raw := range items {
			var item listItem
			if json.Unmarshal(raw, &item) != nil {
				continue
			}
			walk(item.Subitems)
			if u := l.resolve(item.SubitemsURL); u != nil {
				more = append(more, u)
			}
			u := l.resolve(item.URL)
			if u != nil && slices.Contains(strings.Split(path.Dir(u.Path), "/"), directory) &&
				(best == nil || item.ReleaseDate > best.ReleaseDate) {
				best = &item
			}
		}
	}
	walk(l.items)
	return best, more
}

// resolve reads an address in the list; nil if there is none, or one that is less
// safe than the list's own.
func (l *list) resolve(address string) *url.URL {
	if address == "" {
		return nil
	}
	ref, err := url.Parse(address)
	if err != nil {
		return nil
	}
	u, err := web.Parse(l.url.ResolveReference(ref).String())
	if err != nil || l.url.Scheme == "https" && u.Scheme != "https" {
		return nil
	}
	return u
}

// fill takes over what the list says of the image.
func (item *listItem) fill(o *origin) {
	o.sha256, _ = parseDigest(item.DownloadSHA256)
	o.imageSHA256, _ = parseDigest(item.ExtractSHA256)
	o.imageSize = item.ExtractSize
	o.released, _ = time.Parse(time.DateOnly, item.ReleaseDate)
}
