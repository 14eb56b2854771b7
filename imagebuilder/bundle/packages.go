package bundle

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"picluster/internal/debian"
	"picluster/internal/payload"
	"picluster/internal/spec"
	"picluster/internal/web"
)

// maxKey bounds a repository's Release.key, in bytes.
const maxKey = 1 << 20

// packages gets every package that the nodes do not have.
func (q *Request) packages(ctx context.Context) ([]payload.Package, error) {
	r := &debian.Reader{Arch: q.Arch, Dir: q.Cache, Files: q.store(), Web: q.Web, Now: q.Now}
	sources, err := q.sources(ctx)
	if err != nil {
		return nil, err
	}
	var from []*debian.Index
	for _, s := range sources {
		r.Progress = func(_ string, done, total int64) { q.progress("list of "+s.Suite, done, total) }
		x, err := r.Open(ctx, s)
		if err != nil {
			return nil, err
		}
		from = append(from, x)
	}
	needed, err := debian.Resolve(debian.Request{From: from, Want: q.wanted(), There: q.There})
	if err != nil {
		return nil, err
	}
	return q.fetch(ctx, r, needed)
}

// wanted are the packages by name; Kubernetes' in the cluster's version, and of that
// the newest packaging.
func (q *Request) wanted() []string {
	want := slices.Concat(payload.DebianPackages, q.Packages)
	for _, name := range payload.KubernetesPackages {
		want = append(want, name+"="+strings.TrimPrefix(q.Cluster.Kubernetes.Version, "v")+"-*")
	}
	return want
}

func (q *Request) sources(ctx context.Context) ([]debian.Source, error) {
	m := &q.Cluster.Mirrors
	keys := q.Keys
	if keys == nil {
		var err error
		if keys, err = debian.ArchiveKeys(); err != nil {
			return nil, err
		}
	}
	signer, err := q.kubernetesKey(ctx)
	if err != nil {
		return nil, err
	}
	return []debian.Source{
		{URI: m.Kubernetes, Suite: "/", Keyring: signer},
		{URI: m.Debian, Suite: q.Release, Components: []string{"main"}, Keyring: keys},
		{URI: m.Security, Suite: q.Release + "-security", Components: []string{"main"}, Keyring: keys},
	}, nil
}

// kubernetesKey is the key that the person names, or the repository's own if it is the
// one that is known.
func (q *Request) kubernetesKey(ctx context.Context) (*debian.Keyring, error) {
	m := &q.Cluster.Mirrors
	if m.Key != "" {
		return debian.ReadKeys([]byte(m.Key))
	}
	at, err := web.Parse(m.Kubernetes)
	if err != nil {
		return nil, err
	}
	at = at.JoinPath("Release.key")
	client := q.Web
	if client == nil {
		client = &web.Client{}
	}
	data, err := client.Small(ctx, at, maxKey)
	if err != nil {
		return nil, err
	}
	untrusted := func(reason string, err error) error {
		return &debian.UntrustedError{Source: web.Shown(at), Reason: reason, Err: err}
	}
	keys, err := debian.ReadKeys(data)
	if err != nil {
		return nil, untrusted("read key", err)
	}
	only, err := keys.Only(spec.KubernetesFingerprint)
	if err != nil {
		return nil, untrusted("it is not signed by the Kubernetes project", err)
	}
	return only, nil
}

// fetch gets the packages, which the store keeps by their digest.
func (q *Request) fetch(ctx context.Context, r *debian.Reader, needed []*debian.Package) ([]payload.Package, error) {
	var total, before int64
	for _, p := range needed {
		total += p.File.Size
	}
	var all []payload.Package
	for _, p := range needed {
		r.Progress = func(_ string, done, _ int64) { q.progress("packages", before+done, total) }
		if _, err := r.Fetch(ctx, p); err != nil {
			return nil, fmt.Errorf("get package %s: %w", p, err)
		}
		before += p.File.Size
		q.progress("packages", before, total)
		all = append(all, payload.Package{Name: p.Name, Version: p.Version, File: p.File})
	}
	return all, nil
}
