package baseimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestGet_goesOnWhereAConnectionBroke cuts each answer after half a megabyte.
func TestGet_goesOnWhereAConnectionBroke(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 23)
	// More cuts in a row than there are tries: each brings something.
	step := len(packed)/8 + 1
	s.misbehave(cutAfter("/os.img.xz", packed, step, 7))
	get(t, Source{Location: s.URL + "/os.img.xz"}, options(t), img)
	var ranges []string
	for _, r := range s.requests() {
		if _, after, ok := strings.Cut(r, "bytes="); ok {
			ranges = append(ranges, after)
		}
	}
	var want []string
	for i := 1; i <= 7; i++ {
		want = append(want, fmt.Sprintf("%d-", i*step))
	}
	if !reflect.DeepEqual(ranges, want) {
		t.Errorf("ranges %v, want %v", ranges, want)
	}
}

// half is a cache with half a download in it, as Ctrl-C leaves it.
func half(t *testing.T, s *site, packed []byte, o Options, src Source) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/os.img.xz" {
			return false
		}
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(packed)))
		_, _ = w.Write(packed[:len(packed)/2])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	o.Progress = func(p Progress) {
		if p.Stage == StageDownload && p.Done == int64(len(packed)/2) {
			cancel()
		}
	}
	if _, err := Get(ctx, src, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	s.misbehave(nil)
	s.requests()
	wantEmpty(t, o.Cache, partFile)
}

func TestGet_cancelledDownloadGoesOnInTheNextCall(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 24)
	o := options(t)
	src := Source{Location: s.URL + "/os.img.xz"}
	half(t, s, packed, o, src)
	get(t, src, o, img)
	if want := fmt.Sprintf("/os.img.xz bytes=%d-", len(packed)/2); !slices.Contains(s.requests(), want) {
		t.Errorf("no request %q", want)
	}
	wantEmpty(t, o.Cache, imageFile)
}

func TestGet_changedFileIsDownloadedAnew(t *testing.T) {
	t.Parallel()
	s, _, packed := shop(t, 25)
	other := newImage(26, 4<<20)
	o := options(t)
	src := Source{Location: s.URL + "/os.img.xz"}
	half(t, s, packed, o, src)
	s.set("/os.img.xz", packingOf(t, "xz", other), `"two"`)
	get(t, src, o, other)
}

// Servers that get ranges wrong, one way each.
func TestGet_serversThatGetRangesWrong(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 27)
	src := Source{Location: s.URL + "/os.img.xz"}
	answer := func(status int, contentRange, tag string, body []byte) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("ETag", tag)
			if contentRange != "" {
				w.Header().Set("Content-Range", contentRange)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(status)
			_, _ = w.Write(body)
		}
	}
	mid, end := len(packed)/2, len(packed)
	for name, give := range map[string]func(http.ResponseWriter){
		"ignores ranges":            answer(200, "", `"one"`, packed),
		"another part":              answer(206, fmt.Sprintf("bytes %d-%d/%d", mid-9, end-1, end), `"one"`, packed[mid-9:]),
		"no range header":           answer(206, "", `"one"`, packed[mid:]),
		"another length":            answer(206, fmt.Sprintf("bytes %d-%d/%d", mid, end, end+1), `"one"`, append(packed[mid:end:end], 0)),
		"changed despite the range": answer(206, fmt.Sprintf("bytes %d-%d/%d", mid, end-1, end), `"two"`, make([]byte, end-mid)),
		"more than it says":         answer(206, fmt.Sprintf("bytes %d-%d/%d", mid, end-1, end), `"one"`, append(packed[mid:end:end], 0)),
		"not satisfiable":           answer(416, fmt.Sprintf("bytes */%d", end), `"one"`, nil),
		"the wrong bytes":           answer(206, fmt.Sprintf("bytes %d-%d/%d", mid, end-1, end), `"one"`, make([]byte, end-mid)),
	} {
		o := options(t)
		half(t, s, packed, o, src)
		s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") != "" {
				give(w)
			}
			return r.Header.Get("Range") != ""
		})
		var said bytes.Buffer
		o.Log = slog.New(slog.NewTextHandler(&said, nil))
		get(t, src, o, img)
		// Only wrong bytes may come to light as late as that.
		if late := strings.Contains(said.String(), "resumed download is wrong"); late != (name == "the wrong bytes") {
			t.Errorf("%s: %s", name, said.String())
		}
		wantEmpty(t, o.Cache, imageFile)
	}
}

func TestGet_withoutValidatorsOnlyADigestAllowsToGoOn(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 28)
	for _, digest := range []string{"", digestOf(packed)} {
		o := options(t)
		src := Source{Location: s.URL + "/os.img.xz", SHA256: digest}
		half(t, s, packed, o, src)
		// As if the server had sent none.
		err := o.Cache.locked(func(x *index) error {
			for key, p := range x.Parts {
				p.validators = validators{}
				x.Parts[key] = p
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		get(t, src, o, img)
		resumed := slices.ContainsFunc(s.requests(), func(r string) bool { return strings.Contains(r, "bytes=") })
		if resumed != (digest != "") {
			t.Errorf("digest %q: resumed is %v", digest, resumed)
		}
	}
}

// A whole download whose decompression was cancelled is not loaded again.
func TestGet_cancelledDecompressionKeepsTheDownload(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 29)
	for _, digest := range []string{"", digestOf(packed)} {
		o := options(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o.Progress = func(p Progress) {
			if p.Stage == StageDecompress {
				cancel()
			}
		}
		src := Source{Location: s.URL + "/os.img.xz", SHA256: digest}
		if _, err := Get(ctx, src, o); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		wantEmpty(t, o.Cache, partFile)
		loaded := int64(0)
		o.Progress = func(p Progress) {
			if p.Stage == StageDownload {
				loaded = p.Done
			}
		}
		get(t, src, o, img)
		if loaded != 0 {
			t.Errorf("digest %q: %d bytes were loaded again", digest, loaded)
		}
		wantEmpty(t, o.Cache, imageFile)
	}
}
