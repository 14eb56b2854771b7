package baseimage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"
)

// web talks to servers: no credentials in what it says, no endless wait, and a
// second try where one may help.
type web struct {
	client      *http.Client
	first, idle time.Duration
	log         *slog.Logger
}

const (
	tries      = 5 // in a row, without a byte of progress
	smallTries = 3 // for what only helps
	lastRetry  = 30 * time.Second

	// Some servers refuse the default agents of HTTP libraries.
	userAgent = "picluster-imagebuilder"
)

func newWeb(o Options) *web {
	w := &web{client: o.Client, first: o.firstRetry, idle: o.idle, log: o.Log}
	if w.client == nil {
		w.client = http.DefaultClient
	}
	if w.first == 0 {
		w.first = time.Second
	}
	if w.idle == 0 {
		w.idle = time.Minute
	}
	client := *w.client
	client.CheckRedirect = checkRedirect(client.CheckRedirect)
	w.client = &client
	return w
}

var (
	errDowngrade = errors.New("redirected from https to http")
	errRedirects = errors.New("redirected more than 10 times")
	errAddress   = errors.New("read address: want http:// or https:// and a host")
)

// checkRedirect refuses what a browser would warn of.
func checkRedirect(then func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		if via[len(via)-1].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return errDowngrade
		}
		if then != nil {
			return then(r, via)
		}
		if len(via) >= 10 {
			return errRedirects
		}
		return nil
	}
}

// parseAddress reads an http or https address. Its errors never show it: it may
// hold a password.
func parseAddress(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errAddress
	}
	return u, nil
}

// shown is an address as people and logs may see it: without user, password and
// query, which often holds a signature.
func shown(u *url.URL) string {
	clean := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return clean.String()
}

// get sends one request. Headers and body come as the server sends them, with no
// longer pause than allowed.
func (w *web) get(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	watch, cancel := context.WithCancelCause(ctx)
	q, err := http.NewRequestWithContext(watch, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, &DownloadError{URL: shown(u), Err: errAddress}
	}
	for name, values := range header {
		q.Header[name] = values
	}
	q.Header.Set("User-Agent", userAgent)
	// The digest is that of the file: no compression for the way, and none
	// undone on the way.
	q.Header.Set("Accept-Encoding", "identity")
	body := &watched{ctx: watch, cancel: cancel, idle: w.idle}
	body.timer = time.AfterFunc(w.idle, func() { cancel(&silentError{w.idle}) })
	resp, err := w.client.Do(q)
	body.timer.Stop()
	if err != nil {
		err = body.cause(err)
		cancel(nil)
		return nil, w.failed(ctx, u, err)
	}
	body.body, resp.Body = resp.Body, body
	return resp, nil
}

// failed makes an error of the client or a body one that may be shown.
func (w *web) failed(ctx context.Context, u *url.URL, err error) error {
	var silent *silentError
	if ctxErr := ctx.Err(); ctxErr != nil && !errors.As(err, &silent) {
		return ctxErr
	}
	// url.Error says the whole address.
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return &DownloadError{URL: shown(u), Err: err}
}

type silentError struct{ after time.Duration }

func (e *silentError) Error() string { return fmt.Sprintf("server is silent for %s", e.after) }

// watched is a body that fails when the server is silent for too long. The time
// that the reader takes between two reads does not count.
type watched struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	timer  *time.Timer
	idle   time.Duration
}

func (b *watched) Read(p []byte) (int, error) {
	b.timer.Reset(b.idle)
	n, err := b.body.Read(p)
	b.timer.Stop()
	return n, b.cause(err)
}

func (b *watched) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.body.Close()
}

// cause tells silence from other reasons for the end of the context.
func (b *watched) cause(err error) error {
	if silent := (*silentError)(nil); err != nil && err != io.EOF && errors.As(context.Cause(b.ctx), &silent) {
		return silent
	}
	return err
}

// retry calls do until it succeeds, fails for good, or fails most times in a row
// without progress. The pause doubles each time.
func (w *web) retry(ctx context.Context, most int, do func() (progress bool, err error)) error {
	wait := w.first
	for try := 1; ; try++ {
		progress, err := do()
		if err == nil || ctx.Err() != nil || !temporary(err) {
			return err
		}
		if progress {
			try, wait = 1, w.first
		}
		if try >= most {
			return err
		}
		w.log.Info("trying again", "cause", err, "after", wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// temporary reports whether the same request may succeed later.
func temporary(err error) bool {
	var down *DownloadError
	if !errors.As(err, &down) {
		return false
	}
	switch {
	case down.Status == http.StatusRequestTimeout, down.Status == http.StatusTooManyRequests:
		return true
	case down.Status != 0:
		return down.Status >= 500 && down.Status != http.StatusNotImplemented && down.Status != http.StatusHTTPVersionNotSupported
	}
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	return !errors.As(err, &certificate) && !(errors.As(err, &dns) && dns.IsNotFound) &&
		!errors.Is(err, errDowngrade) && !errors.Is(err, errRedirects) && !errors.Is(err, errAddress)
}

// unreachable reports whether the server is at fault or was not reached, as
// opposed to what was asked of it.
func unreachable(err error) bool {
	var down *DownloadError
	return errors.As(err, &down) && (down.Status == 0 || down.Status >= 500)
}

// small gets a whole document of at most so many bytes.
func (w *web) small(ctx context.Context, u *url.URL, most int64) (data []byte, err error) {
	err = w.retry(ctx, smallTries, func() (bool, error) {
		resp, err := w.get(ctx, u, nil)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false, &DownloadError{URL: shown(u), Status: resp.StatusCode}
		}
		if data, err = io.ReadAll(io.LimitReader(resp.Body, most+1)); err != nil {
			return false, w.failed(ctx, u, err)
		}
		if int64(len(data)) > most {
			return false, &DownloadError{URL: shown(u), Status: resp.StatusCode, Err: fmt.Errorf("document is longer than %d bytes", most)}
		}
		return true, nil
	})
	return data, err
}
