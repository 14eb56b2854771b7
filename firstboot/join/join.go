// Package join is how cards become nodes: node0's join service and its client.
//
// A card proves itself by the certificate that was made for it on the desk. At
// first contact the Pi makes a device key and the service binds card, key and
// hardware to each other; the card's own key is spent then. What a card becomes
// stands in the signed inventory and nowhere in a request. For a card that may
// join the service makes a bootstrap token, valid for minutes, with which one
// certificate is approved: that of the card's own node.
//
// Whatever is answered is on the disk before. So every call can be repeated: an
// answer that was lost, a power cut at either end or a restart cost a repetition
// and nothing else.
//
// The package knows Kubernetes by the interface Cluster; package kube below it
// speaks to a real one. How a Pi is configured is package steps.
package join

import (
	"fmt"
	"net/netip"
	"time"

	"picluster/internal/node"
	"picluster/internal/secret"
)

// Port is where the service listens. It is below the ports that Kubernetes gives
// to services of type NodePort.
const Port = 8643

// Sizes and times of the protocol.
const (
	maxBody  = 16 << 10 // bytes of a request
	maxEvent = 4 << 10  // bytes of an event

	tokenLife      = 15 * time.Minute
	tokensPerDay   = 5
	deviceLife     = 365 * 24 * time.Hour
	backdate       = 7 * 24 * time.Hour // for a Pi whose clock is behind
	pendingSeconds = 10                 // between two questions of a card that waits
)

// Hardware is what a board says of itself. It identifies nobody who wants to lie;
// it finds a card that was copied or put into another board.
type Hardware struct {
	Serial    string   `json:"serial,omitempty"` // of the board, "" where it has none
	MachineID string   `json:"machineID"`        // SHA-256 of /etc/machine-id, hex
	MACs      []string `json:"macs,omitempty"`
	Model     string   `json:"model,omitempty"`
	RAM       int64    `json:"ram,omitempty"` // bytes
}

// same compares what does not change in a board's life. Interfaces come and go.
func (h Hardware) same(other Hardware) bool {
	return h.Serial == other.Serial && h.MachineID == other.MachineID
}

// EnrollRequest is the first contact. The certificate request counts for its key
// alone.
type EnrollRequest struct {
	CSR      []byte   `json:"csr"` // PKCS #10, DER
	Hardware Hardware `json:"hardware"`
}

// Enrollment answers EnrollRequest and RenewRequest.
type Enrollment struct {
	Certificate string    `json:"certificate"` // PEM, with the device CA's behind it
	Identity    *Identity `json:"identity,omitempty"`
	Time        time.Time `json:"time"` // by node0's clock
}

// Identity is what a card is. A spare has none until it has a name.
type Identity struct {
	Node    string            `json:"node"`
	Role    node.Role         `json:"role"`
	Address netip.Prefix      `json:"address"` // its cluster address
	Labels  map[string]string `json:"labels,omitempty"`
	Peers   []node.Peer       `json:"peers"` // every node of the cluster
}

// RenewRequest asks for a new certificate of the same device key.
type RenewRequest struct {
	CSR      []byte   `json:"csr"`
	Hardware Hardware `json:"hardware"`
}

// JoinRequest asks for what a node joins with. Rejoin is for one that has joined
// before and whose kubelet certificate has run out.
type JoinRequest struct {
	Hardware Hardware `json:"hardware"`
	Rejoin   bool     `json:"rejoin,omitempty"`
}

// JoinAnswer has one of the two.
type JoinAnswer struct {
	Pending *Pending  `json:"pending,omitempty"`
	Bundle  *Bundle   `json:"bundle,omitempty"`
	Time    time.Time `json:"time"`
}

// Pending says why a card has to wait.
type Pending struct {
	Reason     Reason `json:"reason"`
	Text       string `json:"text"`
	RetryAfter int    `json:"retryAfter"` // seconds
}

// Bundle is all that a worker needs to join, and nothing more: no key of any
// authority, no administrator's access.
type Bundle struct {
	Identity Identity    `json:"identity"`
	Endpoint string      `json:"endpoint"` // host:port of the API server
	CA       string      `json:"ca"`       // PEM, of the API server
	Token    secret.Wire `json:"token"`    // bootstrap token
	Expires  time.Time   `json:"expires"`  // of the token
}

// JoinedRequest says that the node is there.
type JoinedRequest struct {
	NodeUID string `json:"nodeUID,omitempty"` // "" if the Pi does not know it
}

// Event is where a Pi stands, for people.
type Event struct {
	Phase  string `json:"phase"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
}

// CardStatus is a card as the operator sees it.
type CardStatus struct {
	CardID     string    `json:"cardID"`
	Generation int       `json:"generation"`
	Name       string    `json:"name"` // on the card: "spare-1"
	Node       string    `json:"node,omitempty"`
	State      State     `json:"state"`
	Why        string    `json:"why,omitempty"` // it waits for approval
	Hardware   *Hardware `json:"hardware,omitempty"`
	Conflict   *Hardware `json:"conflict,omitempty"` // other hardware that showed this card
	Changed    time.Time `json:"changed,omitzero"`
	Event      *Event    `json:"event,omitempty"`
	EventTime  time.Time `json:"eventTime,omitzero"`
}

// Reason is why a card was refused or has to wait. Clients compare it; the text
// beside it is for people.
type Reason string

const (
	// Refusals.
	BadRequest      Reason = "bad-request"
	NotAllowed      Reason = "not-allowed" // the wrong kind of certificate for this call
	ForgedCard      Reason = "forged-card" // what the certificate says is not what the inventory says
	CardExpired     Reason = "card-expired"
	Revoked         Reason = "revoked"
	Superseded      Reason = "superseded"
	Quarantined     Reason = "quarantined"
	ForeignKey      Reason = "foreign-key" // the key is not the one that was enrolled
	NotEnrolled     Reason = "not-enrolled"
	AlreadyJoined   Reason = "already-joined"
	NotYourNode     Reason = "not-your-node"
	NoNode          Reason = "no-node"
	TooManyRequests Reason = "too-many-requests"
	NoSuchCard      Reason = "no-such-card"
	Unavailable     Reason = "unavailable" // the service's own disk or the API server

	// Reasons to wait.
	ControlPlaneNotReady Reason = "control-plane-not-ready"
	AwaitingApproval     Reason = "awaiting-approval"
	TooManyTokens        Reason = "too-many-tokens"
	NoFreeName           Reason = "no-free-name"
)

// Refusal is the service's answer to what it does not do.
type Refusal struct {
	Reason     Reason `json:"reason"`
	Text       string `json:"text"`
	RetryAfter int    `json:"retryAfter,omitempty"` // seconds
}

func (r *Refusal) Error() string { return r.Text }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Text: fmt.Sprintf(format, args...)}
}
