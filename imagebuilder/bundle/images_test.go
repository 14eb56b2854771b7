package bundle

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Each layer breaks off in the middle once. What came of it before counts once, or
// more than all would be done.
func TestMake_aLayerThatBreaksOffIsCountedOnce(t *testing.T) {
	w := newWorld(t)
	q := w.request(t.TempDir())
	var mu sync.Mutex
	broken := map[string]bool{}
	w.spoil = func(out http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		seen := broken[r.URL.Path]
		mu.Unlock()
		if seen || r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") || r.Header.Get("Whole") != "" {
			return false
		}
		mu.Lock()
		broken[r.URL.Path] = true
		mu.Unlock()
		sendHalf(t, out, r)
		return true
	}
	q.Progress = func(stage string, done, total int64) {
		if total > 0 && done > total {
			t.Errorf("%s: %d of %d bytes are done", stage, done, total)
		}
	}
	if _, err := Make(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if len(broken) < len(images) {
		t.Errorf("%d blobs broke off, want one of each image at least", len(broken))
	}
}

// sendHalf answers with half of what is asked for, and breaks the connection. What is
// small is sent whole: the configurations, which are not kept by pieces.
func sendHalf(t *testing.T, out http.ResponseWriter, r *http.Request) {
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+r.Host+r.URL.Path, nil)
	if err != nil {
		t.Error(err)
		return
	}
	q.Header.Set("Whole", "yes")
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Error(err)
		return
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Error(err)
		return
	}
	out.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if len(data) < 2000 {
		_, _ = out.Write(data)
		return
	}
	_, _ = out.Write(data[:len(data)/2])
	_ = http.NewResponseController(out).Flush()
	panic(http.ErrAbortHandler)
}
