package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"picluster/internal/joinapi"
	"picluster/internal/node"
	"picluster/internal/secret"
)

// enroll is the first contact: it binds a card to a device key and a board.
func (s *Service) enroll(c caller, q joinapi.EnrollRequest) (*joinapi.Enrollment, error) {
	const action = "enroll"
	if c.kind != cardKind {
		return nil, s.refuse(c, action, nil, refuse(joinapi.NotAllowed, "only a card enrolls, this is %s %s", c.kind, c.cardID))
	}
	public, key, err := requestedKey(q.CSR)
	if err != nil || q.Hardware.MachineID == "" {
		return nil, refuse(joinapi.BadRequest, "the request has no usable key or no machine-id")
	}
	have, unlock := s.of(c.cardID)
	defer unlock()
	if key == c.key {
		return nil, s.refuse(c, action, have, refuse(joinapi.ForeignKey, "card %s wants to go on with its own key; a Pi makes another", c.cardID))
	}
	next, err := s.placed(c, have, contact{c.peer, key, q.Hardware, s.now()}, public)
	if err != nil {
		return nil, err
	}
	if next, err = s.named(c, next); err != nil {
		return nil, err
	}
	return s.enrollment(next), nil
}

// placed returns the record that a contact has, or has now.
func (s *Service) placed(c caller, have *record, at contact, public *ecdsa.PublicKey) (*record, error) {
	s.placing.Lock()
	defer s.placing.Unlock()
	next, refusal := s.rules.enroll(have, s.all(), at)
	e := c.entry("enroll")
	switch {
	case refusal != nil && next == have:
		return nil, s.refuse(c, e.Action, have, refusal)
	case refusal != nil:
		return nil, errors.Join(s.keep(c.alarm(e.Action, refusal, at.hardware), next), refusal)
	case next == have && have.Certificate != "":
		return have, nil
	}
	next = next.clone() // of a card that was bound anew, too
	var err error
	if next.Certificate, err = s.authority.certify(public, next.CardID, next.Generation, at.now); err != nil {
		return nil, err
	}
	e.Text = next.Why
	return next, s.keep(e, next)
}

func (s *Service) enrollment(r *record) *joinapi.Enrollment {
	e := &joinapi.Enrollment{Certificate: r.Certificate, Time: s.now()}
	if r.Node != "" && r.State != joinapi.Waiting {
		id := s.identity(r)
		e.Identity = &id
	}
	return e
}

// named gives a spare the lowest free name, once it may have one. Without a free
// one the record comes back as it is.
func (s *Service) named(c caller, r *record) (*record, error) {
	if r.Node != "" || r.State == joinapi.Waiting {
		return r, nil
	}
	s.placing.Lock()
	defer s.placing.Unlock()
	name, address, ok := s.rules.names.free(s.rules.taken(s.all()))
	if !ok {
		return r, nil
	}
	next := r.clone()
	next.Node, next.Address, next.Role = name, address, node.Worker
	e := c.entry("name")
	e.Text = fmt.Sprintf("%s becomes %s", r.Name, name)
	return next, s.keep(e, next)
}

// identity is what the inventory and the service say a card is.
func (s *Service) identity(r *record) joinapi.Identity {
	return joinapi.Identity{Node: r.Node, Role: r.Role, Address: r.Address, Labels: r.Labels, Peers: s.peers()}
}

// peers are the nodes of the desk and those that came later.
func (s *Service) peers() []node.Peer { return peersOf(s.rules.names.peers, s.all()) }

// deviceRecord finds the record of a device that calls. The caller unlocks.
func (s *Service) deviceRecord(c caller, action string) (r *record, unlock func(), err error) {
	if c.kind != deviceKind {
		return nil, nil, s.refuse(c, action, nil, refuse(joinapi.NotAllowed, "%s %s is not enrolled yet", c.kind, c.cardID))
	}
	r, unlock = s.of(c.cardID)
	refusal := r.admits(c.peer)
	if refusal == nil && action != "renew" && c.expired(s.now()) {
		refusal = refuse(joinapi.CardExpired, "the device certificate of card %s expired on %s; it has to be renewed", c.cardID, c.notAfter.Format(time.DateOnly))
	}
	if refusal != nil {
		defer unlock()
		return nil, nil, s.refuse(c, action, r, refusal)
	}
	return r, unlock, nil
}

