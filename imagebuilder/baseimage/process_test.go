package baseimage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// These tests start this test program again as another process.
const childEnv = "BASEIMAGE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// child calls Get for each location in its environment, writes each stage and how
// far it is, and at the end the digest.
func child() int {
	cache, err := OpenCache(os.Getenv("CACHE"))
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	if n, err := strconv.ParseInt(os.Getenv("KEEP_FREE"), 10, 64); err == nil {
		cache.keepFree = n
	}
	o := Options{Cache: cache, firstRetry: time.Millisecond, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Progress: func(p Progress) { fmt.Println(p.Stage, p.Done) }}
	for _, location := range strings.Fields(os.Getenv("LOCATION")) {
		img, err := Get(context.Background(), Source{Location: location}, o)
		if err != nil {
			fmt.Println("error", err)
			return 1
		}
		fmt.Println("image", img.SHA256)
		img.hold.Close()
	}
	return 0
}

type process struct {
	*exec.Cmd
	out *bufio.Scanner
}

func start(t *testing.T, c *Cache, location string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self)}
	p.Env = append(os.Environ(), childEnv+"=1", "CACHE="+c.dir, "LOCATION="+location)
	p.Stderr = t.Output()
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

// until reads lines until one begins like that, and returns all of them.
func (p *process) until(t *testing.T, begin string) []string {
	t.Helper()
	var lines []string
	for p.out.Scan() {
		lines = append(lines, p.out.Text())
		if strings.HasPrefix(p.out.Text(), begin) {
			return lines
		}
	}
	t.Fatalf("process ends before %q: %q", begin, lines)
	return nil
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
}

// TestGet_killedProcessLeavesNothingWrong kills at many points of the way, from
// the first byte to the end, and goes on each time in the same cache.
func TestGet_killedProcessLeavesNothingWrong(t *testing.T) {
	t.Parallel()
	want := newImage(70, 24<<20)
	packed := packingOf(t, "xz", want)
	s := newSite(t, map[string][]byte{"/os.img.xz": packed})
	local := write(t, filepath.Join(t.TempDir(), "os.img.xz"), packed)
	for _, location := range []string{local, s.URL + "/os.img.xz"} {
		o := options(t)
		kills := 0
		for n := 1; ; n += 1 + n/3 {
			p := start(t, o.Cache, location)
			done := false
			for lines := 0; lines < n && p.out.Scan(); lines++ {
				done = strings.HasPrefix(p.out.Text(), "image")
			}
			p.kill(t)
			if done {
				break
			}
			kills++
			// Whatever is there now, it is not taken for an image.
			for _, digest := range digests(t, o.Cache) {
				if digest != digestOf(want) {
					t.Fatalf("killed after %d lines: image %s", n, digest)
				}
				img, err := o.Cache.use(digest)
				if err != nil {
					t.Fatal(err)
				}
				same(t, img, want)
			}
		}
		if kills < 8 {
			t.Errorf("%s: only %d processes were killed before the end", location, kills)
		}
		if got := get(t, Source{Location: location}, o, want); got == nil {
			t.Error("no image")
		}
		// What the killed ones left goes with the next write to the cache.
		if err := o.Cache.reserve("", 0); err != nil {
			t.Fatal(err)
		}
		wantEmpty(t, o.Cache, imageFile)
	}
}

// TestGet_twoProcessesDoTheWorkOnce stops the first in the middle of its work.
func TestGet_twoProcessesDoTheWorkOnce(t *testing.T) {
	t.Parallel()
	want := newImage(71, 16<<20)
	packed := packingOf(t, "xz", want)
	s := newSite(t, map[string][]byte{"/os.img.xz": packed})
	local := write(t, filepath.Join(t.TempDir(), "os.img.xz"), packed)
	for _, location := range []string{local, s.URL + "/os.img.xz"} {
		o := options(t)
		first := start(t, o.Cache, location)
		first.until(t, StageDecompress)
		// Its output is not read: it goes on until the pipe is full, or to the end.
		var others []*process
		for range 3 {
			others = append(others, start(t, o.Cache, location))
		}
		first.until(t, "image "+digestOf(want))
		for _, p := range others {
			for _, line := range p.until(t, "image "+digestOf(want)) {
				if strings.HasPrefix(line, StageDecompress) || strings.HasPrefix(line, StageDownload) {
					t.Errorf("%s: another process did %q", location, line)
					break
				}
			}
		}
		for _, p := range append(others, first) {
			if err := p.Wait(); err != nil {
				t.Error(err)
			}
		}
		wantEmpty(t, o.Cache, imageFile)
	}
}

