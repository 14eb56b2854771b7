package secrets

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"picluster/internal/secret"
)

// Init makes what is missing in dir and never changes what is there, but for
// known_hosts. It returns the complete bundle and the files it wrote, relative to
// dir with slashes, sorted; a second run writes none. Cards of nodes that are not
// wanted any more stay. An error is an *ExposedError where others may read the
// keys, and an *OtherClusterError where the bundle belongs to another cluster.
//
// The keys come from the system's source of randomness. There is no other: since
// Go 1.26 the standard library takes none.
func Init(dir string, want Want) (*Bundle, []string, error) {
	s := &store{dir: dir}
	b, err := complete(s, want)
	if err != nil {
		return nil, nil, fmt.Errorf("make secrets %s: %w", dir, err)
	}
	return b, slices.Sorted(slices.Values(s.written)), nil
}

// maker adds to a bundle.
type maker struct {
	store     *store
	want      Want
	now       time.Time
	cluster   cluster
	enrolment pair
}

// complete makes what is missing.
func complete(s *store, want Want) (*Bundle, error) {
	if err := want.check(); err != nil {
		return nil, err
	}
	if err := s.create(); err != nil {
		return nil, err
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	m := maker{store: s, want: want, now: want.now()}
	for _, ensure := range []func() error{m.ensureCluster, m.ensureAuthorities, m.ensureService, m.ensureCards} {
		if err := ensure(); err != nil {
			return nil, err
		}
	}
	return load(s)
}

// ensureCluster comes first: without its document nothing else means anything.
func (m *maker) ensureCluster() error {
	// Keys do not belong into git, and the directory lies beside a file that does.
	if err := m.ensure(".gitignore", []byte("*\n"), publicFile); err != nil {
		return err
	}
	if err := m.store.inOrder(clusterFile, "ca"); err != nil {
		return err
	}
	data, err := marshal(cluster{bundleVersion, newUUID(), m.want.Cluster, m.now})
	if err != nil {
		return err
	}
	if err := m.ensure(clusterFile, data, publicFile); err != nil {
		return err
	}
	if err := m.store.readJSON(clusterFile, &m.cluster); err != nil {
		return err
	}
	if err := m.cluster.check(); err != nil {
		return fmt.Errorf("read %s: %w", clusterFile, err)
	}
	return m.cluster.fits(m.want)
}

func (m *maker) ensureAuthorities() error {
	if err := m.store.mkdir("ca"); err != nil {
		return err
	}
	if err := m.store.inOrder(enrolmentName+".key", cardsDir); err != nil {
		return err
	}
	var err error
	if m.enrolment, err = m.ensurePair(enrolmentName, m.cluster.enrolmentTemplate(m.now), nil); err != nil {
		return err
	}
	for _, dir := range []string{joinDir, "operator", cardsDir} {
		if err := m.store.mkdir(dir); err != nil {
			return err
		}
	}
	if _, err := m.ensurePair(deviceName, m.cluster.deviceTemplate(m.now), &m.enrolment); err != nil {
		return err
	}
	if _, err := m.ensurePair(operatorName, m.cluster.operatorTemplate(m.now), &m.enrolment); err != nil {
		return err
	}
	_, err = m.ensureSSH(operatorSSHKey, "picluster@"+m.cluster.Name)
	return err
}

func (m *maker) ensureService() error {
	g, err := m.store.generation(joinDir)
	if err != nil || g > 0 {
		return err
	}
	return m.nextService()
}

func (m *maker) ensureCards() error {
	hosts := map[string]sshPair{}
	for _, name := range m.want.names() {
		if err := m.store.mkdir(cardDir(name)); err != nil {
			return err
		}
		var err error
		if hosts[name], err = m.ensureSSH(hostKeyName(name), name); err != nil {
			return err
		}
		g, err := m.store.generation(cardDir(name))
		if err != nil {
			return err
		}
		if g == 0 {
			if err := m.nextCard(name); err != nil {
				return err
			}
		}
	}
	return m.store.update(knownHostsFile, knownHosts(m.want, hosts), publicFile)
}

// ensure writes a file unless there is one.
func (m *maker) ensure(name string, data []byte, mode fs.FileMode) error {
	have, err := m.store.exists(name)
	if err != nil || have {
		return err
	}
	return m.store.write(name, data, mode)
}

// ensurePair makes what is missing of a key and its certificate.
func (m *maker) ensurePair(name string, template *x509.Certificate, issuer *pair) (pair, error) {
	haveKey, haveCert, err := m.store.halves(name+".key", name+".crt")
	if err != nil {
		return pair{}, err
	}
	if !haveKey {
		key, err := newKey()
		if err != nil {
			return pair{}, err
		}
		if err := m.store.write(name+".key", []byte(key.Reveal()), privateFile); err != nil {
			return pair{}, err
		}
	}
	if !haveCert {
		key, err := m.store.read(name + ".key")
		if err != nil {
			return pair{}, err
		}
		p, err := certify(template, secret.New(string(key)), issuer)
		if err != nil {
			return pair{}, fmt.Errorf("read %s.key: %w", name, err)
		}
		if err := m.store.write(name+".crt", []byte(p.pem), publicFile); err != nil {
			return pair{}, err
		}
	}
	return m.store.readPair(name, issuer)
}

// newUUID returns a random UUID, version 4 of RFC 9562.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
