// Package web gets documents and files from web servers: no credentials in what
// it says, no endless wait, a second try where one may help, and never less
// security than was asked for.
package web

import (
	"cmp"
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

// Client talks to servers. The zero value is useful.
type Client struct {
	HTTP       *http.Client  // nil: http.DefaultClient
	Agent      string        // what to call ourselves; some servers refuse the default of HTTP libraries
	FirstRetry time.Duration // wait before the first retry, doubled each time; zero: a second
	Idle       time.Duration // how long a server may be silent; zero: a minute
	Log        *slog.Logger  // told of retries; nil: nobody is
}

const (
	Tries      = 5 // in a row, without a byte of progress
	SmallTries = 3 // for what only helps
	lastRetry  = 30 * time.Second
)

func (c *Client) client() *http.Client {
	client := *cmp.Or(c.HTTP, http.DefaultClient)
	client.CheckRedirect = checkRedirect(client.CheckRedirect)
	return &client
}

var (
	ErrDowngrade = errors.New("redirected from https to http")
	errRedirects = errors.New("redirected more than 10 times")
	errAddress   = errors.New("read address: want http:// or https:// and a host")
)

// checkRedirect refuses what a browser would warn of.
func checkRedirect(then func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		if via[len(via)-1].URL.Scheme == "https" && r.URL.Scheme != "https" {
			return ErrDowngrade
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

// Parse reads an http or https address. Its errors never show it: it may
// hold a password.
func Parse(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errAddress
	}
	return u, nil
}

// Shown is an address as people and logs may see it: without user, password and
// query, which often holds a signature.
func Shown(u *url.URL) string {
	clean := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return clean.String()
}

// Get sends one request. Headers and body come as the server sends them, with no
// longer pause than allowed.
func (c *Client) Get(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	watch, cancel := context.WithCancelCause(ctx)
	q, err := http.NewRequestWithContext(watch, http.MethodGet, u.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, &Error{URL: Shown(u), Err: errAddress}
	}
	for name, values := range header {
		q.Header[name] = values
	}
	if c.Agent != "" {
		q.Header.Set("User-Agent", c.Agent)
	}
	// The digest is that of the file: no compression for the way, and none
	// undone on the way.
	q.Header.Set("Accept-Encoding", "identity")
	body := &watched{ctx: watch, cancel: cancel, idle: cmp.Or(c.Idle, time.Minute)}
	body.timer = time.AfterFunc(body.idle, func() { cancel(&SilentError{body.idle}) })
	resp, err := c.client().Do(q)
	body.timer.Stop()
	if err != nil {
		err = body.cause(err)
		cancel(nil)
		return nil, Failed(ctx, u, err)
	}
	body.body, resp.Body = resp.Body, body
	return resp, nil
}

// Failed makes an error of the client or a body one that may be shown.
func Failed(ctx context.Context, u *url.URL, err error) error {
	var silent *SilentError
	if ctxErr := ctx.Err(); ctxErr != nil && !errors.As(err, &silent) {
		return ctxErr
	}
	// url.Error says the whole address.
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return &Error{URL: Shown(u), Err: err}
}

// SilentError says that a server stopped talking.
type SilentError struct{ After time.Duration }

func (e *SilentError) Error() string { return fmt.Sprintf("server is silent for %s", e.After) }

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
	if silent := (*SilentError)(nil); err != nil && err != io.EOF && errors.As(context.Cause(b.ctx), &silent) {
		return silent
	}
	return err
}

// Retry calls do until it succeeds, fails for good, or fails most times in a row
// without progress. The pause doubles each time.
func (c *Client) Retry(ctx context.Context, most int, do func() (progress bool, err error)) error {
	first := cmp.Or(c.FirstRetry, time.Second)
	wait := first
	for try := 1; ; try++ {
		progress, err := do()
		if err == nil || ctx.Err() != nil || !Temporary(err) {
			return err
		}
		if progress {
			try, wait = 1, first
		}
		if try >= most {
			return err
		}
		if c.Log != nil {
			c.Log.Info("trying again", "cause", err, "after", wait)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// Temporary reports whether the same request may succeed later.
func Temporary(err error) bool {
	var down *Error
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
		!errors.Is(err, ErrDowngrade) && !errors.Is(err, errRedirects) && !errors.Is(err, errAddress)
}

// Unreachable reports whether the server is at fault or was not reached, as
// opposed to what was asked of it.
func Unreachable(err error) bool {
	var down *Error
	return errors.As(err, &down) && (down.Status == 0 || down.Status >= 500)
}

// Small gets a whole document of at most so many bytes.
func (c *Client) Small(ctx context.Context, u *url.URL, most int64) (data []byte, err error) {
	err = c.Retry(ctx, SmallTries, func() (bool, error) {
		resp, err := c.Get(ctx, u, nil)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false, &Error{URL: Shown(u), Status: resp.StatusCode}
		}
		if data, err = io.ReadAll(io.LimitReader(resp.Body, most+1)); err != nil {
			return false, Failed(ctx, u, err)
		}
		if int64(len(data)) > most {
			return false, &Error{URL: Shown(u), Status: resp.StatusCode, Err: fmt.Errorf("document is longer than %d bytes", most)}
		}
		return true, nil
	})
	return data, err
}
