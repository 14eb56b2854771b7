// Package joinapi is what is said to node0's join service and what it answers: by
// cards and Pis that want to join (firstboot/join), and by the operator
// (clusterctl). All of it is JSON over TLS 1.3 with client certificates.
//
//	POST /v1/enroll                 a card       EnrollRequest → Enrollment
//	POST /v1/join                   a device     JoinRequest → JoinAnswer
//	POST /v1/joined                 a device     JoinedRequest
//	POST /v1/renew                  a device     RenewRequest → Enrollment
//	POST /v1/events                 a device     Event → Standing
//	GET  /v1/cards                  the operator []CardStatus
//	POST /v1/cards/{card}/{action}  the operator
//	GET  /v1/audit                  the operator lines of Entry
//
// Whatever is not done is answered with a Refusal.
package joinapi

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"picluster/internal/node"
	"picluster/internal/secret"
)

// Port is where the service listens. It is below the ports that Kubernetes gives
// to services of type NodePort.
const Port = 8643

// Hardware is what a board says of itself. It identifies nobody who wants to lie;
// it finds a card that was copied or put into another board.
type Hardware struct {
	Serial    string   `json:"serial,omitempty"` // of the board, "" where it has none
	MachineID string   `json:"machineID"`        // SHA-256 of /etc/machine-id, hex
	MACs      []string `json:"macs,omitempty"`
	Model     string   `json:"model,omitempty"`
	RAM       int64    `json:"ram,omitempty"` // bytes
}

// Same compares what does not change in a board's life. Interfaces come and go.
func (h Hardware) Same(other Hardware) bool {
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

// Standing answers Event: what the cluster looks like now.
type Standing struct {
	Identity Identity  `json:"identity"`
	Time     time.Time `json:"time"` // by node0's clock
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

// ReadRefusal reads the answer to a call that was not done. What is no Refusal is not
// the service's; status, of HTTP, is then all there is to say.
func ReadRefusal(status string, body []byte) error {
	var refusal Refusal
	if json.Unmarshal(body, &refusal) != nil || refusal.Reason == "" {
		return fmt.Errorf("the answer is %s", status)
	}
	return &refusal
}

// Short tells boards apart in the audit log.
func (h Hardware) Short() string {
	id := h.MachineID
	return h.Serial + "/" + id[:min(len(id), 12)]
}
