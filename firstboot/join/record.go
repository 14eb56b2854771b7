package join

import (
	"net/netip"
	"slices"
	"time"

	"picluster/internal/joinapi"
	"picluster/internal/node"
	"picluster/internal/secret"
)

// record is what the service knows of one card that it has seen: one file.
type record struct {
	Version    int               `json:"version"`
	CardID     string            `json:"cardID"`
	Generation int               `json:"generation"`
	Name       string            `json:"name"` // on the card
	Role       node.Role         `json:"role"` // spare, until it has a name
	Labels     map[string]string `json:"labels,omitempty"`
	Node       string            `json:"node,omitempty"`
	Address    netip.Prefix      `json:"address,omitzero"`

	State    joinapi.State `json:"state"`
	Why      string        `json:"why,omitempty"` // it waits for approval
	Approved bool          `json:"approved,omitempty"`
	Changed  time.Time     `json:"changed"`

	CardKey     string           `json:"cardKey"` // SHA-256 of the public key, hex
	DeviceKey   string           `json:"deviceKey"`
	Certificate string           `json:"certificate"` // of DeviceKey
	Hardware    joinapi.Hardware `json:"hardware"`
	Conflict    *conflict        `json:"conflict,omitempty"`

	Token   *token      `json:"token,omitempty"`
	Issued  []time.Time `json:"issued,omitempty"` // tokens of the last day
	CSRKey  string      `json:"csrKey,omitempty"` // the one kubelet key that the token has got a certificate for
	NodeUID string      `json:"nodeUID,omitempty"`

	Supersedes []string `json:"supersedes,omitempty"` // card ids

	Audit joinapi.Anchor `json:"audit"` // the newest entry about this card
}

const recordVersion = 1

// conflict is other hardware, or another key, that has shown this card.
type conflict struct {
	Hardware  joinapi.Hardware `json:"hardware"`
	DeviceKey string           `json:"deviceKey"`
	Time      time.Time        `json:"time"`
}

// token is a bootstrap token that was made for the card.
type token struct {
	ID      string      `json:"id"`
	Secret  secret.Wire `json:"secret"`
	Expires time.Time   `json:"expires"`
}

func (t *token) live(now time.Time) bool { return t != nil && now.Before(t.Expires) }

// clone is a copy that can be changed while others read the record.
func (r *record) clone() *record {
	c := *r
	c.Issued, c.Supersedes = slices.Clone(r.Issued), slices.Clone(r.Supersedes)
	return &c
}

// issuedSince forgets the tokens made before t and counts the rest.
func (r *record) issuedSince(t time.Time) int {
	r.Issued = slices.DeleteFunc(r.Issued, func(at time.Time) bool { return at.Before(t) })
	return len(r.Issued)
}

// admits says whether the owner of that key may call as this card, and as what.
func (r *record) admits(p *peer) *joinapi.Refusal {
	switch {
	case r == nil:
		return refuse(joinapi.NotEnrolled, "card %s is not enrolled here", p.cardID)
	case r.DeviceKey != p.key:
		return refuse(joinapi.ForeignKey, "card %s is enrolled with another key", p.cardID)
	}
	return r.outRefusal()
}

// outRefusal refuses a card that is out.
func (r *record) outRefusal() *joinapi.Refusal {
	switch r.State {
	case joinapi.RevokedState:
		return refuse(joinapi.Revoked, "card %s of %s was revoked", r.CardID, r.label())
	case joinapi.Replaced:
		return refuse(joinapi.Superseded, "card %s of %s was replaced by a newer card", r.CardID, r.label())
	case joinapi.Removed:
		return refuse(joinapi.Revoked, "card %s of %s was removed from the cluster", r.CardID, r.label())
	}
	return nil
}

// label is the best name that the card has.
func (r *record) label() string {
	if r.Node != "" {
		return r.Node
	}
	return r.Name
}

func (r *record) wait(why string) {
	r.State, r.Why = joinapi.Waiting, why
}
