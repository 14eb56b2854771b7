package join

import (
	"fmt"
	"regexp"
	"time"

	"picluster/internal/joinapi"
	"picluster/internal/node"
)

// Policy is what happens without a person's word. The zero value asks one about
// cards that the inventory does not know, and nobody about a known node that
// comes back.
type Policy struct {
	AdmitUnknownCards bool // that the enrolment CA has signed
	ApproveRejoins    bool // a node that has joined before waits for approval
}

// rules are what was decided before the cluster existed, and how to read it.
type rules struct {
	inventory *inventory
	names     names
	policy    Policy
}

var spareName = regexp.MustCompile(`^spare-[0-9]+$`)

// contact is the first contact of a card, or its repetition.
type contact struct {
	peer     *peer
	key      string // of the device
	hardware joinapi.Hardware
	now      time.Time
}

// enroll decides on a contact. have is the card's record, nil at the very first
// contact; all are the records there are. It returns the record to keep, which is
// have itself if there is nothing new, and whether the card is refused. Both may be
// the case: a conflict is kept and refused.
func (d rules) enroll(have *record, all []*record, c contact) (*record, *joinapi.Refusal) {
	if have == nil {
		r, refusal := d.first(all, c)
		if refusal != nil {
			return nil, refusal
		}
		return r, nil
	}
	if refusal := have.outRefusal(); refusal != nil {
		return have, refusal
	}
	if have.CardKey != c.peer.key {
		return have, refuse(joinapi.ForgedCard, "card %s has another key than at its first contact", c.peer.cardID)
	}
	if have.DeviceKey == c.key && have.Hardware.Same(c.hardware) {
		return have, nil
	}
	return conflicting(have, c)
}

// conflicting keeps, once, that another board or key has shown a card. Whoever was
// there first goes on undisturbed.
func conflicting(have *record, c contact) (*record, *joinapi.Refusal) {
	refusal := refuse(joinapi.Quarantined, "card %s is in use in another Pi, or was copied; `clusterctl node approve --rebind %[1]s` accepts this one", c.peer.cardID)
	if x := have.Conflict; x != nil && x.DeviceKey == c.key && x.Hardware.Same(c.hardware) {
		return have, refusal
	}
	next := have.clone()
	next.Conflict = &conflict{c.hardware, c.key, c.now}
	return next, refusal
}

// first makes the record of a card that is new here.
func (d rules) first(all []*record, c contact) (*record, *joinapi.Refusal) {
	if c.peer.expired(c.now) {
		return nil, refuse(joinapi.CardExpired, "the certificate of card %s expired on %s, and it is %s by node0's clock; write the card again",
			c.peer.cardID, c.peer.notAfter.Format(time.DateOnly), c.now.Format(time.DateOnly))
	}
	r := &record{
		Version: recordVersion, CardID: c.peer.cardID, Generation: c.peer.generation, Name: c.peer.name,
		State: joinapi.Enrolled, CardKey: c.peer.key, DeviceKey: c.key, Hardware: c.hardware,
	}
	if refusal := d.place(r, c.peer); refusal != nil {
		return nil, refusal
	}
	for _, other := range all {
		switch {
		case other.Name == r.Name && other.Generation > r.Generation:
			return nil, refuse(joinapi.Superseded, "card %s of %s is older than one that was here already", r.CardID, r.Name)
		case other.DeviceKey == c.key:
			return nil, refuse(joinapi.ForeignKey, "the key of card %s is that of another card's device", r.CardID)
		}
	}
	if twin := twinOf(r, all); twin != "" {
		r.wait(twin)
	}
	return r, nil
}

// place says what the card becomes. Only the inventory knows; nothing that the Pi
// sends is looked at. A card that was written after node0's is not in there: then
// the enrolment CA's signature says which name it was written for.
func (d rules) place(r *record, p *peer) *joinapi.Refusal {
	listed := d.inventory.byID[p.cardID]
	if listed != nil && (!listed.keyIs(p) || listed.Node != p.name) {
		return refuse(joinapi.ForgedCard, "card %s is not as the inventory has it", p.cardID)
	}
	if listed == nil {
		listed = d.inventory.byName[p.name]
		if listed != nil && p.generation <= listed.Generation {
			return refuse(joinapi.Superseded, "card %s of %s is older than the inventory's", p.cardID, p.name)
		}
	}
	switch {
	case listed != nil && listed.Role == node.ControlPlane:
		return refuse(joinapi.NotAllowed, "%s is the control plane; it does not join", p.name)
	case listed != nil:
		r.Role, r.Labels = listed.Role, listed.Labels
	case spareName.MatchString(p.name):
		r.Role = node.Spare
	case hostLabel.MatchString(p.name):
		r.Role = node.Worker
	default:
		return refuse(joinapi.ForgedCard, "card %s names no node", p.cardID)
	}
	if listed == nil && !d.policy.AdmitUnknownCards {
		r.wait(fmt.Sprintf("the inventory on node0 does not know card %s of %s", p.cardID, p.name))
	}
	if r.Role == node.Worker {
		r.Node, r.Address = p.name, d.names.addressOf(p.name)
	}
	return nil
}

// twinOf looks for another card in what seems to be the same Pi: a copied system,
// or a board whose card was exchanged.
func twinOf(r *record, all []*record) string {
	for _, other := range all {
		if other.State.Out() || other.Name == r.Name {
			continue
		}
		if other.Hardware.MachineID == r.Hardware.MachineID {
			return fmt.Sprintf("its machine-id is that of %s; was the card copied after its first boot?", other.label())
		}
		if r.Hardware.Serial != "" && other.Hardware.Serial == r.Hardware.Serial {
			return fmt.Sprintf("its board has been %s", other.label())
		}
	}
	return ""
}

// taken are the names that no spare can have.
func (d rules) taken(all []*record) map[string]bool {
	taken, removed := map[string]bool{}, map[string]bool{}
	for _, r := range all {
		if r.State == joinapi.Removed {
			removed[r.Node] = true
		}
	}
	for _, c := range d.inventory.Cards {
		taken[c.Node] = !removed[c.Node] || c.Role == node.ControlPlane
	}
	for _, r := range all {
		if r.Node != "" && r.State != joinapi.Removed {
			taken[r.Node] = true
		}
	}
	return taken
}
