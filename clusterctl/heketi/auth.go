package heketi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"picluster/internal/secret"
)

// Keys are what requests are signed with. The user can list and make volumes, and
// learn what has become of those that it has asked for; all else is the
// administrator's.
type Keys struct {
	Admin secret.Text
	User  secret.Text // none: there is no user
}

// leeway is how far the clocks of client and server may differ. A Pi has no clock of
// its own, and Heketi grants as much.
const leeway = 2 * time.Minute

// claims are those of a token: who, when, and for which request.
type claims struct {
	Issuer  string `json:"iss"`
	Issued  int64  `json:"iat"`
	Expires int64  `json:"exp"`
	Request string `json:"qsh"`
}

// guard lets requests pass that are signed for just what they ask.
func (k Keys) guard(now func() time.Time, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := bearer(r.Header.Get("Authorization"))
		if !ok {
			http.Error(w, "Required authorization token not found", http.StatusUnauthorized)
			return
		}
		c, err := k.verify(token, now())
		switch {
		case err != nil:
			http.Error(w, "Invalid JWT token: "+err.Error(), http.StatusUnauthorized)
		case c.Request != signedRequest(r):
			http.Error(w, "Invalid qsh claim in token", http.StatusUnauthorized)
		case c.Issuer != "admin" && !forUser(r):
			http.Error(w, "Administrator access required", http.StatusUnauthorized)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func bearer(header string) (string, bool) {
	kind, token, _ := strings.Cut(header, " ")
	return token, strings.EqualFold(kind, "bearer") && token != ""
}

// forUser reports whether the user may ask that.
func forUser(r *http.Request) bool {
	if r.URL.Path == "/volumes" || strings.HasPrefix(r.URL.Path, "/queue/") {
		return true
	}
	id, ok := strings.CutPrefix(r.URL.Path, "/volumes/")
	return ok && r.Method == http.MethodGet && !strings.Contains(id, "/")
}

// signedRequest is the claim that binds a token to one method and path.
func signedRequest(r *http.Request) string {
	sum := sha256.Sum256([]byte(r.Method + "&" + r.URL.Path))
	return hex.EncodeToString(sum[:])
}

// verify checks a JSON Web Token (RFC 7519) that is signed with HMAC-SHA256, and
// takes no other: a token must not choose how it is checked.
func (k Keys) verify(token string, now time.Time) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, fmt.Errorf("it has %d parts, want 3", len(parts))
	}
	var header struct {
		Algorithm string `json:"alg"`
	}
	var c claims
	if err := decodePart(parts[0], &header); err != nil {
		return claims{}, fmt.Errorf("read its header: %w", err)
	}
	if err := decodePart(parts[1], &c); err != nil {
		return claims{}, fmt.Errorf("read its claims: %w", err)
	}
	if header.Algorithm != "HS256" {
		return claims{}, fmt.Errorf("it is signed by %.20q, want HS256", header.Algorithm)
	}
	key := k.of(c.Issuer)
	if key.IsZero() {
		return claims{}, errors.New("unknown user")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if err != nil || !hmac.Equal(mac.Sum(nil), signature) {
		return claims{}, errors.New("signature is invalid (client and server secrets may not match)")
	}
	return c, c.inTime(now)
}

func (k Keys) of(issuer string) secret.Text {
	switch issuer {
	case "admin":
		return k.Admin
	case "user":
		return k.User
	}
	return secret.Text{}
}

func (c claims) inTime(now time.Time) error {
	switch {
	case c.Expires == 0:
		return errors.New("it does not say when it expires")
	case now.After(time.Unix(c.Expires, 0)):
		return errors.New("token is expired (client and server clocks may differ)")
	case now.Add(leeway).Before(time.Unix(c.Issued, 0)):
		return errors.New("token is used before issued (client and server clocks may differ)")
	}
	return nil
}

func decodePart(part string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
