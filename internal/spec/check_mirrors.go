package spec

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// KubernetesFingerprint is that of the key that signs what is on pkgs.k8s.io
// ("isv:kubernetes OBS Project"). The key is extended from time to time, the
// fingerprint stays: so the key is fetched, and compared with this.
const KubernetesFingerprint = "DE15B14486CD377B9E876E1A234654DA9A296436"

// registryForm is what stands before the first slash in the name of an image: a host
// with a dot, a port, or "localhost" (github.com/distribution/reference).
var registryForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?$`)

func (m *Mirrors) check(r *report) {
	for _, place := range []struct{ field, address string }{
		{"mirrors.debian", m.Debian}, {"mirrors.security", m.Security}, {"mirrors.kubernetes", m.Kubernetes},
	} {
		u, err := url.Parse(place.address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			r.problem(place.field, "%s is not an http or https address", quoted(place.address))
		} else if u.User != nil {
			r.problem(place.field, "it holds a password, which would go onto every card")
		}
	}
	for _, registry := range slices.Sorted(maps.Keys(m.Images)) {
		field := "mirrors.images." + registry
		if !registryForm.MatchString(registry) {
			r.problem(field, "%s is not the host of a registry, such as registry.k8s.io", quoted(registry))
		}
		if place := strings.TrimPrefix(m.Images[registry], "http://"); !registryForm.MatchString(place) {
			r.problem(field, "%s is not the host of a registry, such as registry.lan or http://registry.lan:5000", quoted(m.Images[registry]))
		}
	}
}

// mirrorKey reads the key as apt will: armoured.
func (s *resolver) mirrorKey(m *Mirrors) {
	const field = "mirrors.kubernetesKey"
	if m.KubernetesKey == "" {
		return
	}
	data, ok := s.file(field, m.KubernetesKey)
	switch {
	case !ok:
	case strings.Contains(string(data), "PRIVATE KEY BLOCK-----"):
		s.problem(field, "%s is a private key, which must not leave your machine", quoted(m.KubernetesKey)).Hint = "`gpg --armor --export` gives the public one"
	case !strings.Contains(string(data), "-----BEGIN PGP PUBLIC KEY BLOCK-----"):
		s.problem(field, "%s is no armoured OpenPGP key", quoted(m.KubernetesKey)).Hint = "`gpg --armor --export` gives one"
	default:
		m.Key = string(data)
	}
}
