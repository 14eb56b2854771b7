// Package baseimage obtains the image that cards start from: it finds, downloads,
// checks and decompresses a stock Raspberry Pi OS image, and keeps the result in
// a cache that several processes may share.
//
// A source is a known name (Raspberry Pi's own list of images says where that is),
// an address or a file; a raw image, or one in xz, gzip, Zstandard or zip form. The
// image's identity is the digest of its decompressed bytes.
//
// What is in an image (partitions, release, architecture) is for package image to
// find out; nothing here changes an image. Which exit code an error deserves is
// for the program to choose: see DigestError, CorruptError, FormatError, SizeError,
// DownloadError, SpaceError and UnknownNameError.
package baseimage

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"time"

	"picluster/internal/web"
)

// Source says which image is wanted.
type Source struct {
	// Location is a known name (see Names), an http or https address, or a path.
	// A word without slash and ending that is a known name is never a path.
	Location string

	// SHA256 is the digest, in hexadecimal, of the file at Location as it is,
	// usually compressed. Empty: a digest published beside it counts, at
	// Location.sha256 or in the list of images; without one the image is taken
	// unverified. For a known name the digest of the decompressed image does too.
	SHA256 string
}

// Options are what Get works with. The zero value is useful.
type Options struct {
	Cache    *Cache         // nil: the user's, see OpenCache
	Client   *http.Client   // nil: http.DefaultClient
	ListURL  string         // where known names are looked up; empty: DefaultListURL
	Progress func(Progress) // may be nil; called often, never by two goroutines at once
	Log      *slog.Logger   // nil: silent

	// Recheck hashes an image that is in the cache once more before it is used;
	// a damaged one is obtained anew. Without it only its size is compared.
	Recheck bool

	firstRetry time.Duration // wait before the first retry; zero: a second
	idle       time.Duration // longest silence of a server; zero: a minute
}

// Progress is how far a stage is. Total is 0 when it is not known.
type Progress struct {
	Stage       string // StageDownload, StageHash or StageDecompress
	Done, Total int64  // bytes; when decompressing, of the compressed file
}

// The stages of Get, in the order in which they can come. StageHash is of the file
// that was downloaded or given; the image is hashed while it is decompressed.
const (
	StageDownload   = "download"
	StageHash       = "hash"
	StageDecompress = "decompress"
)

// Image is a decompressed image on this machine. The file belongs to the cache or,
// if InPlace, to the user: open it for reading only. The cache keeps it at least
// as long as the Image is reachable; an open file stays readable after that.
type Image struct {
	Path         string
	Name         string    // file name of the image, without the ending of a compressed form
	Size         int64     // bytes
	SHA256       string    // of the image: its identity
	SourceSHA256 string    // of the file that the image came in
	Verified     bool      // a digest was given or published, and it is right
	InPlace      bool      // Path is the user's own file, not a copy in the cache
	Released     time.Time // day of release, from the list of images; zero if not known

	hold *os.File // the locked file, if it is in the cache
}

// Get obtains the image, from the cache where possible.
//
// When ctx ends in the middle of a download, the next call goes on where it
// stopped. Whatever fails, the cache never holds an image that is not whole and right.
func Get(ctx context.Context, src Source, o Options) (*Image, error) {
	return obtain(ctx, src, o, nil)
}

func obtain(ctx context.Context, src Source, o Options, watch *watcher) (*Image, error) {
	if src.SHA256 != "" {
		digest, ok := parseDigest(src.SHA256)
		if !ok {
			return nil, fmt.Errorf("read sha256 %q: want 64 hexadecimal digits", src.SHA256)
		}
		src.SHA256 = digest
	}
	if o.Cache == nil {
		cache, err := OpenCache("")
		if err != nil {
			return nil, err
		}
		o.Cache = cache
	}
	if o.ListURL == "" {
		o.ListURL = DefaultListURL
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &getter{Options: o, web: &web.Client{HTTP: o.Client, Agent: "picluster-imagebuilder", FirstRetry: o.firstRetry, Idle: o.idle, Log: o.Log}, watch: watch}
	switch {
	case strings.Contains(src.Location, "://"):
		return g.remote(ctx, src)
	case variants[src.Location] != nil:
		return g.remote(ctx, src)
	case strings.ContainsAny(src.Location, `/\`) || path.Ext(src.Location) != "":
		return g.local(ctx, src)
	}
	if _, err := os.Stat(src.Location); err == nil {
		return g.local(ctx, src)
	}
	return nil, newUnknownName(src.Location)
}

// getter is one call of Get.
type getter struct {
	Options
	web *web.Client

	watch     *watcher // may be nil
	announced bool     // somebody reads from the image that is being made
}

// origin is what is known about an image before its file is at hand.
type origin struct {
	shown       string // for people: the path, or the address without credentials
	requested   string // digest of Source.Location, "" for a file
	url         string // "" for a file
	name        string // see Image.Name
	sha256      string // published digest of the file, or ""
	imageSHA256 string // published digest of the image in it, or ""
	imageSize   int64  // published size of the image, or 0
	released    time.Time
}

var compressedEnding = regexp.MustCompile(`(?i)\.(xz|gz|zst|zstd|zip)$`)

// imageName is the name of the image in a file of that name.
func imageName(file string) string {
	name := compressedEnding.ReplaceAllString(file, "")
	if path.Ext(name) == "" {
		name += ".img"
	}
	return name
}

// meter counts the bytes of a stage and tells Options.Progress.
type meter struct {
	mu   sync.Mutex
	tell func(Progress)
	now  Progress
}

func (g *getter) meter(stage string, done, total int64) *meter {
	m := &meter{tell: g.Progress, now: Progress{stage, done, total}}
	m.add(0)
	return m
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Done += n
	if m.tell != nil {
		m.tell(m.now)
	}
}
