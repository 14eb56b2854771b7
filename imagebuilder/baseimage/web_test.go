package baseimage

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/internal/web"
)

// shop is a server with one packed image.
func shop(t *testing.T, seed uint64) (s *site, img, packed []byte) {
	t.Helper()
	img = newImage(seed, 4<<20)
	packed = packingOf(t, "xz", img)
	return newSite(t, map[string][]byte{"/os.img.xz": packed}), img, packed
}

func TestGet_downloadsOnceAndAsksWhetherItIsStillTheSame(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 20)
	o := options(t)
	src := Source{Location: s.URL + "/os.img.xz"}
	first := get(t, src, o, img)
	if first.Name != "os.img" || first.Verified || first.SourceSHA256 != digestOf(packed) || first.InPlace {
		t.Errorf("%+v", first)
	}
	if want := []string{"/os.img.xz.sha256", "/os.img.xz"}; !reflect.DeepEqual(s.requests(), want) {
		t.Errorf("requests are not %q", want)
	}
	var stages []string
	o.Progress = func(p Progress) { stages = append(stages, p.Stage) }
	get(t, src, o, img)
	if stages != nil {
		t.Errorf("the second call did %q", stages)
	}
	wantEmpty(t, o.Cache, imageFile)

	// Something new at the same address.
	other := newImage(21, 3<<20)
	s.set("/os.img.xz", packingOf(t, "gzip", other), `"two"`)
	get(t, src, o, other)
	if entries, err := o.Cache.List(); err != nil || len(entries) != 2 {
		t.Errorf("%d images in the cache, %v: want both", len(entries), err)
	}
}

func TestGet_believesADigestOnlyIfItIsRight(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 22)
	src := Source{Location: s.URL + "/os.img.xz"}
	for name, text := range map[string]string{
		"alone":     digestOf(packed) + "\n",
		"sha256sum": strings.ToUpper(digestOf(packed)) + "  os.img.xz\n",
		"of many":   digestOf(img) + "  other.img.xz\n" + digestOf(packed) + " *os.img.xz\n",
	} {
		s.set("/os.img.xz.sha256", []byte(text), `"one"`)
		if got := get(t, src, options(t), img); !got.Verified {
			t.Errorf("%s: not verified", name)
		}
	}
	// A page instead of a digest is none.
	s.set("/os.img.xz.sha256", []byte("<html>not found</html>"), `"one"`)
	if got := get(t, src, options(t), img); got.Verified {
		t.Error("verified by a web page")
	}
	// The given digest counts, the published one does not.
	s.set("/os.img.xz.sha256", []byte(digestOf(img)), `"one"`)
	if got := get(t, Source{Location: src.Location, SHA256: digestOf(packed)}, options(t), img); !got.Verified {
		t.Error("not verified by the given digest")
	}
	for _, wrong := range []Source{src, {Location: src.Location, SHA256: digestOf(img)}} {
		o := options(t)
		var stages []string
		o.Progress = func(p Progress) { stages = append(stages, p.Stage) }
		_, err := Get(t.Context(), wrong, o)
		var digest *DigestError
		if !errors.As(err, &digest) || digest.Want != digestOf(img) || digest.Got != digestOf(packed) {
			t.Errorf("%v", err)
		}
		if slices.Contains(stages, StageDecompress) {
			t.Error("decompressed before it was verified")
		}
		wantEmpty(t, o.Cache)
	}
}

func TestGet_silentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 30)
	o := options(t)
	o.idle = time.Second // enough for the server's honest answers on a busy machine
	hang := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/os.img.xz" {
			<-r.Context().Done()
		}
		return r.URL.Path == "/os.img.xz"
	}
	s.misbehave(hang)
	src := Source{Location: s.URL + "/os.img.xz"}
	_, err := Get(t.Context(), src, o)
	var down *DownloadError
	if !errors.As(err, &down) || down.Status != 0 || !strings.Contains(err.Error(), "server is silent for 1s") {
		t.Errorf("%v", err)
	}
	images := slices.DeleteFunc(s.requests(), func(r string) bool { return r == "/os.img.xz.sha256" })
	if len(images) != web.Tries {
		t.Errorf("requests %q, want %d for the image", images, web.Tries)
	}
	// Silent in the middle, once.
	once := true
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/os.img.xz" || !once {
			return false
		}
		once = false
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(packed)))
		_, _ = w.Write(packed[:9999])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return true
	})
	get(t, src, o, img)
	if want := "/os.img.xz bytes=9999-"; !slices.Contains(s.requests(), want) {
		t.Errorf("no request %q", want)
	}
}

func TestGet_triesAgainOnlyWhatMayHelp(t *testing.T) {
	t.Parallel()
	s, _, _ := shop(t, 31)
	for status, want := range map[int]int{404: 1, 403: 1, 410: 1, 501: 1, 500: web.Tries, 502: web.Tries, 503: web.Tries, 429: web.Tries, 408: web.Tries} {
		s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/os.img.xz" {
				w.WriteHeader(status)
			}
			return r.URL.Path == "/os.img.xz"
		})
		o := options(t)
		_, err := Get(t.Context(), Source{Location: s.URL + "/os.img.xz"}, o)
		var down *DownloadError
		if !errors.As(err, &down) || down.Status != status {
			t.Errorf("%d: %v", status, err)
		}
		if n := len(s.requests()) - 1; n != want {
			t.Errorf("%d: %d requests, want %d", status, n, want)
		}
		wantEmpty(t, o.Cache)
	}
}

