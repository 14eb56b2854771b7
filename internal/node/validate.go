package node

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// label is an RFC 1123 label: what a host name, and so a node name, may be.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate checks what a hand edit or a damaged card could have broken and what
// would be dangerous to act on. cluster.yaml's own checks are richer; these are
// the ones a Pi relies on. It reports all problems at once.
func (c *Config) Validate() error {
	p := problems{}
	p.check(c.Version == Version, "version is %d, want %d", c.Version, Version)
	p.check(label.MatchString(c.Name), "name %q is no host name", c.Name)
	p.check(c.Cluster.Name != "" && c.Cluster.ID != "", "cluster has no name or no id")
	p.check(!c.Build.Time.IsZero(), "build.time is missing")
	switch c.Role {
	case ControlPlane, Worker:
		p.check(c.Network.ClusterAddress.IsValid(), "network.clusterAddress is missing")
	case Spare:
		p.check(!c.Network.ClusterAddress.IsValid(), "network.clusterAddress is set on a spare")
	default:
		p.check(false, "role %q is none of control-plane, worker, spare", c.Role)
	}
	c.System.validate(&p)
	c.Network.validate(&p)
	for _, peer := range c.Peers {
		p.check(label.MatchString(peer.Name) && peer.Address.IsValid(), "peer %q %s is no host name and address", peer.Name, peer.Address)
	}
	if c.Join != nil {
		c.Join.validate(&p, c.Role)
	}
	p.check(c.Kubernetes == nil || c.Join != nil, "kubernetes is wanted but join is missing")
	if k := c.Kubernetes; k != nil {
		// "all" would take errors for warnings that nobody has thought of yet.
		p.check(!slices.ContainsFunc(k.IgnorePreflight, func(name string) bool { return strings.EqualFold(name, "all") }), "kubernetes.ignorePreflight has all in it")
		k.Repository.validate(&p)
		for registry, place := range k.Mirrors {
			// They become file names and lines of a configuration.
			p.check(!strings.ContainsAny(registry+place, " \"'\\\n") && !strings.Contains(registry, "/"), "kubernetes.mirrors: %q at %q is no registry", registry, place)
		}
		p.check(k.Payload == "" || digest.MatchString(k.Payload), "kubernetes.payload %q is no SHA-256", k.Payload)
	}
	return p.err()
}

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// validate: what comes from the repository runs as root.
func (r *Repository) validate(p *problems) {
	if *r == (Repository{}) {
		return // everything is there already: a machine that no repository is asked for
	}
	u, err := url.Parse(r.URL)
	p.check(err == nil && u.Host != "" && strings.HasSuffix(r.URL, "/") && !strings.ContainsAny(r.URL, " \n"), "kubernetes.repository.url %q is no address with a slash at its end", r.URL)
	p.check((r.Key == "") != (r.Fingerprint == ""), "kubernetes.repository has neither a key nor a fingerprint, or both")
}

func (s *System) validate(p *problems) {
	p.check(s.User.Name != "" && s.User.Name != "root", "system.user.name is %q", s.User.Name)
	p.check(len(s.User.AuthorizedKeys) > 0 || !s.User.PasswordHash.IsZero(), "system.user has neither a key nor a password: nobody could log in")
	p.check(oneOf(s.User.Sudo, "password", "nopasswd"), "system.user.sudo is %q", s.User.Sudo)
	p.check(oneOf(s.Swap, "zram", "file", "keep", "off"), "system.swap is %q", s.Swap)
	for _, line := range s.User.AuthorizedKeys {
		p.check(!strings.ContainsAny(line, "\r\n"), "an authorized key has a line break in it")
	}
	for _, f := range s.Files {
		p.check(path.IsAbs(f.Path) && path.Clean(f.Path) == f.Path, "file path %q is not absolute and clean", f.Path)
		p.check(f.Mode&^0o7777 == 0, "file %s has mode %o", f.Path, f.Mode)
	}
}

func (n *Network) validate(p *problems) {
	p.check(oneOf(n.Interface, "auto", "eth0", "wlan0"), "network.interface is %q", n.Interface)
	for _, w := range n.WiFi {
		p.check(len(w.SSID) >= 1 && len(w.SSID) <= 32, "a Wi-Fi name has %d octets, want 1 to 32", len(w.SSID))
		p.check(oneOf(w.Security, "wpa2", "wpa3", "wpa2-wpa3", "open"), "Wi-Fi security is %q", w.Security)
		p.check((w.Security == "open") == w.Key.IsZero(), "a Wi-Fi network is open and has a key, or is not open and has none")
	}
	p.check(len(n.WiFi) == 0 || len(n.Country) == 2, "network.country is %q, and Wi-Fi needs one", n.Country)
	if s := n.Static; s != nil {
		p.check(s.Address.IsValid() && s.Address.Addr().Is4(), "network.static.address %s is no IPv4 address with a prefix length", s.Address)
		p.check(!s.Gateway.IsValid() || s.Address.Contains(s.Gateway), "network.static.gateway %s is not in %s", s.Gateway, s.Address.Masked())
	}
	p.check(n.ClusterAddress == netip.Prefix{} || n.ClusterAddress.Addr().Is4(), "network.clusterAddress %s is not IPv4", n.ClusterAddress)
}

func (j *Join) validate(p *problems, role Role) {
	p.check(j.CardID != "" && j.Generation > 0, "join has no card id or generation")
	p.check(j.CA != "" && j.Certificate != "" && !j.Key.IsZero() && j.ServerName != "", "join lacks a certificate, a key or the server's name")
	p.check(j.Server.IsValid(), "join.server is missing")
	// The keys of the join service on any other card would hand the cluster's
	// trust to whoever finds that card.
	p.check((j.Service != nil) == (role == ControlPlane), "join.service belongs on the control plane's card and only there")
}

func oneOf(s string, allowed ...string) bool {
	for _, a := range allowed {
		if s == a {
			return true
		}
	}
	return false
}

type problems []error

func (p *problems) check(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}

func (p problems) err() error { return errors.Join(p...) }
