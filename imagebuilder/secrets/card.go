package secrets

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"time"

	"picluster/internal/secret"
)

// Card is the identity of one card: a node's, or a spare's. It prints no key
// with any verb.
type Card struct {
	record cardRecord
	pair   pair
	host   sshPair
}

// cardRecord is card.json.
type cardRecord struct {
	ID         string    `json:"id"`
	Generation int       `json:"generation"`
	Node       string    `json:"node"`
	Created    time.Time `json:"created"`
}

// Name is the node's name, or "spare-1" and so on.
func (c *Card) Name() string { return c.record.Node }

// ID names this generation of the card: 16 random hex digits. Revoking it leaves
// the next generation alone.
func (c *Card) ID() string { return c.record.ID }

// Generation counts the identities made for this name, from 1.
func (c *Card) Generation() int { return c.record.Generation }

// Created is when this generation was made, in UTC and whole seconds.
func (c *Card) Created() time.Time { return c.record.Created }

// Expires is when node0 stops to accept the card for a first contact. A card
// that has joined by then needs it no more.
func (c *Card) Expires() time.Time { return c.pair.cert.NotAfter }

// Certificate is the card's client certificate, PEM.
func (c *Card) Certificate() string { return c.pair.pem }

// Key is the key of Certificate, PEM.
func (c *Card) Key() secret.Text { return c.pair.key }

// HostKey is the SSH host key of the machine, an OpenSSH private key file. All
// generations have the same, so that known_hosts stays true.
func (c *Card) HostKey() secret.Text { return c.host.private }

// HostPublicKey is the public half of HostKey, a line without its line end.
func (c *Card) HostPublicKey() string { return c.host.public }

// Renew gives a card its next generation: a new id, key and certificate, for a
// card that is written again or has expired. The older generation stays in the
// bundle. A renewed control plane also gets the next generation of the join
// service, because its old card must not serve any more.
func (b *Bundle) Renew(name string, want Want) (*Card, error) {
	c, err := b.renew(name, want)
	if err != nil {
		return nil, fmt.Errorf("renew card %s: %w", name, err)
	}
	return c, nil
}

func (b *Bundle) renew(name string, want Want) (*Card, error) {
	if err := b.fits(want); err != nil {
		return nil, err
	}
	if !slices.Contains(want.names(), name) || b.cards[name] == nil {
		return nil, &NoCardError{Dir: b.store.dir, Name: name}
	}
	unlock, err := b.store.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	m := maker{b.store, want, want.now(), b.cluster, b.enrolment}
	// The service first: a power cut between the two leaves a card that is still
	// to be renewed, and never a renewed card with the old service on it.
	if want.controlPlane(name) {
		if err := m.nextService(); err != nil {
			return nil, err
		}
		if err := b.loadService(); err != nil {
			return nil, err
		}
	}
	if err := m.nextCard(name); err != nil {
		return nil, err
	}
	if err := b.loadCard(name); err != nil {
		return nil, err
	}
	return b.Card(name)
}

func cardDir(name string) string     { return path.Join(cardsDir, name) }
func hostKeyName(name string) string { return path.Join(cardDir(name), "ssh_host_ed25519_key") }

// loadCard reads the newest generation of a card. A directory that has none is
// one whose making was cut short.
func (b *Bundle) loadCard(name string) error {
	g, err := b.store.generation(cardDir(name))
	if err != nil || g == 0 {
		return err
	}
	dir := path.Join(cardDir(name), generationName(g))
	var c Card
	if err := b.store.readJSON(path.Join(dir, "card.json"), &c.record); err != nil {
		return err
	}
	if c.pair, err = b.store.readPair(path.Join(dir, "card"), &b.enrolment); err != nil {
		return err
	}
	r := c.record
	if r.Node != name || r.Generation != g || !c.pair.hasURN(b.cluster.cardURN(r.ID, g)) {
		return fmt.Errorf("read %s: its files do not belong together", dir)
	}
	if c.host, err = b.store.readSSH(hostKeyName(name)); err != nil {
		return err
	}
	b.cards[name] = &c
	return nil
}

// nextCard makes the next generation of a card.
func (m *maker) nextCard(name string) error {
	g, err := m.store.generation(cardDir(name))
	if err != nil {
		return err
	}
	r := cardRecord{ID: randomHex(8), Generation: g + 1, Node: name, Created: m.now}
	p, err := issue(m.cluster.cardTemplate(r, m.want.cardTTL()), &m.enrolment)
	if err != nil {
		return err
	}
	record, err := marshal(r)
	if err != nil {
		return err
	}
	return m.store.writeDir(path.Join(cardDir(name), generationName(g+1)), []file{
		{"card.key", []byte(p.key.Reveal()), privateFile},
		{"card.crt", []byte(p.pem), publicFile},
		{"card.json", record, publicFile},
	})
}

// nextService makes the next generation of the join service.
func (m *maker) nextService() error {
	g, err := m.store.generation(joinDir)
	if err != nil {
		return err
	}
	p, err := issue(m.cluster.serviceTemplate(g+1, m.now), &m.enrolment)
	if err != nil {
		return err
	}
	return m.store.writeDir(path.Join(joinDir, generationName(g+1)), []file{
		{"server.key", []byte(p.key.Reveal()), privateFile},
		{"server.crt", []byte(p.pem), publicFile},
	})
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: the runtime ends the program instead
	return hex.EncodeToString(b)
}

// marshal writes a document that people may read, too.
func marshal(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}
