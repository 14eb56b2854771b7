package joinapi

// State is where a card stands.
type State string

const (
	Provisioned  State = "provisioned" // made on the desk, not seen yet; never on disk
	Waiting      State = "awaiting-approval"
	Enrolled     State = "enrolled"
	TokenIssued  State = "token-issued"
	Joined       State = "joined"
	RevokedState State = "revoked"    // for good
	Replaced     State = "superseded" // a newer card of its name has its place
	Removed      State = "removed"    // its name is free again
)

// Out tells the states that no card comes back from.
func (s State) Out() bool { return s == RevokedState || s == Replaced || s == Removed }

// Actions of the operator on a card.
const (
	Approve = "approve" // lets it go on, whatever it waits for
	Revoke  = "revoke"  // for good
	Rebind  = "rebind"  // accepts the board, or the key, that was in conflict
	Remove  = "remove"  // its name is free again
)
