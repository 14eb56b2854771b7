package baseimage

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path"
	"time"

	"picluster/internal/web"
)

// remote obtains an image from the network, or from the cache if the network
// would give the same.
func (g *getter) remote(ctx context.Context, src Source) (*Image, error) {
	key := keyOf(src.Location)
	if variants[src.Location] != nil {
		key = keyOf(g.ListURL + " " + src.Location)
	}
	last, known, err := g.Cache.answered(key)
	if err != nil {
		return nil, err
	}
	if src.SHA256 != "" {
		if img, err := g.pinned(ctx, src, last); img != nil || err != nil {
			return img, err
		}
	}
	img, err := g.fromServer(ctx, src, key)
	if err == nil || src.SHA256 != "" || !known || !web.Unreachable(err) {
		return img, err
	}
	// The image was right then, and may be all that is wanted now.
	old, cacheErr := g.lastTime(ctx, last)
	if old == nil || cacheErr != nil {
		return nil, err
	}
	g.Log.Warn("server is not reached: using the image it gave before", "cause", err, "name", last.Name, "obtained", last.Time.Format(time.DateOnly))
	return old, nil
}

// pinned returns the image of a digest that the user gave, if it is in the cache.
// No server could give anything else.
func (g *getter) pinned(ctx context.Context, src Source, last answer) (*Image, error) {
	img, err := g.fromSource(ctx, src.SHA256)
	if img == nil && err == nil && variants[src.Location] != nil {
		img, err = g.fromCache(ctx, src.SHA256)
	}
	if img == nil || err != nil {
		return nil, err
	}
	o := &origin{sha256: src.SHA256, name: img.Name}
	source := src.SHA256
	if image, err := g.Cache.sourceOf(last.SHA256); err == nil && image == img.SHA256 {
		o.name, o.released, source = last.Name, last.Released, last.SHA256
	}
	return o.describe(img, source), nil
}

// lastTime returns what a location gave before.
func (g *getter) lastTime(ctx context.Context, a answer) (*Image, error) {
	img, err := g.fromSource(ctx, a.SHA256)
	if img == nil || err != nil {
		return nil, err
	}
	img.Name, img.SourceSHA256, img.Verified, img.Released = a.Name, a.SHA256, a.Verified, a.Released
	return img, nil
}

// fromServer asks what there is and obtains it.
func (g *getter) fromServer(ctx context.Context, src Source, key string) (*Image, error) {
	o, u, err := g.find(ctx, src)
	if err != nil {
		return nil, err
	}
	o.requested = key
	if img, err := g.published(ctx, o, u); img != nil || err != nil {
		return img, err
	}
	part, err := g.Cache.claim(ctx, key+partFile, g.waiting)
	if err != nil {
		return nil, err
	}
	defer part.Close()
	img, err := g.throughPart(ctx, o, u, part)
	if info, statErr := part.Stat(); statErr == nil && (err == nil || info.Size() == 0) {
		err = errors.Join(err, g.Cache.removePart(part, key))
	}
	return img, err
}

// throughPart downloads to a locked file of the cache. What is wrong with bytes
// that partly came in an earlier call may be the fault of the seam: once more.
func (g *getter) throughPart(ctx context.Context, o *origin, u *url.URL, part *os.File) (*Image, error) {
	// Another process may have brought the image while this one waited.
	if img, err := g.published(ctx, o, u); img != nil || err != nil {
		return img, err
	}
	last, _, err := g.Cache.answered(o.requested)
	if err != nil {
		return nil, err
	}
	for {
		d := &download{getter: g, url: u, key: o.requested, name: o.name, file: part, checked: o.verified()}
		if !d.checked {
			d.last = last
		}
		if err := d.run(ctx); err != nil {
			return nil, err
		}
		if d.unchanged {
			if img, err := g.lastTime(ctx, last); img != nil || err != nil {
				return img, err
			}
			last = answer{}
			continue
		}
		img, err := g.finish(ctx, o, d)
		if !isWrong(err) {
			return img, err
		}
		// Who has begun to read from an image would read on in another one.
		if err := errors.Join(err, part.Truncate(0)); !d.resumed || g.announced {
			return nil, err
		}
		g.Log.Warn("resumed download is wrong: starting anew", "cause", err)
	}
}

