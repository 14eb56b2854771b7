// Package operator is the operator's side of node0's join service: which cards
// there are, what becomes of them, and the audit log.
package operator

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"picluster/clusterctl/keys"
	"picluster/internal/joinapi"
)

// Bounds of one call. A Pi 3 that starts its control plane may need long.
const (
	callTime   = 75 * time.Second // more than the service's own limit of a minute
	maxAnswer  = 4 << 20
	auditLimit = 64 << 20
)

// Client calls the join service. It is safe for concurrent use; each call is a
// connection of its own.
type Client struct {
	// Dial opens a connection to the service, wherever node0 is. Who answers there
	// has to prove itself by the enrolment CA and the service's name.
	Dial func(context.Context) (net.Conn, error)

	config *tls.Config
}

// New reads the operator's certificate.
func New(k *keys.Keys, dial func(context.Context) (net.Conn, error)) (*Client, error) {
	certificate, roots, err := k.Operator()
	if err != nil {
		return nil, err
	}
	return &Client{Dial: dial, config: &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: roots,
		ServerName: k.ServerName(), MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}}, nil
}

// Cards lists all cards, those that were never here too. The order is the
// service's: cards of the inventory that were not seen yet, then those that were.
func (c *Client) Cards(ctx context.Context) ([]joinapi.CardStatus, error) {
	var body bytes.Buffer
	if err := c.call(ctx, http.MethodGet, "/v1/cards", maxAnswer, &body); err != nil {
		return nil, fmt.Errorf("list cards: %w", err)
	}
	var cards []joinapi.CardStatus
	if err := json.Unmarshal(body.Bytes(), &cards); err != nil {
		return nil, fmt.Errorf("list cards: read answer: %w", err)
	}
	return cards, nil
}

// Act does one of joinapi's actions on a card: Approve, Revoke, Rebind, Remove. The
// card is named by its id, or by its node, which means its newest card.
func (c *Client) Act(ctx context.Context, card, action string) error {
	err := c.call(ctx, http.MethodPost, "/v1/cards/"+url.PathEscape(card)+"/"+action, maxAnswer, io.Discard)
	if err != nil {
		return fmt.Errorf("%s card of %s: %w", action, card, err)
	}
	return nil
}

// Audit writes the audit log: lines of joinapi.Entry, the oldest first.
func (c *Client) Audit(ctx context.Context, w io.Writer) error {
	if err := c.call(ctx, http.MethodGet, "/v1/audit", auditLimit, w); err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	return nil
}

// Unreachable is why the service gave no answer: it may, later.
type Unreachable struct{ Err error }

func (e *Unreachable) Error() string { return e.Err.Error() }
func (e *Unreachable) Unwrap() error { return e.Err }

func (c *Client) call(ctx context.Context, method, path string, limit int64, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: c.config, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx) }}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, "https://"+c.config.ServerName+path, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport, CheckRedirect: noRedirect}).Do(request)
	if err != nil {
		return explain(ctx, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNoContent {
		return refusalOf(response)
	}
	n, err := io.Copy(w, io.LimitReader(response.Body, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("the answer is longer than %d bytes", limit)
	}
	return err
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// explain makes an error of the connection one for people, who know already which
// call it was.
func explain(ctx context.Context, err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var op *net.OpError
	var request *url.Error
	switch {
	case ctx.Err() != nil:
		return &Unreachable{context.Cause(ctx)}
	case errors.As(err, &unknown), errors.As(err, &name):
		return errors.New("who answers is not this cluster's join service: " + cause(err).Error())
	case errors.As(err, &op) && op.Op == "remote error":
		return fmt.Errorf("the join service does not accept the operator's certificate: %w", op.Err)
	case errors.As(err, &request):
		return &Unreachable{request.Err}
	}
	return &Unreachable{err}
}

func cause(err error) error {
	var verify *tls.CertificateVerificationError
	if errors.As(err, &verify) {
		return verify.Err
	}
	return err
}

func refusalOf(response *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return &Unreachable{err}
	}
	return joinapi.ReadRefusal(response.Status, data)
}
