package baseimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// newImage makes a disk image: a boot signature, noise, text, and zeros in runs
// that do and do not fit the grain of a file system.
func newImage(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	img := make([]byte, size)
	for off := 0; off < size; {
		n := min(1+r.IntN(300_000), size-off)
		switch r.IntN(3) {
		case 0:
			for i := range n {
				img[off+i] = byte(r.Uint32())
			}
		case 1:
			for i := range n {
				img[off+i] = "a line of text, and another one\n"[(i*7+i/900)%32]
			}
		}
		off += n
	}
	copy(img[510:], "\x55\xaa")
	return img
}

// noise is an image without zeros in runs: it takes its size on a disk.
func noise(seed uint64, size int) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	img := make([]byte, 0, size)
	for len(img) < size {
		img = binary.LittleEndian.AppendUint64(img, r.Uint64())
	}
	copy(img[510:], "\x55\xaa")
	return img
}

func digestOf(p []byte) string {
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:])
}

// run runs a command with the data on its standard input, and returns what it
// writes. A missing program fails the test.
func run(t testing.TB, dir string, stdin []byte, argv ...string) []byte {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is not installed: run make setup (packages gzip, xz-utils, zip, zstd, util-linux)", argv[0])
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, stderr.Bytes())
	}
	return out
}

// packings are the ways in which the usual tools pack an image.
var packings = []struct {
	name, ending string
	pack         func(t testing.TB, img []byte) []byte
}{
	{"raw", ".img", func(_ testing.TB, img []byte) []byte { return img }},
	{"xz", ".img.xz", filter("xz", "-T2", "-1", "--block-size=1MiB", "-c")},
	{"xz of one block", ".img.xz", filter("xz", "-T1", "-1", "-c")},
	{"xz without sizes in the block header", ".img.xz", filter("xz", "-T1", "-1", "--flush-timeout=0", "-c")},
	{"xz with CRC32", ".img.xz", filter("xz", "-1", "--check=crc32", "--block-size=2MiB", "-c")},
	{"xz with SHA-256", ".img.xz", filter("xz", "-1", "--check=sha256", "--block-size=2MiB", "-c")},
	{"xz without check", ".img.xz", filter("xz", "-1", "--check=none", "--block-size=2MiB", "-c")},
	{"xz of two streams with padding", ".img.xz", func(t testing.TB, img []byte) []byte {
		half := len(img)/2 + 77
		one := filter("xz", "-1", "--block-size=1MiB", "-c")(t, img[:half])
		two := filter("xz", "-1", "--check=crc32", "-c")(t, img[half:])
		return bytes.Join([][]byte{one, make([]byte, 8), two, make([]byte, 4)}, nil)
	}},
	{"gzip", ".img.gz", filter("gzip", "-1", "-c")},
	{"gzip of two members", ".img.gz", func(t testing.TB, img []byte) []byte {
		pack := filter("gzip", "-1", "-c")
		half := len(img)/2 + 1
		return append(pack(t, img[:half]), pack(t, img[half:])...)
	}},
	{"zstd", ".img.zst", filter("zstd", "-q", "-1", "-c")},
	{"zstd of three frames", ".img.zst", func(t testing.TB, img []byte) []byte {
		pack := filter("zstd", "-q", "-1", "-c")
		skip := []byte("\x53\x2a\x4d\x18\x05\x00\x00\x00notes")
		a, b := len(img)/5, len(img)/2+1
		return bytes.Join([][]byte{skip, pack(t, img[:a]), pack(t, img[a:b]), pack(t, img[b:])}, nil)
	}},
	{"zip", ".zip", func(t testing.TB, img []byte) []byte {
		return zipped(t, map[string][]byte{"2020-02-13-raspbian.img": img})
	}},
	{"zip with other files", ".zip", func(t testing.TB, img []byte) []byte {
		return zipped(t, map[string][]byte{"a/os.img": img, "README.txt": []byte("hello"), "__MACOSX/a/._os.img": []byte("attributes")})
	}},
	{"zip from a pipe", ".zip", zipStream},
	{"zip without compression", ".zip", func(t testing.TB, img []byte) []byte {
		return zipped(t, map[string][]byte{"os.IMG": img}, "-0")
	}},
}

