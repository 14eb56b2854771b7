package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"picluster/internal/web"
)

// Fetch returns the path of a file, which it downloads if it is not there. A
// download that was stopped goes on. progress, which may be nil, is called with how
// many of the file's bytes are there.
func (s Store) Fetch(ctx context.Context, c *web.Client, u *url.URL, r Ref, progress func(done int64)) (string, error) {
	if path, err := s.Find(r); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	p, err := s.begin(ctx, r)
	if err != nil {
		return "", err
	}
	defer p.Close()
	// Another process may have had the lock, and the file is there now.
	if path, err := s.Find(r); !errors.Is(err, fs.ErrNotExist) {
		return path, errors.Join(err, os.Remove(p.file.Name()))
	}
	resumed := p.size > 0
	get := func() (bool, error) { return p.attempt(ctx, c, u, progress) }
	if err := c.Retry(ctx, web.Tries, get); err != nil {
		return "", err
	}
	path, err := p.finish(web.Shown(u))
	// What an earlier run left may be of another file, or damaged by a power cut.
	if damaged := (*DigestError)(nil); errors.As(err, &damaged) && resumed {
		if err := c.Retry(ctx, web.Tries, get); err != nil {
			return "", err
		}
		return p.finish(web.Shown(u))
	}
	return path, err
}

// attempt asks for what is missing, and takes what comes.
func (p *part) attempt(ctx context.Context, c *web.Client, u *url.URL, progress func(done int64)) (some bool, err error) {
	if p.size == p.want.Size {
		return true, nil
	}
	header := http.Header{}
	if p.size > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", p.size))
	}
	resp, err := c.Get(ctx, u, header)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && p.size > 0:
		var from int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != p.size {
			return false, p.again(&web.Error{URL: web.Shown(u), Err: errors.New("server gives another part than was asked for")})
		}
	case resp.StatusCode == http.StatusOK:
		if err := p.restart(); err != nil {
			return false, err
		}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return false, p.again(&web.Error{URL: web.Shown(u), Err: errors.New("server's file is shorter")})
	default:
		return false, &web.Error{URL: web.Shown(u), Status: resp.StatusCode}
	}
	before := p.size
	err = p.copy(ctx, resp.Body, func(int) {
		if progress != nil {
			progress(p.size)
		}
	})
	switch {
	case errors.Is(err, errLong):
		// Not worth another try, and nothing of it is worth keeping.
		return false, errors.Join(&DigestError{Source: web.Shown(u), Want: p.want.SHA256, Got: "that of a longer file"}, p.restart())
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = &web.Error{URL: web.Shown(u), Err: fmt.Errorf("connection broke off after %d bytes", p.size)}
	case err != nil && !isLocal(err):
		err = web.Failed(ctx, u, err)
	}
	return p.size > before, err
}

// again begins with an empty file the next time.
func (p *part) again(cause error) error {
	if err := p.restart(); err != nil {
		return err
	}
	return cause
}

// isLocal reports whether our own disk is at fault.
func isLocal(err error) bool {
	path := (*fs.PathError)(nil)
	return errors.As(err, &path)
}

// openLocked opens a file that one process at a time may write, waiting its turn.
func openLocked(ctx context.Context, path string) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isStill(file, path) {
			return file, nil
		}
		file.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// isStill reports whether an open file has its name yet: who held the lock before
// has renamed it.
func isStill(file *os.File, path string) bool {
	mine, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(mine, named)
}
