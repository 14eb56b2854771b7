// Package secrets is a cluster's bundle of keys and certificates on the
// operator's laptop: the directory secrets/ beside cluster.yaml.
//
//	cluster.json                who the cluster is; its time is the time of every card
//	ca/enrolment.{key,crt}      root of trust. The key never leaves the laptop
//	ca/device.{key,crt}         signs what Pis make for themselves; goes to node0's card
//	join/gN/server.{key,crt}    the join service; goes to node0's card
//	operator/operator.{key,crt} what clusterctl shows to the join service
//	operator/id_ed25519{,.pub}  the operator's SSH key
//	cards/NAME/ssh_host_ed25519_key{,.pub}
//	cards/NAME/gN/card.{key,crt,json}
//	known_hosts                 for ssh; the one file that Init rewrites
//	cards.json, written/        the ledger: which card went to which device
//
// What a card of one generation consists of appears as a whole, by the rename of
// its directory; every other file by its own rename. So a power cut leaves a
// bundle that the next Init completes. What is there is never changed: Init adds
// what is missing, Renew adds a generation. The device CA and the operator's
// certificate are renewed by removing both of their files and running Init.
//
// Who must trust whom: a client of the join service pins the enrolment CA and
// the service's only DNS name, so addresses may change. Cards and the operator
// are certified by the enrolment CA itself. The device CA is one certificate
// further down and lies on node0's card: whoever verifies a card's or an
// operator's certificate must insist that the enrolment CA is its direct issuer,
// or the thief of that card is an operator.
//
// What goes onto a card is package plan's business, how it gets there package
// card's, and serving joins the Pi's.
package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"picluster/internal/secret"
)

// Bundle is a complete set of secrets, read into memory. It prints no key with
// any verb. It is not safe for concurrent use; several processes may work on
// one directory.
type Bundle struct {
	store       *store
	cluster     cluster
	enrolment   pair
	device      pair
	service     pair
	operator    pair
	operatorSSH sshPair
	cards       map[string]*Card
}

// Open reads the bundle in dir and checks that its parts belong together. An
// error is fs.ErrNotExist where there is no bundle or a part of it is missing:
// Init makes it. It is an *ExposedError where others may read the keys.
func Open(dir string) (*Bundle, error) {
	b, err := load(&store{dir: dir})
	if err != nil {
		return nil, fmt.Errorf("open secrets %s: %w", dir, err)
	}
	return b, nil
}

func load(s *store) (*Bundle, error) {
	if err := s.checkModes(); err != nil {
		return nil, err
	}
	b := &Bundle{store: s, cards: map[string]*Card{}}
	if err := s.readJSON(clusterFile, &b.cluster); err != nil {
		return nil, err
	}
	if err := b.cluster.check(); err != nil {
		return nil, fmt.Errorf("read %s: %w", clusterFile, err)
	}
	if err := b.loadAuthorities(); err != nil {
		return nil, err
	}
	var err error
	if b.operatorSSH, err = s.readSSH(operatorSSHKey); err != nil {
		return nil, err
	}
	names, err := s.list(cardsDir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := b.loadCard(name); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *Bundle) loadAuthorities() (err error) {
	if b.enrolment, err = b.store.readPair(enrolmentName, nil); err != nil {
		return err
	}
	if b.device, err = b.store.readPair(deviceName, &b.enrolment); err != nil {
		return err
	}
	if b.operator, err = b.store.readPair(operatorName, &b.enrolment); err != nil {
		return err
	}
	return b.loadService()
}

func (b *Bundle) loadService() error {
	g, err := b.store.generation(joinDir)
	if err != nil {
		return err
	}
	if g == 0 {
		return fmt.Errorf("read %s: no server certificate: %w", joinDir, fs.ErrNotExist)
	}
	name := serviceName(g)
	if b.service, err = b.store.readPair(name, &b.enrolment); err != nil {
		return err
	}
	if want := b.cluster.serviceURN(g); !b.service.hasURN(want) {
		return fmt.Errorf("read %s.crt: it is not for %s", name, want)
	}
	return nil
}

// Dir is the directory of the bundle.
func (b *Bundle) Dir() string { return b.store.dir }

// ID is the cluster's identity: a random UUID in lower case, the same for ever.
func (b *Bundle) ID() string { return b.cluster.ID }

// Created is when the bundle was made, in UTC and whole seconds.
func (b *Bundle) Created() time.Time { return b.cluster.Created }

// ServerName is the join service's only DNS name. It resolves nowhere: clients
// ask for it whatever address they talk to.
func (b *Bundle) ServerName() string { return b.cluster.serverName() }

// CA is the certificate of the enrolment CA, PEM. Every card pins it.
func (b *Bundle) CA() string { return b.enrolment.pem }

// DeviceCA is the certificate of the device CA, PEM.
func (b *Bundle) DeviceCA() string { return b.device.pem }

// DeviceCAKey is the key of DeviceCA, PEM, for the control plane's card.
func (b *Bundle) DeviceCAKey() secret.Text { return b.device.key }

// ServerCertificate is the join service's certificate, PEM.
func (b *Bundle) ServerCertificate() string { return b.service.pem }

// ServerKey is the key of ServerCertificate, PEM, for the control plane's card.
func (b *Bundle) ServerKey() secret.Text { return b.service.key }

// OperatorPublicKey is the operator's SSH key as a line of authorized_keys,
// without its line end.
func (b *Bundle) OperatorPublicKey() string { return b.operatorSSH.public }

// Card returns the newest generation of the card for a node, or for a spare
// ("spare-1"). The error is fs.ErrNotExist where Init has to make it first.
func (b *Bundle) Card(name string) (*Card, error) {
	if c := b.cards[name]; c != nil {
		return c, nil
	}
	return nil, &NoCardError{Dir: b.store.dir, Name: name}
}

// NoCardError says that a node or spare was added to cluster.yaml after the last
// Init.
type NoCardError struct{ Dir, Name string }

func (e *NoCardError) Error() string {
	return fmt.Sprintf("find card %s: %s has no such card", e.Name, e.Dir)
}

// Is makes a missing card one of the things that Init makes.
func (e *NoCardError) Is(target error) bool { return target == fs.ErrNotExist }

// Names inside the bundle, with slashes. A name of a pair lacks its ".key" and
// ".crt".
const (
	clusterFile    = "cluster.json"
	enrolmentName  = "ca/enrolment"
	deviceName     = "ca/device"
	joinDir        = "join"
	operatorName   = "operator/operator"
	operatorSSHKey = "operator/id_ed25519"
	cardsDir       = "cards"
	knownHostsFile = "known_hosts"
	ledgerFile     = "cards.json"
	sumsDir        = "written"
)

func serviceName(generation int) string {
	return path.Join(joinDir, generationName(generation), "server")
}

// readPair reads a key and its certificate, which issuer must have signed; nil
// stands for the certificate itself.
func (s *store) readPair(name string, issuer *pair) (pair, error) {
	key, err := s.read(name + ".key")
	if err != nil {
		return pair{}, err
	}
	cert, err := s.read(name + ".crt")
	if err != nil {
		return pair{}, err
	}
	p, err := newPair(string(cert), secret.New(string(key)))
	if err != nil {
		return pair{}, fmt.Errorf("read %s.{key,crt}: %w", name, err)
	}
	if issuer == nil {
		issuer = &p
	}
	if p.cert.CheckSignatureFrom(issuer.cert) != nil {
		return pair{}, fmt.Errorf("read %s.crt: %w", name, errForeign)
	}
	return p, nil
}

var errForeign = errors.New("this cluster's enrolment CA has not signed it")