// filter packs by a command from standard input to standard output.
func filter(argv ...string) func(testing.TB, []byte) []byte {
	return func(t testing.TB, img []byte) []byte {
		t.Helper()
		return run(t, "", img, argv...)
	}
}

func zipped(t testing.TB, files map[string][]byte, flags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		write(t, filepath.Join(dir, name), data)
	}
	if len(flags) == 0 {
		flags = []string{"-1"}
	}
	run(t, dir, nil, append(append([]string{"zip", "-q", "-r"}, flags...), "../out.zip", ".")...)
	data, err := os.ReadFile(filepath.Join(dir, "../out.zip"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "../out.zip")); err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t testing.TB, path string, data []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// options are those of a test: a cache of its own, and no patience.
func options(t testing.TB) Options {
	t.Helper()
	return Options{Cache: openCache(t, t.TempDir()), firstRetry: time.Millisecond, idle: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

func openCache(t testing.TB, dir string) *Cache {
	t.Helper()
	c, err := OpenCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// get calls Get and compares the image with the wanted bytes.
func get(t testing.TB, src Source, o Options, want []byte) *Image {
	t.Helper()
	img, err := Get(context.Background(), src, o)
	if err != nil {
		t.Fatal(err)
	}
	same(t, img, want)
	return img
}

func same(t testing.TB, img *Image, want []byte) {
	t.Helper()
	got, err := os.ReadFile(img.Path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("image of %d bytes is not the wanted one of %d", len(got), len(want))
	}
	if img.Size != int64(len(want)) || img.SHA256 != digestOf(want) {
		t.Fatalf("image is described as %d bytes with %s, want %d and %s", img.Size, img.SHA256, len(want), digestOf(want))
	}
}

// wantEmpty fails the test unless nothing is in the cache but what is allowed.
func wantEmpty(t testing.TB, c *Cache, allowed ...string) {
	t.Helper()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		ok := e.Name() == "lock" || e.Name() == "index.json"
		for _, kind := range allowed {
			ok = ok || filepath.Ext(e.Name()) == kind
		}
		if !ok {
			t.Errorf("%s is left in the cache", e.Name())
		}
	}
}

// site is a server whose files can change, and which can misbehave.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	tag   string // ETag of all files
	log   []string

	// fault, where set, answers a request instead of the file; false lets it pass.
	fault func(w http.ResponseWriter, r *http.Request) bool
}

func newSite(t testing.TB, files map[string][]byte) *site {
	s := &site{files: files, tag: `"one"`}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.log = append(s.log, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Range")))
	data, ok := s.files[r.URL.Path]
	tag, fault := s.tag, s.fault
	s.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	if tag != "" {
		w.Header().Set("ETag", tag)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (s *site) set(path string, data []byte, tag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path], s.tag = data, tag
}

// misbehave sets the fault.
func (s *site) misbehave(fault func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// requests returns what was asked for since the last call.
func (s *site) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// cutAfter answers requests for that path with n bytes less than promised each
// time, as many times as said.
func cutAfter(path string, data []byte, n, times int) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != path || times == 0 {
			return false
		}
		times--
		var from int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
		}
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(data)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = io.Copy(w, bytes.NewReader(data[from:min(len(data), from+n)]))
		panic(http.ErrAbortHandler)
	}
}

// zipStream packs from a pipe: the sizes come after the data, and the entry is of
// the 64-bit kind.
func zipStream(t testing.TB, img []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	run(t, dir, img, "sh", "-c", "mkfifo os.img && { cat >os.img <&3 & } 3<&0 && zip -q -1 --fifo -fz out.zip os.img && wait")
	data, err := os.ReadFile(filepath.Join(dir, "out.zip"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
