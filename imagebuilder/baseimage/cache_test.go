package baseimage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// put brings an image of that many bytes of noise into the cache, last used so
// many hours ago, and lets go of it.
func put(t *testing.T, o Options, seed uint64, size int, hours int) (digest string) {
	t.Helper()
	img := noise(seed, size)
	path := write(t, filepath.Join(t.TempDir(), fmt.Sprintf("os%d.img.gz", seed)), packingOf(t, "gzip", img))
	got := get(t, Source{Location: path}, o, img)
	release(t, got)
	age(t, got.Path, hours)
	return got.SHA256
}

// release is what happens when an Image becomes unreachable, at a known time.
func release(t *testing.T, img *Image) {
	t.Helper()
	if err := img.hold.Close(); err != nil {
		t.Fatal(err)
	}
}

func age(t *testing.T, path string, hours int) {
	t.Helper()
	when := time.Now().Add(-time.Duration(hours) * time.Hour)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

func digests(t *testing.T, c *Cache) []string {
	t.Helper()
	entries, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.SHA256)
	}
	return all
}

func TestCache_listsLastUsedFirst(t *testing.T) {
	t.Parallel()
	o := options(t)
	a, b, c := put(t, o, 50, 1<<20, 3), put(t, o, 51, 1<<20, 1), put(t, o, 52, 1<<20, 2)
	if got := digests(t, o.Cache); !slices.Equal(got, []string{b, c, a}) {
		t.Errorf("%v, want %v", got, []string{b, c, a})
	}
	// Using one makes it the first.
	img, err := o.Cache.use(a)
	if err != nil || img == nil {
		t.Fatalf("%v, %v", img, err)
	}
	if got := digests(t, o.Cache); got[0] != a {
		t.Errorf("%v, want %s first", got, a)
	}
	for path, want := range map[string]os.FileMode{"": 0o700 | os.ModeDir, "index.json": 0o600, a + ".img": 0o600} {
		info, err := os.Stat(o.Cache.path(path))
		if err != nil || path != "" && info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

func TestOpenCache_isForTheUserAlone(t *testing.T) {
	base := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", base)
	t.Setenv("HOME", base)
	c, err := OpenCache("")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(c.dir)
	if err != nil || info.Mode().Perm() != 0o700 || !strings.HasSuffix(c.dir, "/picluster/images") {
		t.Errorf("%s: %v, %v", c.dir, info.Mode(), err)
	}
	file := write(t, filepath.Join(base, "file"), nil)
	if _, err := OpenCache(file); err == nil || !strings.HasPrefix(err.Error(), "make image cache: ") {
		t.Errorf("a file as cache: %v", err)
	}
}

func TestCache_dropsWhatWasNotUsedLongest(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Cache.limit = 5 << 20
	a, b := put(t, o, 53, 2<<20, 9), put(t, o, 54, 2<<20, 8)
	if got := digests(t, o.Cache); len(got) != 2 {
		t.Fatalf("%d images, want 2", len(got))
	}
	// a is the oldest, but in use.
	held, err := o.Cache.use(a)
	if err != nil {
		t.Fatal(err)
	}
	age(t, held.Path, 9)
	c := put(t, o, 55, 2<<20, 0)
	if got := digests(t, o.Cache); !slices.Equal(got, []string{c, a}) {
		t.Errorf("%v, want %s to be gone", got, b)
	}
	runtime.KeepAlive(held)
	release(t, held)
	d := put(t, o, 56, 2<<20, 0)
	if got := digests(t, o.Cache); !slices.Contains(got, d) || !slices.Contains(got, c) || len(got) != 2 {
		t.Errorf("%v, want %s and %s", got, d, c)
	}
	// An image that is larger than the limit is still of use.
	o.Cache.limit = 1
	e := put(t, o, 57, 2<<20, 0)
	if got := digests(t, o.Cache); !slices.Equal(got, []string{e}) {
		t.Errorf("%v, want %s only", got, e)
	}
}

// The lock goes with the Image, not with the process.
func TestImage_isHeldAsLongAsItIsReachable(t *testing.T) {
	t.Parallel()
	o := options(t)
	want := newImage(58, 1<<20)
	path := write(t, filepath.Join(t.TempDir(), "os.img.xz"), packingOf(t, "xz", want))
	img := get(t, Source{Location: path}, o, want)
	if freed, err := o.Cache.Clear(); err != nil || freed != 0 {
		t.Errorf("%d bytes freed of an image in use, %v", freed, err)
	}
	file := img.Path
	runtime.KeepAlive(img)
	img = nil
	for range 100 {
		runtime.GC()
		if !inUse(file) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	freed, err := o.Cache.Clear()
	if err != nil || freed < 1<<18 {
		t.Errorf("%d bytes freed, %v", freed, err)
	}
	wantEmpty(t, o.Cache)
	if got := digests(t, o.Cache); got != nil {
		t.Errorf("%v is listed after Clear", got)
	}
}

func TestCache_makesRoomOrSaysThatThereIsNone(t *testing.T) {
	t.Parallel()
	o := options(t)
	a := put(t, o, 59, 2<<20, 5)
	free, err := freeSpace(o.Cache.dir)
	if err != nil {
		t.Fatal(err)
	}
	// A gigabyte more than there is, to others: nothing helps, nothing goes.
	o.Cache.keepFree = free + 1<<30
	img := newImage(60, 3<<20)
	for _, name := range []string{"xz", "zip", "zstd", "gzip"} {
		path := write(t, filepath.Join(t.TempDir(), "new"), packingOf(t, name, img))
		_, err := Get(t.Context(), Source{Location: path}, o)
		var space *SpaceError
		if !errors.As(err, &space) || space.Free != 0 || space.Dir != o.Cache.dir || space.For != "new.img" {
			t.Errorf("%s: %v", name, err)
		}
		if name == "xz" && space.Need != int64(len(img)) {
			t.Errorf("%s: needs %d, want %d", name, space.Need, len(img))
		}
		wantEmpty(t, o.Cache, imageFile)
	}
	s := newSite(t, map[string][]byte{"/os.img": img})
	var space *SpaceError
	if _, err := Get(t.Context(), Source{Location: s.URL + "/os.img"}, o); !errors.As(err, &space) {
		t.Errorf("download: %v", err)
	}
	if got := digests(t, o.Cache); !slices.Equal(got, []string{a}) {
		t.Errorf("%v is left, want %s", got, a)
	}
}

func TestCache_damagedImageIsObtainedAnew(t *testing.T) {
	t.Parallel()
	want := newImage(63, 2<<20)
	path := write(t, filepath.Join(t.TempDir(), "os.img.xz"), packingOf(t, "xz", want))
	for name, damage := range map[string]func(t *testing.T, img *Image){
		"shorter": func(t *testing.T, img *Image) {
			if err := os.Truncate(img.Path, 512); err != nil {
				t.Fatal(err)
			}
		},
		"gone": func(t *testing.T, img *Image) {
			if err := os.Remove(img.Path); err != nil {
				t.Fatal(err)
			}
		},
		"other bytes": func(t *testing.T, img *Image) {
			write(t, img.Path, newImage(64, 2<<20))
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Recheck = name == "other bytes"
			damage(t, get(t, Source{Location: path}, o, want))
			get(t, Source{Location: path}, o, want)
		})
	}
}

func TestCache_indexThatIsTornCostsOnlyTime(t *testing.T) {
	t.Parallel()
	o := options(t)
	put(t, o, 65, 1<<20, 1)
	index, err := os.ReadFile(o.Cache.path("index.json"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, o.Cache.path("index.json"), index[:len(index)/2])
	if got := digests(t, o.Cache); got != nil {
		t.Errorf("%v is listed", got)
	}
	b := put(t, o, 66, 1<<20, 1)
	if got := digests(t, o.Cache); !slices.Equal(got, []string{b}) {
		t.Errorf("%v, want %s", got, b)
	}
	files, err := o.Cache.files()
	if err != nil || len(files) != 1 {
		t.Errorf("%d files, %v: the image that nobody knows is still there", len(files), err)
	}
}

// A raw image is hashed once, and again when anything about the file changes.
func TestGet_remembersTheDigestOfAFileThatRests(t *testing.T) {
	t.Parallel()
	o := options(t)
	hashedBytes := int64(0)
	o.Progress = func(p Progress) {
		if p.Stage == StageHash {
			hashedBytes = p.Done
		}
	}
	one, two := newImage(67, 1<<20), newImage(68, 1<<20)
	path := write(t, filepath.Join(t.TempDir(), "os.img"), one)
	check := func(what string, want []byte, hashed bool) {
		t.Helper()
		hashedBytes = 0
		img := get(t, Source{Location: path, SHA256: digestOf(want)}, o, want)
		if !img.InPlace || img.Path != path || !img.Verified || (hashedBytes > 0) != hashed {
			t.Errorf("%s: %d bytes hashed, %+v", what, hashedBytes, img)
		}
	}
	check("new", one, true)
	check("just written: may change unseen", one, true)
	age(t, path, 1)
	check("rests", one, true)
	check("known", one, false)
	o.Recheck = true
	check("rechecked", one, true)
	o.Recheck = false
	write(t, path, two)
	age(t, path, 2)
	check("written anew, same size", two, true)
	check("known again", two, false)
	// Replaced by a rename, with size and time the same: the inode tells.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	other := write(t, path+".new", one)
	if err := errors.Join(os.Chtimes(other, info.ModTime(), info.ModTime()), os.Rename(other, path)); err != nil {
		t.Fatal(err)
	}
	check("replaced", one, true)
	wantEmpty(t, o.Cache)
}
