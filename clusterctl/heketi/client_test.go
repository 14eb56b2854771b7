package heketi_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"picluster/clusterctl/gluster/allocator"
	"picluster/clusterctl/gluster/engine"
	. "picluster/clusterctl/heketi"
	"picluster/internal/host"
	"picluster/internal/secret"
)

// Our client to our server: both have been held against the original's other side.
func TestClient_knowsWhatHeketiMeans(t *testing.T) {
	keys := Keys{Admin: secret.New("the admin's key"), User: secret.New("the user's key")}
	api, err := New(t.Context(), &engine.Engine{Store: engine.File{Host: host.Local{Root: t.TempDir()}, Path: "/state.json"}}, keys)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api)
	t.Cleanup(func() { server.Close(); api.Close() })
	ctx := t.Context()
	admin := Client{URL: server.URL + "/", User: "admin", Key: keys.Admin}
	b := Backend{&admin}
	if volumes, err := b.Volumes(ctx); err != nil || len(volumes) != 0 {
		t.Errorf("there are volumes %v: %v", volumes, err)
	}
	if _, err := b.Volume(ctx, "data"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("a volume that is not there: %v", err)
	}
	if err := b.DeleteVolume(ctx, "data"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("to delete one that is not there: %v", err)
	}
	if err := admin.Do(ctx, http.MethodGet, "/nodes/"+strings.Repeat("0", 32), nil, nil); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("a node that is not there: %v", err)
	}
	if _, err := b.CreateVolume(ctx, engine.Request{Name: "data", Bytes: 1, Replicas: 3}); err == nil || !strings.HasSuffix(err.Error(), "Heketi says: No clusters configured (400)") {
		t.Errorf("without a cluster: %v", err)
	}
	if room, err := b.Room(ctx, engine.Request{Replicas: 3}); err != nil || room != 0 {
		t.Errorf("there is room for %d: %v", room, err)
	}
	for _, c := range []Client{
		{URL: server.URL, User: "admin", Key: secret.New("another key")},
		{URL: server.URL, User: "user", Key: keys.Admin},
		{URL: server.URL, User: "nobody", Key: keys.Admin},
	} {
		err := c.Do(ctx, http.MethodGet, "/volumes", nil, nil)
		if err == nil || !strings.Contains(err.Error(), "Invalid JWT token") || strings.Contains(err.Error(), "key") && strings.Contains(err.Error(), c.Key.Reveal()) {
			t.Errorf("%s with a wrong key: %v", c.User, err)
		}
	}
}

// What takes long answers at once and is asked for; in the end it leads somewhere, or
// says why not, and both with a signature of their own.
func TestClient_waitsForWhatTakesLong(t *testing.T) {
	asked := 0
	mux := http.NewServeMux()
	mux.HandleFunc("POST /volumes", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/queue/1")
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("POST /devices", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/queue/2")
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("GET /queue/1", func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked == 1 {
			w.Header().Set("X-Pending", "true")
			return
		}
		w.Header().Set("Location", "/volumes/7")
		w.WriteHeader(http.StatusSeeOther)
	})
	mux.HandleFunc("GET /queue/2", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "No space", http.StatusInternalServerError)
	})
	mux.HandleFunc("GET /volumes/7", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"id": "7", "size": 2}`) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			t.Errorf("%s %s is not signed", r.Method, r.URL)
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c := Client{URL: server.URL, User: "admin", Key: secret.New("key")}
	var made struct {
		ID   string `json:"id"`
		Size int    `json:"size"`
	}
	if err := c.Do(t.Context(), http.MethodPost, "/volumes", struct{}{}, &made); err != nil || made.ID != "7" || made.Size != 2 || asked != 2 {
		t.Errorf("it makes %+v after %d questions: %v", made, asked, err)
	}
	if err := c.Do(t.Context(), http.MethodPost, "/devices", struct{}{}, nil); !errors.Is(err, allocator.ErrNoSpace) {
		t.Errorf("without space: %v", err)
	}
}
