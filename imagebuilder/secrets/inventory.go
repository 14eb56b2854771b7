package secrets

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"picluster/internal/node"
)

// Inventory is the list of cards that node0 serves joins from: the only source of
// a node's name and role.
//
// It travels as JSON with a detached signature: ECDSA in ASN.1 over the SHA-256
// of the document's exact bytes, by the enrolment CA's key. A reader checks the
// bytes with ecdsa.VerifyASN1 and the public key of the CA certificate before it
// parses them. The document begins with "{", so no certificate can be taken for
// an inventory or the other way round.
type Inventory struct {
	Version int             `json:"version"`
	Cluster string          `json:"cluster"` // the cluster's id
	Cards   []InventoryCard `json:"cards"`   // nodes in the order of cluster.yaml, then spares
}

// InventoryVersion is the form of the document.
const InventoryVersion = 1

// InventoryCard is one card.
type InventoryCard struct {
	CardID          string            `json:"cardID"`
	Generation      int               `json:"generation"`
	PublicKeySHA256 string            `json:"publicKeySHA256"` // hex, of the SubjectPublicKeyInfo
	Node            string            `json:"node"`            // of a spare "spare-1"
	Role            node.Role         `json:"role"`
	Labels          map[string]string `json:"labels,omitempty"`
}

// Inventory returns the signed list of the newest cards of the wanted nodes and
// spares. The same bundle and Want give the same bytes, signature included
// (RFC 6979), so that node0's card can be made again bit by bit.
func (b *Bundle) Inventory(want Want) (doc, signature []byte, err error) {
	if err := b.fits(want); err != nil {
		return nil, nil, fmt.Errorf("make inventory: %w", err)
	}
	inv := Inventory{Version: InventoryVersion, Cluster: b.ID()}
	add := func(name string, role node.Role, labels map[string]string) {
		c, e := b.Card(name)
		if e != nil {
			err = e
			return
		}
		sum := sha256.Sum256(c.pair.cert.RawSubjectPublicKeyInfo)
		inv.Cards = append(inv.Cards, InventoryCard{c.ID(), c.Generation(), hex.EncodeToString(sum[:]), name, role, labels})
	}
	for _, n := range want.Nodes {
		role := node.Worker
		if n.ControlPlane {
			role = node.ControlPlane
		}
		add(n.Name, role, n.Labels)
	}
	for _, name := range want.spareNames() {
		add(name, node.Spare, nil)
	}
	if err == nil {
		doc, err = marshal(inv)
	}
	if err == nil {
		signature, err = b.enrolment.sign(doc)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make inventory: %w", err)
	}
	return doc, signature, nil
}

// sign signs a document. No source of randomness makes ECDSA deterministic.
func (p *pair) sign(doc []byte) ([]byte, error) {
	key, err := parseKey(p.key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(doc)
	return key.Sign(nil, sum[:], crypto.SHA256)
}
