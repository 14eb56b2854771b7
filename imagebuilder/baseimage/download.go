package baseimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"picluster/internal/web"
)

// safePoint is how many bytes are downloaded before they are brought to the disk
// and counted as safe: what a power cut costs.
const safePoint = 32 << 20

// download is one file on its way into the cache. What is there stays there when
// it is cut off, with what is needed to go on later.
type download struct {
	*getter
	url      *url.URL
	key      string
	name     string   // of the image, for people
	file     *os.File // locked
	checked  bool     // a digest will tell whether the bytes are right
	last     answer   // what this address gave last time, if the image is still there
	progress *meter

	state partial
	size  int64 // bytes in file

	resumed   bool // bytes of an earlier call are in it
	unchanged bool // the server says: as last time; the file is empty
}

// run downloads the file, or what is missing of it.
func (d *download) run(ctx context.Context) error {
	if err := d.open(); err != nil {
		return err
	}
	if d.whole() && d.checked {
		d.resumed = true
		return nil
	}
	return d.web.Retry(ctx, web.Tries, func() (bool, error) { return d.attempt(ctx) })
}

// open finds out how much is there already. What is not certainly on the disk
// goes: after a power cut it may be zeros.
func (d *download) open() error {
	state, ok, err := d.Cache.part(d.key)
	if err != nil {
		return err
	}
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	if !ok || info.Size() < state.Safe {
		state = partial{Total: -1}
	}
	d.state, d.size = state, state.Safe
	if err := d.file.Truncate(d.size); err != nil {
		return err
	}
	d.resumed = d.size > 0
	return nil
}

func (d *download) whole() bool { return d.size > 0 && d.size == d.state.Total }

// attempt sends one request and takes what comes. progress says whether any did.
func (d *download) attempt(ctx context.Context) (progress bool, err error) {
	if d.size > 0 && !d.whole() && d.state.condition() == "" && !d.checked {
		if err := d.restart(partial{Total: -1}); err != nil {
			return false, err
		}
	}
	header, asked := d.request()
	resp, err := d.web.Get(ctx, d.url, header)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified:
		if d.size == 0 && d.last.SHA256 == "" {
			return false, &DownloadError{URL: web.Shown(d.url), Status: resp.StatusCode}
		}
		d.unchanged = d.size == 0
		return true, nil
	case http.StatusOK:
		err = d.restart(partial{validators: validatorsOf(resp), Total: resp.ContentLength})
	case http.StatusPartialContent:
		err = d.continues(resp, asked)
	case http.StatusRequestedRangeNotSatisfiable:
		err = d.mistaken("server has no byte %d", d.size)
	default:
		err = &DownloadError{URL: web.Shown(d.url), Status: resp.StatusCode}
	}
	if err != nil {
		return false, err
	}
	return d.take(ctx, resp.Body)
}

// request asks for the rest of a file that has begun, or whether one that is
// whole is still current.
func (d *download) request() (header http.Header, from int64) {
	header = http.Header{}
	switch {
	case d.whole():
		d.state.ask(header)
	case d.size > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.size))
		if condition := d.state.condition(); condition != "" {
			header.Set("If-Range", condition)
		}
		return header, d.size
	default:
		d.last.ask(header)
	}
	return header, 0
}

// restart begins with an empty file. The order matters: a state must never
// belong to bytes of another.
func (d *download) restart(state partial) error {
	if err := d.file.Truncate(0); err != nil {
		return err
	}
	d.state, d.size, d.resumed = state, 0, false
	return d.Cache.setPart(d.key, d.state)
}

// mistaken is for answers that do not fit the request: the next one begins anew.
func (d *download) mistaken(format string, args ...any) error {
	if err := d.restart(partial{Total: -1}); err != nil {
		return err
	}
	return &DownloadError{URL: web.Shown(d.url), Err: fmt.Errorf(format, args...)}
}