// join answers what a node joins with, or why it has to wait.
func (s *Service) join(ctx context.Context, c caller, q joinapi.JoinRequest) (*joinapi.JoinAnswer, error) {
	r, unlock, err := s.deviceRecord(c, "join")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if r.State == joinapi.Joined && !q.Rejoin {
		return nil, refuse(joinapi.AlreadyJoined, "card %s has joined as %s", r.CardID, r.Node)
	}
	if err := s.sameBoard(c, "join", r, q.Hardware); err != nil {
		return nil, err
	}
	answer := &joinapi.JoinAnswer{Time: s.now()}
	if r, err = s.named(c, r); err != nil {
		return nil, err
	}
	if answer.Pending = s.mustWait(r); answer.Pending != nil {
		return answer, nil
	}
	ca, next, pending := s.vacate(ctx, r)
	if answer.Pending = pending; pending != nil {
		return answer, nil
	}
	if next, err = s.ensureToken(ctx, c, r, next); err != nil {
		return nil, err
	}
	t := Token{next.Token.ID, next.Token.Secret.Text, next.Node, next.CardID, next.Token.Expires}
	if err := s.options.Cluster.Admit(ctx, t); err != nil {
		answer.Pending = s.notReady(err)
		return answer, nil
	}
	answer.Bundle = &joinapi.Bundle{Identity: s.identity(next), Endpoint: s.options.Endpoint, CA: ca,
		Token: secret.NewWire(t.ID + "." + t.Secret.Reveal()), Expires: t.Expires}
	return answer, nil
}

// sameBoard refuses a card that was put into another Pi, and keeps that for the
// operator.
func (s *Service) sameBoard(c caller, action string, r *record, h joinapi.Hardware) error {
	if h.Same(r.Hardware) {
		return nil
	}
	next, refusal := conflicting(r, contact{c.peer, c.key, h, s.now()})
	if next == r {
		return s.refuse(c, action, r, refusal)
	}
	return errors.Join(s.keep(c.alarm(action, refusal, h), next), refusal)
}

// mustWait is what a record alone says about waiting.
func (s *Service) mustWait(r *record) *joinapi.Pending {
	switch {
	case r.State == joinapi.Waiting:
		return wait(joinapi.AwaitingApproval, "%s; `clusterctl node approve %s` lets it in", r.Why, r.CardID)
	case r.Node == "":
		return wait(joinapi.NoFreeName, "there is no free name for %s in the cluster's subnet", r.Name)
	case r.State == joinapi.Joined && s.options.Policy.ApproveRejoins && !r.Approved:
		return wait(joinapi.AwaitingApproval, "%s wants to join again; `clusterctl node approve %s` lets it", r.Node, r.CardID)
	case s.options.Cluster == nil:
		return s.notReady(nil)
	}
	now := s.now()
	if r.issuedSince(now.Add(-24*time.Hour)) >= tokensPerDay && !r.reusable(now) && !r.Approved {
		return wait(joinapi.TooManyTokens, "%s has had %d tokens within a day; it gets another one later, or by `clusterctl node approve %s`", r.Node, tokensPerDay, r.CardID)
	}
	return nil
}

func wait(reason joinapi.Reason, format string, args ...any) *joinapi.Pending {
	return &joinapi.Pending{Reason: reason, Text: fmt.Sprintf(format, args...), RetryAfter: pendingSeconds}
}

func (s *Service) notReady(err error) *joinapi.Pending {
	if err != nil {
		s.options.Log.Info("control plane", "error", err)
	}
	return wait(joinapi.ControlPlaneNotReady, "the control plane on %s is not ready yet", s.options.Config.Name)
}

// vacate sees to it that the node's name is free: a node that is Ready has an owner.
func (s *Service) vacate(ctx context.Context, r *record) (ca string, next *record, pending *joinapi.Pending) {
	next = r.clone()
	for _, rival := range s.all() {
		if rival.CardID == r.CardID || rival.Node != r.Node || rival.State.Out() {
			continue
		}
		if rival.Name != r.Name && !r.Approved {
			return "", nil, wait(joinapi.AwaitingApproval, "card %s (%s) is %s; `clusterctl node approve %s` replaces it", rival.CardID, rival.Name, r.Node, r.CardID)
		}
		next.Supersedes = append(next.Supersedes, rival.CardID)
	}
	cluster := s.options.Cluster
	ca, err := cluster.CA(ctx)
	if err != nil {
		return "", nil, s.notReady(err)
	}
	n, err := cluster.Node(ctx, r.Node)
	switch {
	case err != nil:
		return "", nil, s.notReady(err)
	case n == nil || r.NodeUID != "" && n.UID == r.NodeUID:
		return ca, next, nil
	case n.Ready && !r.Approved:
		return "", nil, wait(joinapi.AwaitingApproval, "node %s is Ready, with another card or from before; it is replaced once it is not, or by `clusterctl node approve %s`", r.Node, r.CardID)
	}
	if err := cluster.RemoveNode(ctx, r.Node, n.UID); err != nil {
		return "", nil, s.notReady(err)
	}
	return ca, next, nil
}

// reusable reports whether the token is good for the same join once more. One
// that a kubelet key has been certified with is not: who asks again starts anew,
// with another key.
func (r *record) reusable(now time.Time) bool {
	return r.State == joinapi.TokenIssued && r.Token.live(now) && r.CSRKey == ""
}

