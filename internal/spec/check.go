package spec

import (
	"net/url"
	"path"
	"regexp"
	"strings"
)

// check looks at every value, each subject in a function of its own. It runs
// after the defaults are filled in, also when there are problems already.
func (c *Cluster) check(r *report) {
	checkLabel(r, "name", c.Name, "a name")
	c.Image.check(r)
	c.checkNodes(r)
	c.System.check(r)
	c.Network.check(r)
	c.checkAddresses(r)
	c.checkKubernetes(r)
	c.Mirrors.check(r)
	c.checkStorage(r)
}

// label is what RFC 1123 allows as a host name without dots. Dots are out
// because NAME.local is looked up by mDNS, which knows one label only.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

const maxLabel = 63

func checkLabel(r *report, field, value, what string) {
	switch {
	case value == "":
		r.problem(field, "is empty, want %s", what)
	case len(value) > maxLabel:
		r.problem(field, "%s has %d characters, want at most %d", quoted(value), len(value), maxLabel)
	case !label.MatchString(value):
		r.problem(field, "%s is not %s: lower-case letters, digits and hyphens, none at the ends", quoted(value), what).
			Hint = didYouMean(labelFrom(value))
	}
}

var notInLabel = regexp.MustCompile(`[^a-z0-9]+`)

// labelFrom makes the nearest label from any text, "" if nothing is left.
func labelFrom(s string) string {
	s = notInLabel.ReplaceAllString(strings.ToLower(s), "-")
	return strings.Trim(s[:min(len(s), maxLabel)], "-")
}

var sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (i *Image) check(r *report) {
	switch {
	case i.Source == "":
		r.problem("image.source", "is empty, want a name, an address or a file")
	case strings.Contains(i.Source, "://"):
		u, err := url.Parse(i.Source)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			r.problem("image.source", "%s is not an http or https address", quoted(i.Source))
		}
	}
	if r.given("image.sha256") && !sha256Form.MatchString(i.SHA256) {
		r.problem("image.sha256", "%s is not 64 hexadecimal digits in lower case", quoted(i.SHA256))
	}
}

// isFile reports whether the image's source names a file: known names have
// neither a slash nor an ending.
func (i *Image) isFile() bool {
	return !strings.Contains(i.Source, "://") &&
		(strings.ContainsAny(i.Source, `/\`) || strings.HasPrefix(i.Source, "~") || path.Ext(i.Source) != "")
}

// warn notes what is allowed but likely not meant.
func (c *Cluster) warn(r *report) {
	c.Network.warn(r)
	if c.Storage.Replicas == 1 && len(c.Nodes) > 1 {
		r.warn("storage.replicas", "there is one copy of everything: what is on a card is lost with it")
	}
	fixed := ""
	for i, n := range c.Nodes {
		if n.Address.IsValid() {
			fixed = nodeField(i, "address")
			break
		}
	}
	if fixed != "" && !c.Network.Gateway.IsValid() {
		r.warn(fixed, "a fixed address without network.gateway: the node will not reach the internet")
	}
	for _, field := range []string{"network.gateway", "network.dns"} {
		if fixed == "" && r.given(field) {
			r.warn(field, "has no effect: no node has a fixed address, and DHCP brings its own")
		}
	}
}