// isWrong reports whether the bytes themselves are at fault: they are not kept.
func isWrong(err error) bool {
	var digest *DigestError
	var corrupt *CorruptError
	var format *FormatError
	var size *SizeError
	return errors.As(err, &digest) || errors.As(err, &corrupt) || errors.As(err, &format) || errors.As(err, &size)
}

// finish checks what was downloaded, takes the image out and remembers the answer.
func (g *getter) finish(ctx context.Context, o *origin, d *download) (*Image, error) {
	digest, err := g.hash(ctx, d.file, d.size)
	if err != nil {
		return nil, err
	}
	if o.sha256 != "" && digest != o.sha256 {
		return nil, &DigestError{Source: o.shown, Want: o.sha256, Got: digest}
	}
	img, err := g.fromSource(ctx, digest)
	if err != nil {
		return nil, err
	}
	if img == nil {
		s, dec, err := g.open(d.file, d.size, o)
		if err != nil {
			return nil, err
		}
		if img, err = g.unpack(ctx, s, dec, o, known(digest)); err != nil {
			return nil, err
		}
	}
	return o.describe(img, digest), g.remember(o, digest, d.state.validators)
}

func (g *getter) remember(o *origin, digest string, v validators) error {
	return g.Cache.setAnswer(o.requested, answer{validators: v, URL: o.shown, SHA256: digest, Name: o.name,
		Verified: o.verified(), Released: o.released, Time: time.Now().UTC().Truncate(time.Second)})
}

// find says where the image is, and what is published about it.
func (g *getter) find(ctx context.Context, src Source) (*origin, *url.URL, error) {
	o := &origin{}
	var u *url.URL
	var err error
	if variants[src.Location] != nil {
		var item *listItem
		if item, u, err = g.findName(ctx, src.Location); err != nil {
			return nil, nil, err
		}
		item.fill(o)
	} else if u, err = web.Parse(src.Location); err != nil {
		return nil, nil, err
	}
	o.shown, o.name = web.Shown(u), u.Hostname()
	if base := path.Base(u.Path); base != "/" && base != "." {
		o.name = base
	}
	o.name = imageName(o.name)
	return o, u, g.expect(ctx, src, o, u)
}

// expect settles which digest the file must have: the one given, the list's, or
// one beside it.
func (g *getter) expect(ctx context.Context, src Source, o *origin, u *url.URL) error {
	given := src.SHA256
	if given != "" && given == o.imageSHA256 {
		return nil
	}
	if o.sha256 == "" && given == "" {
		var err error
		if o.sha256, err = g.beside(ctx, u); err != nil {
			return err
		}
	}
	if given == "" {
		return nil
	}
	if o.sha256 != "" && given != o.sha256 {
		return &DigestError{Source: o.shown, Want: given, Got: o.sha256}
	}
	o.sha256 = given
	return nil
}

// maxDigests is the size of a file of digests, perhaps of a whole directory.
const maxDigests = 1 << 20

// beside looks for a digest at the address with .sha256 added. That there is
// none, or something else, is no error.
func (g *getter) beside(ctx context.Context, u *url.URL) (string, error) {
	at := *u
	at.Path += ".sha256"
	if at.RawPath != "" {
		at.RawPath += ".sha256"
	}
	text, err := g.web.Small(ctx, &at, maxDigests)
	var down *DownloadError
	if errors.As(err, &down) && down.Status != 0 && down.Status < 500 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	digest, ok := digestFor(path.Base(u.Path), text)
	if !ok {
		g.Log.Info("no digest in the file beside the image", "url", web.Shown(&at))
	}
	return digest, nil
}

// published returns the image from the cache if its digest is known before
// anything is downloaded, and it is there.
func (g *getter) published(ctx context.Context, o *origin, u *url.URL) (img *Image, err error) {
	source := o.sha256
	if source != "" {
		img, err = g.fromSource(ctx, source)
	}
	if img == nil && err == nil && o.imageSHA256 != "" {
		img, err = g.fromCache(ctx, o.imageSHA256)
	}
	if img == nil || err != nil {
		return nil, err
	}
	if source == "" {
		if a, ok, err := g.Cache.answered(o.requested); err == nil && ok {
			source = a.SHA256
		}
	}
	return o.describe(img, source), nil
}