// continues checks that the answer is the part that was asked for, of the file
// that was begun.
func (d *download) continues(resp *http.Response, asked int64) error {
	var first, last, total int64
	text := resp.Header.Get("Content-Range")
	if _, err := fmt.Sscanf(text, "bytes %d-%d/%d", &first, &last, &total); err != nil || asked == 0 || first != asked || last != total-1 {
		return d.mistaken("server gives range %q, asked for was the one from %d", text, asked)
	}
	if d.state.Total >= 0 && total != d.state.Total {
		return d.mistaken("file has now %d bytes, it had %d", total, d.state.Total)
	}
	if now := validatorsOf(resp); now.ETag != "" && d.state.ETag != "" && now.ETag != d.state.ETag {
		return d.mistaken("file has changed since the download began")
	}
	d.state.Total = total
	return nil
}

// take copies the body to the end of the file.
func (d *download) take(ctx context.Context, body io.Reader) (progress bool, err error) {
	source := web.Shown(d.url)
	if d.state.Total > maxImage {
		return false, &SizeError{Source: source, Size: d.state.Total, Limit: true}
	}
	if d.state.Total >= 0 {
		if err := d.Cache.reserve(d.name, d.state.Total-d.size); err != nil {
			return false, err
		}
	}
	d.progress = d.meter(StageDownload, d.size, max(0, d.state.Total))
	start := d.size
	err = d.copy(ctx, body)
	switch {
	case err == nil && d.state.Total >= 0 && d.size < d.state.Total:
		err = io.ErrUnexpectedEOF
	case err == nil && d.state.Total >= 0 && d.size > d.state.Total:
		return false, d.mistaken("server gives more than %d bytes", d.state.Total)
	case err == nil:
		d.state.Total = d.size
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = &DownloadError{URL: source, Err: fmt.Errorf("connection broke off after %d bytes", d.size)}
	}
	if saveErr := d.save(); err == nil {
		err = saveErr
	}
	return d.size > start, err
}

// copy returns nil at the end of the body, however long it was.
func (d *download) copy(ctx context.Context, body io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		n, readErr := body.Read(buf)
		if d.size+int64(n) > maxImage {
			return &SizeError{Source: web.Shown(d.url), Size: d.size + int64(n), Limit: true}
		}
		if n > 0 {
			if _, err := d.file.WriteAt(buf[:n], d.size); err != nil {
				return d.Cache.spaceError(err, d.name, max(int64(n), d.state.Total-d.size))
			}
			d.size += int64(n)
			d.progress.add(int64(n))
		}
		if d.size-d.state.Safe >= safePoint {
			if err := d.checkpoint(); err != nil {
				return err
			}
		}
		switch {
		case readErr == io.EOF:
			return nil
		case errors.Is(readErr, io.ErrUnexpectedEOF):
			return readErr
		case readErr != nil:
			return web.Failed(ctx, d.url, readErr)
		}
	}
}

// checkpoint makes what has come safe, and sees to it that more can come.
func (d *download) checkpoint() error {
	if err := d.save(); err != nil {
		return err
	}
	if d.state.Total >= 0 {
		return nil
	}
	return d.Cache.reserve(d.name, safePoint)
}

func (d *download) save() error {
	if err := d.file.Sync(); err != nil {
		return err
	}
	d.state.Safe = d.size
	return d.Cache.setPart(d.key, d.state)
}

func validatorsOf(resp *http.Response) validators {
	return validators{ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
}

// condition is what If-Range takes, or "". A weak tag does not promise equal bytes.
func (v validators) condition() string {
	if v.ETag != "" && !strings.HasPrefix(v.ETag, "W/") {
		return v.ETag
	}
	return v.LastModified
}

// ask sets the headers for: only if it is not this.
func (v validators) ask(header http.Header) {
	if v.ETag != "" {
		header.Set("If-None-Match", v.ETag)
	}
	if v.LastModified != "" {
		header.Set("If-Modified-Since", v.LastModified)
	}
}
