package heketi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"picluster/clusterctl/gluster/allocator"
	"picluster/clusterctl/gluster/engine"
	"picluster/internal/secret"
	"picluster/internal/step"
)

// Client talks to a Heketi: ours, or an original one of version 9 or 10.
type Client struct {
	URL  string // http://HOST:PORT
	User string // "admin" or "user"
	Key  secret.Text
	HTTP *http.Client // nil: http.DefaultClient
}

// pollTime is between two questions whether a request is done, as in Heketi's client.
const pollTime = time.Second

// Do asks, waits for what takes long, and reads the answer's document into into, unless
// that is nil. The answer to a request that makes or changes something is that thing.
func (c *Client) Do(ctx context.Context, method, path string, body, into any) error {
	answer, err := c.once(ctx, method, path, body)
	for err == nil && (answer.status == http.StatusAccepted || answer.pending) {
		if answer.location == "" {
			answer.location = path
		}
		path = answer.location
		if err := pause(ctx); err != nil {
			return fmt.Errorf("wait for Heketi: %w", err)
		}
		step.Note(ctx, "the storage's controller is at it")
		answer, err = c.once(ctx, http.MethodGet, path, nil)
	}
	if err == nil && answer.status == http.StatusSeeOther {
		answer, err = c.once(ctx, http.MethodGet, answer.location, nil)
	}
	if err != nil || into == nil || answer.status == http.StatusNoContent {
		return err
	}
	if err := json.Unmarshal(answer.body, into); err != nil {
		return fmt.Errorf("read Heketi's answer to %s %s: %w", method, path, err)
	}
	return nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pollTime):
		return nil
	}
}

type reply struct {
	status   int
	location string
	pending  bool
	body     []byte
}

func (c *Client) once(ctx context.Context, method, path string, body any) (reply, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		content = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, content)
	if err != nil {
		return reply{}, fmt.Errorf("ask Heketi: %w", err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "bearer "+sign(c.User, c.Key, r, time.Now()))
	client := http.DefaultClient
	if c.HTTP != nil {
		client = c.HTTP
	}
	// A redirect needs a signature of its own.
	own := *client
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	answer, err := own.Do(r)
	if err != nil {
		return reply{}, fmt.Errorf("ask Heketi: %w", err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return reply{}, fmt.Errorf("ask Heketi: %w", err)
	}
	if answer.StatusCode >= 400 {
		return reply{}, refused(answer.StatusCode, strings.TrimSpace(string(data)))
	}
	return reply{answer.StatusCode, answer.Header.Get("Location"), answer.Header.Get("X-Pending") == "true", data}, nil
}

// maxAnswer is far more than a list of a thousand volumes has, in bytes.
const maxAnswer = 64 << 20

// refused gives Heketi's refusals the meaning that the engine's errors have. Those of
// requests that take long all have the status 500; their words tell.
func refused(status int, text string) error {
	var kind error
	switch {
	case status == http.StatusNotFound, strings.HasPrefix(text, "Id not found"):
		kind = engine.ErrNotFound
	case strings.HasPrefix(text, "No space"):
		kind = allocator.ErrNoSpace
	case status == http.StatusConflict:
		kind = engine.ErrInUse
	default:
		return fmt.Errorf("Heketi says: %s (%d)", text, status)
	}
	return fmt.Errorf("%w: Heketi says: %s", kind, text)
}

// sign makes a token for just this request, see Keys.verify.
func sign(user string, key secret.Text, r *http.Request, now time.Time) string {
	encode := func(v any) string {
		data, _ := json.Marshal(v) // maps and claims always can be
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := encode(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + encode(claims{
		Issuer: user, Issued: now.Unix(), Expires: now.Add(5 * time.Minute).Unix(), Request: signedRequest(r),
	})
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
