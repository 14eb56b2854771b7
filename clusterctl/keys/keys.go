// Package keys is what clusterctl reads of the directory secrets/ that imagebuilder
// has made beside cluster.yaml: who the cluster is, what the operator proves
// himself with, and by which keys its machines are known. It writes nothing.
package keys

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"picluster/internal/secret"
)

// Keys are those of one cluster.
type Keys struct {
	Dir string
	ID  string // of the cluster
}

// Open reads who the cluster is. The error is fs.ErrNotExist where there are no
// secrets.
func Open(dir string) (*Keys, error) {
	k := &Keys{Dir: dir}
	data, err := os.ReadFile(k.path("cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("open secrets: %w", err)
	}
	var cluster struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(data, &cluster); err != nil || cluster.ID == "" {
		return nil, fmt.Errorf("open secrets: %s names no cluster", k.path("cluster.json"))
	}
	k.ID = cluster.ID
	return k, nil
}

func (k *Keys) path(name string) string { return filepath.Join(k.Dir, filepath.FromSlash(name)) }

// KnownHosts is ssh's file with the host keys of all nodes and spares.
func (k *Keys) KnownHosts() string { return k.path("known_hosts") }

// Kubeconfig is where `clusterctl kubeconfig` puts the administrator's access.
func (k *Keys) Kubeconfig() string { return k.path("kubeconfig") }

// ServerName is the join service's only name, whatever its address is
// (imagebuilder/secrets).
func (k *Keys) ServerName() string { return "join." + k.ID }

// Operator is what the join service knows the operator by, and the one authority
// that it is known by itself.
func (k *Keys) Operator() (certificate tls.Certificate, roots *x509.CertPool, err error) {
	certificate, err = tls.LoadX509KeyPair(k.path("operator/operator.crt"), k.path("operator/operator.key"))
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("read operator's certificate: %w", err)
	}
	ca, err := os.ReadFile(k.path("ca/enrolment.crt"))
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("read enrolment CA: %w", err)
	}
	roots = x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return tls.Certificate{}, nil, fmt.Errorf("read enrolment CA: %s has no certificate", k.path("ca/enrolment.crt"))
	}
	return certificate, roots, nil
}

// OperatorExpires is when the operator's certificate ends.
func (k *Keys) OperatorExpires() (time.Time, error) {
	certificate, _, err := k.Operator()
	if err != nil {
		return time.Time{}, err
	}
	return certificate.Leaf.NotAfter, nil
}

// SSHKey is the operator's SSH key, a file of OpenSSH's. The error is
// fs.ErrNotExist where there is none.
func (k *Keys) SSHKey() (secret.Text, error) {
	data, err := os.ReadFile(k.path("operator/id_ed25519"))
	if err != nil {
		return secret.Text{}, fmt.Errorf("read operator's SSH key: %w", err)
	}
	return secret.New(string(data)), nil
}

// Card is one generation of a card that was made here.
type Card struct {
	ID         string `json:"id"`
	Generation int    `json:"generation"`
	Node       string `json:"node"` // or "spare-1"
}

// Cards are all that were made here, for a name the oldest first.
func (k *Keys) Cards() ([]Card, error) {
	files, err := filepath.Glob(k.path("cards/*/g*/card.json"))
	if err != nil {
		return nil, fmt.Errorf("list cards: %w", err)
	}
	var cards []Card
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var c Card
		if err == nil {
			err = json.Unmarshal(data, &c)
		}
		if err != nil {
			return nil, fmt.Errorf("read card %s: %w", file, err)
		}
		cards = append(cards, c)
	}
	slices.SortStableFunc(cards, func(a, b Card) int { return a.Generation - b.Generation })
	return cards, nil
}

// Exposed are the keys that others on this computer may read, none if all is well.
func (k *Keys) Exposed() ([]string, error) {
	var open []string
	err := filepath.WalkDir(k.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".key" && filepath.Base(path) != "id_ed25519" && filepath.Base(path) != "kubeconfig" {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			open = append(open, path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look at secrets: %w", err)
	}
	return open, nil
}