// Whoever waits for another can be interrupted, and goes on if the other dies.
func TestGet_waitingEndsWithTheContextOrTheOther(t *testing.T) {
	t.Parallel()
	want := newImage(72, 4<<20)
	packed := packingOf(t, "xz", want)
	s, o := newSite(t, map[string][]byte{"/os.img.xz": packed}), options(t)
	src := Source{Location: s.URL + "/os.img.xz"}
	other, err := o.Cache.claim(t.Context(), keyOf(src.Location)+partFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*claimPause)
	defer cancel()
	if _, err := Get(ctx, src, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another holds it: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	get(t, src, o, want)
}

// onSmallDisk runs a child whose cache is on a disk of so many megabytes: one in
// memory, in a mount namespace that ends with the child. It returns what the child
// wrote, and the names of the files on the disk after it.
func onSmallDisk(t *testing.T, megabytes int, keepFree int64, locations ...string) (out string, files []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	flags := "-m"
	if os.Geteuid() != 0 {
		flags = "-rm"
	}
	script := fmt.Sprintf("mount -t tmpfs -o size=%dm none %s && %s; echo; echo FILES; ls %s", megabytes, dir, self, dir)
	cmd := exec.Command("unshare", flags, "sh", "-c", script)
	cmd.Env = append(os.Environ(), childEnv+"=1", "CACHE="+dir, "LOCATION="+strings.Join(locations, " "), fmt.Sprintf("KEEP_FREE=%d", keepFree))
	cmd.Stderr = t.Output()
	data, err := cmd.Output()
	if err != nil {
		t.Fatalf("unshare: %v\n%s", err, data)
	}
	out, list, _ := strings.Cut(string(data), "\nFILES\n")
	return out, strings.Fields(list)
}

// The disk fills up although there seemed to be room: another process was faster.
func TestGet_fullDiskIsSaid(t *testing.T) {
	t.Parallel()
	img := noise(73, 12<<20)
	s := newSite(t, map[string][]byte{"/os.img": img, "/os.img.gz": packingOf(t, "gzip", img)})
	local := write(t, filepath.Join(t.TempDir(), "os.img.gz"), packingOf(t, "gzip", img))
	for location, left := range map[string]string{s.URL + "/os.img": partFile, s.URL + "/os.img.gz": partFile, local: ""} {
		out, files := onSmallDisk(t, 10, -1<<30, location)
		if !strings.Contains(out, "error make room in ") || strings.Contains(out, "image ") {
			t.Errorf("%s: %s", location, out)
		}
		for _, name := range files {
			if name != "lock" && name != "index.json" && name != "index.json.new" && (left == "" || filepath.Ext(name) != left) {
				t.Errorf("%s: %s is left", location, name)
			}
		}
	}
}

func TestGet_removesTheOldestUntilTheNewFits(t *testing.T) {
	t.Parallel()
	var locations, want []string
	for i := range 5 {
		img := noise(uint64(80+i), 4<<20)
		locations = append(locations, write(t, filepath.Join(t.TempDir(), "os.img.xz"), packingOf(t, "xz", img)))
		want = append(want, digestOf(img)+imageFile)
	}
	out, files := onSmallDisk(t, 14, 0, locations...)
	if n := strings.Count(out, "image "); n != len(locations) {
		t.Errorf("%d images, want %d:\n%s", n, len(locations), out)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return filepath.Ext(name) != imageFile })
	want = slices.Sorted(slices.Values(want[2:]))
	if !slices.Equal(files, want) {
		t.Errorf("%q are left, want %q", files, want)
	}
}
