package heketi_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/heketi"
	"picluster/internal/host"
	"picluster/internal/secret"
)

// token is one as a client makes it, with changes.
type token struct {
	algorithm, issuer, key string
	method, path           string
	issued, expires        time.Duration // from now
	change                 func(token string) string
}

func (k token) String() string {
	encode := func(v any) string {
		data, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(data)
	}
	qsh := sha256.Sum256([]byte(k.method + "&" + k.path))
	claims := map[string]any{"iss": k.issuer, "iat": time.Now().Add(k.issued).Unix(), "qsh": hex.EncodeToString(qsh[:])}
	if k.expires != 0 {
		claims["exp"] = time.Now().Add(k.expires).Unix()
	}
	text := encode(map[string]string{"alg": k.algorithm, "typ": "JWT"}) + "." + encode(claims)
	mac := hmac.New(sha256.New, []byte(k.key))
	mac.Write([]byte(text))
	text += "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	if k.change != nil {
		text = k.change(text)
	}
	return text
}

func TestServer_lets(t *testing.T) {
	url := serve(t, &engine.Engine{Store: engine.File{Host: host.Local{}, Path: t.TempDir() + "/state"}})
	good := token{algorithm: "HS256", issuer: "admin", key: keys.Admin.Reveal(), method: "GET", path: "/clusters", expires: 5 * time.Minute}
	user := good
	user.issuer, user.key = "user", keys.User.Reveal()
	with := func(k token, change func(*token)) string {
		change(&k)
		return "bearer " + k.String()
	}
	for name, test := range map[string]struct {
		method, path, header string
		status               int
		answer               string
	}{
		"the administrator":                      {"GET", "/clusters", "bearer " + good.String(), 200, `{"clusters":[]}`},
		"whatever the case":                      {"GET", "/clusters", "Bearer " + good.String(), 200, `{"clusters":[]}`},
		"whom it does not know, a greeting":      {"GET", "/hello", "", 200, "Hello from Heketi"},
		"whom it does not know":                  {"GET", "/clusters", "", 401, "Required authorization token not found"},
		"no other scheme":                        {"GET", "/clusters", "basic " + good.String(), 401, "Required authorization token not found"},
		"another path":                           {"GET", "/volumes", "bearer " + good.String(), 401, "Invalid qsh claim in token"},
		"another method":                         {"POST", "/clusters", "bearer " + good.String(), 401, "Invalid qsh claim in token"},
		"the user its volumes":                   {"GET", "/volumes", with(user, func(k *token) { k.path = "/volumes" }), 200, `{"volumes":[]}`},
		"the user its requests":                  {"GET", "/queue/1", with(user, func(k *token) { k.path = "/queue/1" }), 404, "Id not found"},
		"the user no clusters":                   {"GET", "/clusters", "bearer " + user.String(), 401, "Administrator access required"},
		"the user no deletes":                    {"DELETE", "/volumes/1", with(user, func(k *token) { k.method, k.path = "DELETE", "/volumes/1" }), 401, "Administrator access required"},
		"the user no expansions":                 {"GET", "/volumes/1/expand", with(user, func(k *token) { k.path = "/volumes/1/expand" }), 401, "Administrator access required"},
		"the user's key for the administrator's": {"GET", "/clusters", with(good, func(k *token) { k.key = keys.User.Reveal() }), 401, "signature is invalid"},
		"nobody":                                 {"GET", "/clusters", with(good, func(k *token) { k.issuer = "root" }), 401, "unknown user"},
		"nobody at all":                          {"GET", "/clusters", with(good, func(k *token) { k.issuer, k.key = "", "" }), 401, "unknown user"},
		"what is not signed":                     {"GET", "/clusters", with(good, func(k *token) { k.algorithm = "none"; k.change = cutSignature }), 401, `signed by "none"`},
		"what has lost its signature":            {"GET", "/clusters", with(good, func(k *token) { k.change = cutSignature }), 401, "signature is invalid"},
		"another algorithm":                      {"GET", "/clusters", with(good, func(k *token) { k.algorithm = "HS512" }), 401, `signed by "HS512"`},
		"what is too old":                        {"GET", "/clusters", with(good, func(k *token) { k.expires = -time.Second }), 401, "expired"},
		"what never ends":                        {"GET", "/clusters", with(good, func(k *token) { k.expires = 0 }), 401, "does not say when it expires"},
		"a clock that is a little fast":          {"GET", "/clusters", with(good, func(k *token) { k.issued = time.Minute }), 200, "clusters"},
		"what is of tomorrow":                    {"GET", "/clusters", with(good, func(k *token) { k.issued = time.Hour }), 401, "used before issued"},
		"what is no token":                       {"GET", "/clusters", "bearer x", 401, "it has 1 parts"},
		"what is not base64":                     {"GET", "/clusters", "bearer !.!.!", 401, "read its header"},
		"a body that is too large":               {"POST", "/clusters", with(good, func(k *token) { k.method = "POST" }), 422, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			var body io.Reader
			if test.status == 422 {
				body = strings.NewReader(`{"file": true, "x": "` + strings.Repeat("x", 2<<20) + `"}`)
			}
			request, err := http.NewRequest(test.method, url+test.path, body)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Authorization", test.header)
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != test.status || !strings.Contains(string(text), test.answer) {
				t.Errorf("got %s %s, %v; want %d %s", answer.Status, text, err, test.status, test.answer)
			}
		})
	}
}

func cutSignature(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }

func TestNew_wantsAKey(t *testing.T) {
	if _, err := heketi.New(t.Context(), nil, heketi.Keys{User: secret.New("x")}); err == nil {
		t.Error("it serves whoever comes")
	}
}