func TestGet_unreachableServerLeavesWhatItGaveBefore(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 32)
	o := options(t)
	src := Source{Location: s.URL + "/os.img.xz"}
	get(t, src, o, img)
	s.Close()
	get(t, src, o, img)
	get(t, Source{Location: src.Location, SHA256: digestOf(packed)}, o, img)
	var down *DownloadError
	if _, err := Get(t.Context(), Source{Location: src.Location, SHA256: digestOf(img)}, o); !errors.As(err, &down) {
		t.Errorf("another digest: %v", err)
	}
}

// TestGet_neverSaysACredential plants some and looks at every error and log line.
func TestGet_neverSaysACredential(t *testing.T) {
	t.Parallel()
	s, img, packed := shop(t, 33)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	location := "http://user:hunter2@" + u.Host + "/os.img.xz?signature=hunter2#hunter2"
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user != "user" || password != "hunter2" || r.URL.RawQuery != "signature=hunter2" {
			t.Errorf("credentials did not arrive for %s", r.URL)
		}
		return false
	})
	o := options(t)
	get(t, Source{Location: location}, o, img)
	text := run(t, o.Cache.dir, nil, "grep", "-c", "-r", "os.img", "index.json")
	if len(text) == 0 {
		t.Error("the index does not know the image")
	}
	hasNone := func(what, text string) {
		if strings.Contains(text, "hunter2") || text == "" {
			t.Errorf("%s: %q", what, text)
		}
	}
	hasNone("index", string(run(t, o.Cache.dir, nil, "cat", "index.json")))
	for _, status := range []int{0, 302, 404, 500} {
		s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if status == 0 {
				panic(http.ErrAbortHandler)
			}
			if status == 302 {
				w.Header().Set("Location", location)
			}
			w.WriteHeader(status)
			return true
		})
		_, err := Get(t.Context(), Source{Location: location}, options(t))
		hasNone(fmt.Sprint(status), fmt.Sprint(err))
	}
	s.misbehave(nil)
	_, err = Get(t.Context(), Source{Location: location, SHA256: digestOf(img)}, options(t))
	hasNone("digest", fmt.Sprint(err))
	s.set("/os.img.xz", packed[:len(packed)/2], `"three"`)
	_, err = Get(t.Context(), Source{Location: location}, options(t))
	hasNone("corrupt", fmt.Sprint(err))
	for _, bad := range []string{"http://user:hunter2@/x", "ftp://user:hunter2@host/x", "http://user:hunter2@host:port/x", "http://a b:hunter2@c/"} {
		_, err = Get(t.Context(), Source{Location: bad}, options(t))
		hasNone(bad, fmt.Sprint(err))
	}
}

func TestGet_refusesToLeaveHTTPS(t *testing.T) {
	t.Parallel()
	s, img, _ := shop(t, 34)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.URL+r.URL.Path, http.StatusFound)
	}))
	secure.Config.ErrorLog = log.New(t.Output(), "", 0)
	secure.StartTLS()
	defer secure.Close()
	o := options(t)
	o.Client = secure.Client()
	_, err := Get(t.Context(), Source{Location: secure.URL + "/os.img.xz"}, o)
	if !errors.Is(err, web.ErrDowngrade) {
		t.Errorf("%v, want %v", err, web.ErrDowngrade)
	}
	// The other way is fine, as is a redirect between equals.
	hop := newSite(t, nil)
	hop.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, s.URL+r.URL.Path, http.StatusMovedPermanently)
		return true
	})
	get(t, Source{Location: hop.URL + "/os.img.xz"}, options(t), img)
	// A certificate that nobody vouches for is not asked for twice.
	_, err = Get(t.Context(), Source{Location: secure.URL + "/os.img.xz"}, options(t))
	if err == nil || !strings.Contains(err.Error(), "certificate") || web.Temporary(err) {
		t.Errorf("%v", err)
	}
}

// Some servers call a .gz file a compressed transfer of a raw one.
func TestGet_keepsTheFileAsItIsOnTheServer(t *testing.T) {
	t.Parallel()
	img := newImage(35, 2<<20)
	packed := packingOf(t, "gzip", img)
	s := newSite(t, map[string][]byte{"/os.img.gz": packed})
	s.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("accepts %q", got)
		}
		w.Header().Set("Content-Encoding", "gzip")
		return false
	})
	if got := get(t, Source{Location: s.URL + "/os.img.gz", SHA256: digestOf(packed)}, options(t), img); !got.Verified {
		t.Error("not verified")
	}
}

func TestGet_localDigestBesideCounts(t *testing.T) {
	t.Parallel()
	img := newImage(36, 2<<20)
	packed := packingOf(t, "zip", img)
	path := write(t, filepath.Join(t.TempDir(), "os.zip"), packed)
	write(t, path+".sha256", []byte(digestOf(packed)+"  os.zip\n"))
	if got := get(t, Source{Location: path}, options(t), img); !got.Verified {
		t.Error("not verified")
	}
	write(t, path+".sha256", []byte(digestOf(img)+"  os.zip\n"))
	var digest *DigestError
	if _, err := Get(t.Context(), Source{Location: path}, options(t)); !errors.As(err, &digest) {
		t.Errorf("%v", err)
	}
}
