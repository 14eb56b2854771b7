package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/internal/web"
)

func ref(data []byte) Ref {
	sum := sha256.Sum256(data)
	return Ref{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data))}
}

// serve answers with data, after answers of another kind.
func serve(t *testing.T, data []byte, first ...http.HandlerFunc) (*url.URL, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var ranges []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n := len(ranges)
		ranges = append(ranges, r.Header.Get("Range"))
		mu.Unlock()
		if n < len(first) {
			first[n](w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL + "/file")
	if err != nil {
		t.Fatal(err)
	}
	return u, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return ranges
	}
}

var quick = &web.Client{FirstRetry: time.Millisecond}

func cut(data []byte, at int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "99999999")
		_, _ = w.Write(data[:at])
	}
}

func TestFetch(t *testing.T) {
	data := bytes.Repeat([]byte("content "), 40000)
	for _, tc := range []struct {
		name   string
		part   []byte // what an earlier run left
		first  []http.HandlerFunc
		ranges string
	}{
		{"at once", nil, nil, ""},
		{"goes on after a cut", nil, []http.HandlerFunc{cut(data, 1000)}, ",bytes=1000-"},
		{"goes on where an earlier run stopped", data[:5000], nil, "bytes=5000-"},
		{"an earlier run has left it whole", data, nil, "none"},
		{"what an earlier run left is another file's", []byte("nothing of it"), nil, "bytes=13-,"},
		{"what an earlier run left is longer", append(bytes.Clone(data), 1), nil, ""},
		{"a server that knows no ranges", data[:5000], []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }}, "bytes=5000-"},
		{"a server that gives another range", data[:5000], []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-9/10")
			w.WriteHeader(http.StatusPartialContent)
		}}, "bytes=5000-,"},
		{"an error that passes", nil, []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }}, ","},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Store{Dir: t.TempDir()}
			want := ref(data)
			if tc.part != nil {
				if err := os.WriteFile(s.Path(want)+".part", tc.part, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			u, ranges := serve(t, data, tc.first...)
			path, err := s.Fetch(t.Context(), quick, u, want, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, want %d (%v)", len(got), len(data), err)
			}
			got := strings.Join(ranges(), ",")
			if len(ranges()) == 0 {
				got = "none"
			}
			if got != tc.ranges {
				t.Errorf("asked for ranges %q, want %q", got, tc.ranges)
			}
			entries, err := os.ReadDir(s.Dir)
			if err != nil || len(entries) != 1 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

func TestFetch_keepsNothingWrong(t *testing.T) {
	data := []byte("what is wanted")
	for name, sent := range map[string]string{"other bytes": "what is not her", "more": "what is wanted and more"} {
		t.Run(name, func(t *testing.T) {
			s := Store{Dir: t.TempDir()}
			want := ref(data)
			u, _ := serve(t, []byte(sent)[:max(len(data), len(sent))])
			if name == "other bytes" {
				u, _ = serve(t, []byte(sent)[:len(data)])
			}
			var damaged *DigestError
			if _, err := s.Fetch(t.Context(), quick, u, want, nil); !errors.As(err, &damaged) {
				t.Errorf("got %v, want a DigestError", err)
			}
			if _, err := s.Find(want); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is there: %v", err)
			}
		})
	}
}

// TestFetch_ofTwoAtOnce downloads once: the second waits and finds it.
func TestFetch_ofTwoAtOnce(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 1<<20)
	s := Store{Dir: t.TempDir()}
	u, ranges := serve(t, data)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if _, err := s.Fetch(context.Background(), quick, u, ref(data), nil); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if n := len(ranges()); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestPut_refusesWhatIsCutOff(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	data := []byte("what is wanted")
	if _, err := s.Put(t.Context(), ref(data), "x", bytes.NewReader(data[:5]), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Put(t.Context(), ref(data), "x", bytes.NewReader(data), nil); err != nil {
		t.Error(err)
	}
}
