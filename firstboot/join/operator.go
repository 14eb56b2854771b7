package join

import (
	"context"
	"io"
	"slices"

	"picluster/internal/joinapi"
)

// cardList lists all cards: those of the inventory that were not here yet, then
// those that were.
func (s *Service) cardList(c caller) ([]joinapi.CardStatus, error) {
	if c.kind != operatorKind {
		return nil, s.refuse(c, "list", nil, refuse(joinapi.NotAllowed, "that is the operator's"))
	}
	all := s.all()
	var list []joinapi.CardStatus
	for _, c := range s.rules.inventory.Cards {
		if slices.ContainsFunc(all, func(r *record) bool { return r.CardID == c.CardID }) {
			continue
		}
		list = append(list, joinapi.CardStatus{CardID: c.CardID, Generation: c.Generation, Name: c.Node, State: joinapi.Provisioned})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range all {
		st := joinapi.CardStatus{CardID: r.CardID, Generation: r.Generation, Name: r.Name, Node: r.Node, State: r.State,
			Why: r.Why, Hardware: &r.Hardware, Changed: r.Changed}
		if r.Conflict != nil {
			st.Conflict = &r.Conflict.Hardware
		}
		if e, ok := s.events[r.CardID]; ok {
			st.Event, st.EventTime = &e.Event, e.time
		}
		list = append(list, st)
	}
	return list, nil
}

// find takes a card's id, or the name of a node or card, which then is its newest
// card that is not out.
func (s *Service) find(name string) (cardID string, ok bool) {
	if cardIDForm.MatchString(name) {
		return name, true
	}
	generation := 0
	for _, r := range s.all() {
		if (r.Node == name || r.Name == name) && !r.State.Out() && r.Generation > generation {
			cardID, generation = r.CardID, r.Generation
		}
	}
	if c := s.rules.inventory.byName[name]; cardID == "" && c != nil {
		cardID = c.CardID
	}
	return cardID, cardID != ""
}

// act does what the operator wants of a card.
func (s *Service) act(ctx context.Context, c caller, name, action string) error {
	if c.kind != operatorKind {
		return s.refuse(c, action, nil, refuse(joinapi.NotAllowed, "that is the operator's"))
	}
	cardID, ok := s.find(name)
	if !ok {
		return refuse(joinapi.NoSuchCard, "there is no card of %s", name)
	}
	r, unlock := s.of(cardID)
	defer unlock()
	next, refusal := s.changed(r, cardID, action)
	if refusal != nil {
		return refusal
	}
	dismissed := next.Token == nil && r != nil && r.Token != nil
	if err := s.keep(c.entry(action), next); err != nil {
		return err
	}
	if dismissed && s.options.Cluster != nil {
		// The token is worth nothing by now, and expires.
		if err := s.options.Cluster.Dismiss(ctx, r.Token.ID); err != nil {
			s.options.Log.Info("dismiss token", "error", err)
		}
	}
	return nil
}

// changed is the record after an operator's action. A card that was stolen before
// its first boot can be revoked too.
func (s *Service) changed(r *record, cardID, action string) (*record, *joinapi.Refusal) {
	if r == nil && action != joinapi.Revoke {
		return nil, refuse(joinapi.NoSuchCard, "card %s has not been here yet", cardID)
	}
	if r == nil {
		r = &record{Version: recordVersion, CardID: cardID}
		if c := s.rules.inventory.byID[cardID]; c != nil {
			r.Generation, r.Name, r.Role = c.Generation, c.Node, c.Role
		}
	}
	next := r.clone()
	switch action {
	case joinapi.Revoke:
		next.State, next.Token = joinapi.RevokedState, nil
		return next, nil
	case joinapi.Remove:
		next.State, next.Token = joinapi.Removed, nil
	case joinapi.Approve:
		next.Approved = true
		if next.State == joinapi.Waiting {
			next.State, next.Why, next.Approved = joinapi.Enrolled, "", false
		}
	case joinapi.Rebind:
		if r.Conflict == nil {
			return nil, refuse(joinapi.NoSuchCard, "card %s has not been seen in another Pi", cardID)
		}
		next.rebind()
	default:
		return nil, refuse(joinapi.BadRequest, "%q is none of approve, revoke, rebind, remove", action)
	}
	return next, r.outRefusal()
}

// rebind binds the card to what was in conflict. A device that has another key gets its
// certificate when it enrolls again, and joins again. One that has the same key is the
// member that it was, on another board.
func (r *record) rebind() {
	if r.Conflict.DeviceKey != r.DeviceKey {
		r.DeviceKey, r.Certificate, r.Token = r.Conflict.DeviceKey, "", nil
		r.State = joinapi.Enrolled
	}
	if r.State == joinapi.Waiting { // the operator has had his say
		r.State, r.Why = joinapi.Enrolled, ""
	}
	r.Hardware, r.Conflict = r.Conflict.Hardware, nil
}

// writeAudit writes the audit log for the operator.
func (s *Service) writeAudit(c caller, w io.Writer) error {
	if c.kind != operatorKind {
		return s.refuse(c, "audit", nil, refuse(joinapi.NotAllowed, "that is the operator's"))
	}
	return s.audit.copyTo(w)
}