// ensureToken returns the record with a live token, on the disk.
func (s *Service) ensureToken(ctx context.Context, c caller, r, next *record) (*record, error) {
	now := s.now()
	if r.reusable(now) && len(next.Supersedes) == len(r.Supersedes) {
		return r, nil
	}
	if r.Token != nil {
		// Best effort: nothing is approved for it any more once the record is saved,
		// and it expires.
		if err := s.options.Cluster.Dismiss(ctx, r.Token.ID); err != nil {
			s.options.Log.Info("dismiss token", "error", err)
		}
	}
	next.State, next.CSRKey, next.Approved = joinapi.TokenIssued, "", false
	next.Token = &token{randomText(6), secret.NewWire(randomText(16)), now.Add(tokenLife)}
	next.issuedSince(now.Add(-24 * time.Hour))
	next.Issued = append(next.Issued, now)
	e := c.entry("token")
	if len(next.Supersedes) > len(r.Supersedes) {
		e.Text = fmt.Sprintf("supersedes card %s", next.Supersedes[len(next.Supersedes)-1])
	}
	return next, s.keep(e, next)
}

// randomText is of the characters that a bootstrap token is made of.
func randomText(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz012345" // 32 of the 36 allowed: 5 bits each
	b := make([]byte, n)
	rand.Read(b) // never fails: the runtime ends the program instead
	for i := range b {
		b[i] = letters[b[i]&31]
	}
	return string(b)
}

// joined ends a join: the node is there, and the token has done its work.
func (s *Service) joined(ctx context.Context, c caller, q joinapi.JoinedRequest) error {
	r, unlock, err := s.deviceRecord(c, "joined")
	if err != nil {
		return err
	}
	defer unlock()
	if r.State == joinapi.Joined {
		return nil
	}
	if r.State != joinapi.TokenIssued || s.options.Cluster == nil {
		return s.refuse(c, "joined", r, refuse(joinapi.NoNode, "card %s has had no token", r.CardID))
	}
	n, err := s.options.Cluster.Node(ctx, r.Node)
	switch {
	case err != nil:
		return refuse(joinapi.Unavailable, "the API server does not answer")
	case n == nil:
		return refuse(joinapi.NoNode, "there is no node %s yet", r.Node)
	case r.CSRKey == "" || q.NodeUID != "" && q.NodeUID != n.UID:
		return s.refuse(c, "joined", r, refuse(joinapi.NotYourNode, "node %s is not the one of card %s", r.Node, r.CardID))
	}
	// First the token, then the state: a repetition after a power cut does both.
	if err := s.options.Cluster.Dismiss(ctx, r.Token.ID); err != nil {
		return refuse(joinapi.Unavailable, "the API server does not answer")
	}
	next := r.clone()
	next.State, next.Token, next.NodeUID, next.Issued = joinapi.Joined, nil, n.UID, nil
	return s.keep(c.entry("joined"), next)
}

// renew makes a new certificate for the device key that is enrolled.
func (s *Service) renew(c caller, q joinapi.RenewRequest) (*joinapi.Enrollment, error) {
	r, unlock, err := s.deviceRecord(c, "renew")
	if err != nil {
		return nil, err
	}
	defer unlock()
	public, key, err := requestedKey(q.CSR)
	switch {
	case err != nil:
		return nil, refuse(joinapi.BadRequest, "the request has no usable key")
	case key != r.DeviceKey:
		return nil, s.refuse(c, "renew", r, refuse(joinapi.ForeignKey, "card %s wants a certificate for another key", r.CardID))
	case c.expired(s.now()) && !r.Approved:
		return nil, s.refuse(c, "renew", r, refuse(joinapi.AwaitingApproval, "the certificate of card %s expired on %s; `clusterctl node approve %s` renews it",
			r.CardID, c.notAfter.Format(time.DateOnly), r.CardID))
	}
	if err := s.sameBoard(c, "renew", r, q.Hardware); err != nil {
		return nil, err
	}
	next := r.clone()
	next.Approved = next.Approved && !c.expired(s.now())
	if next.Certificate, err = s.authority.certify(public, r.CardID, r.Generation, s.now()); err != nil {
		return nil, err
	}
	if err := s.keep(c.entry("renew"), next); err != nil {
		return nil, err
	}
	return s.enrollment(next), nil
}

// event keeps the latest word of a Pi, in memory: it comes again.
func (s *Service) event(c caller, e joinapi.Event) (*joinapi.Standing, error) {
	r, unlock, err := s.deviceRecord(c, "event")
	if err != nil {
		return nil, err
	}
	unlock()
	s.mu.Lock()
	s.events[c.cardID] = cardEvent{e, s.now()}
	s.mu.Unlock()
	return &joinapi.Standing{Identity: s.identity(r), Time: s.now()}, nil
}
