package support

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"picluster/internal/secret"
	"picluster/internal/spec"
)

// minSecret is the length below which a text is not looked for: dots in place of each
// "pi" would hide nothing and make the rest unreadable. No passphrase, hash or token
// is shorter.
const minSecret = 6

// forms are what secrets look like that nobody here knows: of other programs, of
// Kubernetes, of people's own add-ons.
var forms = []*regexp.Regexp{
	regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)`),
	regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`),                                          // RFC 7519
	regexp.MustCompile(`\b[a-z0-9]{6}\.[a-z0-9]{16}\b`),                                                                    // bootstrap token
	regexp.MustCompile(`\$(?:[1256y]|2[aby])\$[./A-Za-z0-9$=,]{8,}`),                                                       // crypt(5)
	regexp.MustCompile(`(?i)(?:password|passwd|passphrase|psk|secret|token|authorization)["']?\s*[=:]\s*["']?[^\s"']{4,}`), // name=value
	regexp.MustCompile(`\b(?:[a-z][a-z0-9+.-]*)://[^/\s:@]+:[^/\s@]+@`),                                                    // RFC 3986, userinfo
}

// Redactor puts dots where a secret would be.
type Redactor struct{ known *strings.Replacer }

// NewRedactor knows the secrets of a cluster.yaml, and the names of its Wi-Fi
// networks: they say where somebody lives.
func NewRedactor(c *spec.Cluster) *Redactor {
	var texts []string
	for _, w := range c.Network.WiFi {
		texts = append(texts, w.Passphrase.Reveal(), string(w.SSID))
	}
	texts = append(texts, c.System.User.Password.Hash.Reveal())
	for _, f := range c.System.Files {
		for line := range strings.Lines(f.Data.Reveal()) {
			texts = append(texts, strings.TrimSpace(line))
		}
	}
	var pairs []string
	for _, s := range spellings(texts) {
		pairs = append(pairs, s, secret.Mask)
	}
	return &Redactor{strings.NewReplacer(pairs...)}
}

// Text is a text without what is secret.
func (r *Redactor) Text(text []byte) []byte {
	out := []byte(r.known.Replace(string(text)))
	for _, form := range forms {
		out = form.ReplaceAllFunc(out, func(found []byte) []byte {
			if i := bytes.IndexAny(found, "=:"); i > 0 && i < 20 && !bytes.HasPrefix(found, []byte("-----")) {
				return append(found[:i+1:i+1], secret.Mask...) // which one it was
			}
			return []byte(secret.Mask)
		})
	}
	return out
}

// spellings are the forms in which programs print a text, the longest first.
func spellings(texts []string) []string {
	var all []string
	for _, s := range texts {
		quoted := strconv.Quote(s)
		escaped, _ := json.Marshal(s) // never fails for a string
		all = append(all, s, quoted[1:len(quoted)-1], string(escaped[1:len(escaped)-1]), base64.StdEncoding.EncodeToString([]byte(s)))
	}
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < minSecret })
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
	return slices.Compact(all)
}
