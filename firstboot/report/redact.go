package report

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"picluster/internal/node"
	"picluster/internal/secret"
	"picluster/internal/status"
)

// minSecret is the length below which a line of a file is no secret of its own:
// dots in place of each "}" would hide nothing and make logs unreadable. No
// passphrase, hash or key is shorter.
const minSecret = 6

// redactor puts dots where a secret of node.json would be printed. No step prints
// one; a program that a step starts might.
type redactor struct {
	secrets *strings.Replacer
	ssids   []*regexp.Regexp // the names of networks: no secrets, but not for everybody
}

// newRedactor knows all secrets of c, which may be nil.
func newRedactor(c *node.Config) *redactor {
	r := &redactor{secrets: strings.NewReplacer()}
	if c == nil {
		return r
	}
	var pairs []string
	for _, s := range spellings(secretLines(c)) {
		pairs = append(pairs, s, secret.Mask)
	}
	r.secrets = strings.NewReplacer(pairs...)
	for _, w := range c.Network.WiFi {
		r.ssids = append(r.ssids, ssidPatterns(string(w.SSID), c)...)
	}
	return r
}

// text makes an event's text one that can be shown to the owner of the card.
func (r *redactor) text(s string) string {
	// Twice: what was spread over lines may be a secret once it is one line.
	return shorten(r.secrets.Replace(oneLine(r.secrets.Replace(s))), maxText)
}

// public is for readers who are only in the same network: they do not learn the
// names of the owner's Wi-Fi networks.
func (r *redactor) public(s string) string {
	for _, ssid := range r.ssids {
		s = ssid.ReplaceAllString(s, "${before}"+secret.Mask+"${after}")
	}
	return s
}

// publicStatus is a copy of s for them.
func (r *redactor) publicStatus(s status.Status) status.Status {
	s.Step, s.Text = r.public(s.Step), r.public(s.Text)
	s.Warnings = slices.Clone(s.Warnings)
	for i := range s.Warnings {
		w := &s.Warnings[i]
		w.Step, w.Text = r.public(w.Step), r.public(w.Text)
	}
	return s
}

// secretLines reveals: this is the one place that needs to know what to hide.
func secretLines(c *node.Config) (lines []string) {
	whole := []secret.Wire{c.System.User.PasswordHash, c.SSH.HostKey}
	for _, w := range c.Network.WiFi {
		whole = append(whole, w.Key)
	}
	for _, f := range c.System.Files {
		whole = append(whole, f.Content)
	}
	if j := c.Join; j != nil {
		whole = append(whole, j.Key)
		if j.Service != nil {
			whole = append(whole, j.Service.Key, j.Service.DeviceCAKey)
		}
	}
	for _, w := range whole {
		text := w.Reveal()
		for _, line := range append(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), text) {
			if line = strings.TrimSpace(line); len(line) >= minSecret {
				lines = append(lines, line, oneLine(line))
			}
		}
	}
	return lines
}

// spellings are the forms in which programs print a text, the longest first: as it
// is, quoted by Go, JSON or a shell, in a keyfile of NetworkManager, and each of
// these quoted once more in a log.
func spellings(texts []string) []string {
	var all []string
	for range 2 {
		for _, s := range texts {
			all = append(all, s, inQuotes(s), strings.ReplaceAll(s, "'", `'\''`),
				strings.NewReplacer(`\`, `\\`, " ", `\s`).Replace(s), strings.ToUpper(s), strings.ToLower(s))
			ascii := strconv.QuoteToASCII(s)
			escaped, err := json.Marshal(s)
			if err == nil { // always, for a string
				all = append(all, ascii[1:len(ascii)-1], string(escaped[1:len(escaped)-1]))
			}
		}
		slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), cmp.Compare(a, b)) })
		texts = slices.Compact(all)
		all = nil
	}
	return slices.DeleteFunc(texts, func(s string) bool { return len(s) < minSecret })
}

// inQuotes is s as Go prints it between quotes.
func inQuotes(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// ssidPatterns find a network's name where it stands in quotes or after "ssid",
// and as a word of its own unless that is a word of the cluster's too: a network
// and a cluster may both be "home".
func ssidPatterns(ssid string, c *node.Config) []*regexp.Regexp {
	if ssid == "" {
		return nil
	}
	name := regexp.QuoteMeta(ssid) + "|" + regexp.QuoteMeta(inQuotes(ssid))
	patterns := []*regexp.Regexp{
		regexp.MustCompile(`(?P<before>["'“‘«„` + "`" + `])(?:` + name + `)(?P<after>["'”’»“` + "`" + `])`),
		regexp.MustCompile(`(?P<before>(?i:ssid)[ =:]+)(?:` + name + `)(?P<after>\b|$)`),
	}
	for _, word := range []string{c.Name, c.Cluster.Name, c.System.User.Name} {
		if strings.Contains(strings.ToLower(word), strings.ToLower(ssid)) {
			return patterns
		}
	}
	return append(patterns, regexp.MustCompile(`(?P<before>^|[^\pL\pN/])(?:`+name+`)(?P<after>$|[^\pL\pN])`))
}
