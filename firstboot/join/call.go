package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"picluster/internal/joinapi"
	"picluster/internal/step"
)

// Times between two tries. A refusal is repeated rarely, but it is: the operator
// may change it, and nobody has to come and switch the Pi off and on.
const (
	firstDelay   = 2 * time.Second
	longestDelay = time.Minute
	refusedDelay = 5 * time.Minute
	dialTime     = 10 * time.Second
	callTime     = answerTime + 15*time.Second
	maxAnswer    = 1 << 20
)

// persist tries until it works, the context ends, or the answer is one that the
// caller has to deal with.
func (c *Client) persist(ctx context.Context, what string, try func(context.Context) error) error {
	delay := firstDelay
	for {
		err := try(ctx)
		var refusal *joinapi.Refusal
		isRefusal := errors.As(err, &refusal)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case isRefusal && refusal.Reason == joinapi.AlreadyJoined:
			return err
		}
		if local := new(os.PathError); errors.As(err, &local) {
			return fmt.Errorf("%s: %w", what, err)
		}
		step.Note(ctx, c.serverName()+": "+err.Error())
		pause := delay
		switch {
		case isRefusal && refusal.RetryAfter > 0:
			delay, pause = firstDelay, time.Duration(refusal.RetryAfter)*time.Second
		case isRefusal && refusal.Reason != joinapi.Unavailable && refusal.Reason != joinapi.NoNode:
			pause = refusedDelay
		default:
			delay = min(2*delay, longestDelay)
		}
		// Two hundred Pis on one power strip do not ask at the same moment.
		if c.sleep(ctx, pause/2+rand.N(pause)) != nil {
			return fmt.Errorf("%s: %w, after %s: %w", what, context.Cause(ctx), c.serverName(), err)
		}
	}
}

func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	if c.Sleep != nil {
		return c.Sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serverName is who people know node0 as.
func (c *Client) serverName() string {
	for _, p := range c.Config.Peers {
		if p.Address == c.Config.Join.Server {
			return p.Name
		}
	}
	return c.Config.Join.Server.String()
}

// unreachable is an error of the connection in words of a status page, which knows
// already who was called.
type unreachable struct{ err error }

func (u unreachable) Unwrap() error { return u.err }

func (u unreachable) Error() string {
	var op *net.OpError
	var invalid x509.CertificateInvalidError
	var request *url.Error
	switch {
	case errors.As(u.err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("its certificate is valid from %s to %s, and not by this Pi's clock",
			invalid.Cert.NotBefore.Format(time.DateOnly), invalid.Cert.NotAfter.Format(time.DateOnly))
	case errors.As(u.err, &op) && op.Op == "remote error":
		return "it does not accept this card: " + op.Err.Error()
	case errors.As(u.err, &op):
		var call *os.SyscallError
		if errors.As(op.Err, &call) {
			return call.Err.Error()
		}
		return op.Err.Error()
	case errors.As(u.err, &request):
		return request.Err.Error()
	}
	return u.err.Error()
}

// call makes one request with a certificate and reads the answer.
func (c *Client) call(ctx context.Context, pair tls.Certificate, name string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	config, generation, err := c.tlsConfig(pair)
	if err != nil {
		return err
	}
	dialer := c.Dialer
	dialer.Timeout = dialTime
	transport := &http.Transport{
		TLSClientConfig: config, TLSHandshakeTimeout: dialTime, DisableKeepAlives: true, Proxy: nil,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, c.address())
		},
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.Config.Join.ServerName+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport, CheckRedirect: noRedirect}).Do(r)
	if err != nil {
		return unreachable{err}
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return unreachable{err}
	}
	if err := c.met(ctx, *generation); err != nil {
		return err
	}
	return c.read(response, data, answer)
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c *Client) read(response *http.Response, data []byte, answer any) error {
	switch {
	case response.StatusCode == http.StatusNoContent:
		return nil
	case response.StatusCode == http.StatusOK && answer != nil:
		if err := json.Unmarshal(data, answer); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		c.tellTime(answer)
		return nil
	}
	return joinapi.ReadRefusal(response.Status, data)
}

func (c *Client) tellTime(answer any) {
	if c.ServerTime == nil {
		return
	}
	switch a := answer.(type) {
	case *joinapi.Enrollment:
		c.ServerTime(a.Time)
	case *joinapi.JoinAnswer:
		c.ServerTime(a.Time)
	case *joinapi.Standing:
		c.ServerTime(a.Time)
	}
}

func (c *Client) address() string {
	if c.Address != "" {
		return c.Address
	}
	return netip.AddrPortFrom(c.Config.Join.Server, joinapi.Port).String()
}

// tlsConfig pins the enrolment CA and the service's only name. Addresses may
// change, and no other authority is asked.
func (c *Client) tlsConfig(pair tls.Certificate) (config *tls.Config, generation *int, err error) {
	root, err := rootOf(c.Config.Join.CA)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	t, generation := trust{cluster: c.Config.Cluster.ID, root: root}, new(int)
	return &tls.Config{
		RootCAs: pool, ServerName: c.Config.Join.ServerName, MinVersion: tls.VersionTLS13, Time: c.now,
		Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"},
		VerifyConnection: func(state tls.ConnectionState) (err error) {
			*generation, err = t.serverGeneration(state.PeerCertificates[0])
			if err == nil && *generation < c.device.Server {
				err = fmt.Errorf("its card is generation %d, and generation %d has been here; an old card of it is running", *generation, c.device.Server)
			}
			return err
		},
	}, generation, nil
}

// met remembers the newest generation of node0's card, so that an older one, which
// may have been stolen, is refused from now on.
func (c *Client) met(ctx context.Context, generation int) error {
	if generation <= c.device.Server {
		return nil
	}
	next := *c.device
	next.Server = generation
	return c.save(ctx, &next)
}

// now is the time by a clock that may never have been set: not before the card was
// made. The service's certificates begin before the cluster does, so that is enough
// (imagebuilder/secrets).
func (c *Client) now() time.Time {
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	return latest(now(), c.Config.Build.Time)
}
