package join

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"picluster/internal/joinapi"
	"picluster/internal/node"
	"picluster/internal/secret"
)

// Cluster is Kubernetes as the service needs it. Every error is taken for "not
// ready": the card is told to ask again.
type Cluster interface {
	// Admit makes a bootstrap token for a node. One of that id that exists is left.
	Admit(ctx context.Context, t Token) error
	// Dismiss takes a bootstrap token away. None of that id is no error.
	Dismiss(ctx context.Context, id string) error
	// Node looks for a node; nil if there is none.
	Node(ctx context.Context, name string) (*Node, error)
	// RemoveNode deletes a node unless another has its name by now.
	RemoveNode(ctx context.Context, name, uid string) error
	// CA returns the certificate that the API server's is signed with, PEM.
	CA(ctx context.Context) (string, error)
}

// Token is a bootstrap token for exactly one node.
type Token struct {
	ID      string // 6 characters
	Secret  secret.Text
	Node    string
	CardID  string
	Expires time.Time
}

// Node is a node as Kubernetes sees it.
type Node struct {
	UID   string
	Ready bool
}

// Options are a service's surroundings.
type Options struct {
	Config   *node.Config // of node0
	Dir      string       // of its state; absolute
	Endpoint string       // host:port of the API server
	Policy   Policy
	Cluster  Cluster // nil until there is one
	Log      *slog.Logger

	Now   func() time.Time      // nil: the clock
	Fault func(op, path string) // for tests of power cuts; see host.Local
}

// Service is node0's join service.
type Service struct {
	trust
	authority authority
	rules     rules
	options   Options
	store     *store
	audit     *auditLog
	limits    *limits

	mu     sync.Mutex
	cards  map[string]*record // replaced as a whole, never changed
	out    map[string]bool    // cards that a newer record says it supersedes
	events map[string]cardEvent
	busy   map[string]*sync.Mutex // one request of a card at a time

	placing sync.Mutex // one card at a time is new, or gets a name
}

type cardEvent struct {
	joinapi.Event
	time time.Time
}

// Open reads the state of the service, or begins one. Close it.
func Open(o Options) (*Service, error) {
	s, err := open(o)
	if err != nil {
		return nil, fmt.Errorf("open join service: %w", err)
	}
	return s, nil
}

func open(o Options) (*Service, error) {
	c := o.Config
	if c.Join == nil || c.Join.Service == nil {
		return nil, errors.New("node.json has no keys of the join service; they are on node0's card only")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{options: o, cards: map[string]*record{}, out: map[string]bool{}, events: map[string]cardEvent{}, busy: map[string]*sync.Mutex{}}
	if err := s.loadTrust(); err != nil {
		return nil, err
	}
	inv, err := readInventory(s.trust, c.Join.Service.Inventory, c.Join.Service.InventorySig)
	if err != nil {
		return nil, err
	}
	s.rules = rules{inv, names{c.Peers, c.Network.ClusterAddress}, o.Policy}
	if len(c.Peers) == 0 || c.Peers[0].Address != c.Network.ClusterAddress.Addr() {
		return nil, errors.New("the first peer in node.json is not this node")
	}
	var all []*record
	if s.store, all, err = openStore(o.Dir, o.Fault); err != nil {
		return nil, err
	}
	if s.audit, err = openAudit(o.Dir, newest(all), o.Fault); err != nil {
		return nil, err
	}
	s.limits = newLimits(s.now)
	for _, r := range all {
		s.show(r)
	}
	return s, s.checkAudit(all)
}

func (s *Service) loadTrust() (err error) {
	j := s.options.Config.Join
	s.trust.cluster = s.options.Config.Cluster.ID
	if s.root, err = rootOf(j.CA); err != nil {
		return err
	}
	if s.device, err = rootOf(j.Service.DeviceCA); err != nil {
		return err
	}
	if err := s.device.CheckSignatureFrom(s.root); err != nil {
		return fmt.Errorf("read device CA: %w", err)
	}
	key, err := parseKey(j.Service.DeviceCAKey.Text)
	if err != nil {
		return err
	}
	if !key.PublicKey.Equal(s.device.PublicKey) {
		return errors.New("read device CA: the key does not belong to the certificate")
	}
	s.authority = authority{s.trust, key}
	return nil
}

// newest is the last entry of the audit log that a record knows.
func newest(all []*record) (seq int64) {
	for _, r := range all {
		seq = max(seq, r.Audit.Seq)
	}
	return seq
}

// checkAudit raises an alarm if the audit log was changed, or cut off at its end.
func (s *Service) checkAudit(all []*record) error {
	defer func() { s.audit.opened = joinapi.Chain{} }()
	e := joinapi.Entry{Time: s.now(), Who: "service", Action: "open", Result: joinapi.Alarm}
	if s.audit.broken != nil {
		e.Text = "the audit log was damaged and put aside: " + s.audit.broken.Error()
	}
	for _, r := range all {
		if s.audit.broken == nil && s.audit.opened.Lacks(r.Audit) {
			e.CardID, e.Node = r.CardID, r.Node
			e.Text = fmt.Sprintf("entry %d is not in the audit log", r.Audit.Seq)
		}
	}
	if e.Text == "" {
		return nil
	}
	s.options.Log.Warn("audit log", "text", e.Text)
	_, err := s.audit.add(e)
	return err
}

// Close ends the service; its state is on the disk already.
func (s *Service) Close() error { return s.audit.close() }

// now is the time by a clock that may never have been set: not before the card was
// made.
func (s *Service) now() time.Time {
	return latest(s.options.Now(), s.options.Config.Build.Time).UTC().Truncate(time.Second)
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// caller is who asks.
type caller struct {
	*peer
	from string // address
}

// of locks a card for the time of one request and returns its record, nil if there
// is none.
func (s *Service) of(cardID string) (r *record, unlock func()) {
	s.mu.Lock()
	lock := s.busy[cardID]
	if lock == nil {
		lock = new(sync.Mutex)
		s.busy[cardID] = lock
	}
	s.mu.Unlock()
	lock.Lock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cards[cardID], lock.Unlock
}

// all are the records, in a fixed order.
func (s *Service) all() []*record {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*record, 0, len(s.cards))
	for _, r := range s.cards {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *record) int { return cmp.Compare(a.CardID, b.CardID) })
	return all
}

// keep writes the audit log, then the record, then lets others see it. The caller
// holds the card's lock, and next is its own copy.
func (s *Service) keep(e joinapi.Entry, next *record) error {
	at, err := s.note(e, next)
	if err != nil {
		return err
	}
	next.Audit, next.Changed = at, s.now()
	if err := s.store.save(next); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.show(next)
	return nil
}

// show puts a record among those that others see. That one card supersedes
// another stands in the newer one's file alone, so that no power cut comes between.
func (s *Service) show(r *record) {
	s.cards[r.CardID] = r
	for _, id := range r.Supersedes {
		s.out[id] = true
	}
	for id := range s.out {
		if old := s.cards[id]; old != nil && !old.State.Out() {
			old = old.clone()
			old.State = joinapi.Replaced
			s.cards[id] = old
		}
	}
}

// note writes the audit log alone; r is the card it is about, or nil.
func (s *Service) note(e joinapi.Entry, r *record) (joinapi.Anchor, error) {
	e.Time = s.now()
	if r != nil {
		e.CardID, e.Node = r.CardID, r.Node
		if e.Hardware == "" {
			e.Hardware = r.Hardware.Short()
		}
	}
	s.options.Log.Info("join", "action", e.Action, "result", e.Result, "card", e.CardID, "node", e.Node, "reason", e.Reason, "text", e.Text)
	return s.audit.add(e)
}

func (c caller) entry(action string) joinapi.Entry {
	return joinapi.Entry{Peer: c.from, Who: string(c.kind), CardID: c.cardID, Action: action, Result: joinapi.Allowed}
}

// alarm is an entry that a person should look at.
func (c caller) alarm(action string, refusal *joinapi.Refusal, h joinapi.Hardware) joinapi.Entry {
	e := c.entry(action)
	e.Result, e.Reason, e.Text, e.Hardware = joinapi.Alarm, refusal.Reason, refusal.Text, h.Short()
	return e
}

// refuse writes a refusal into the audit log and returns it. Refusals that a
// client repeats by itself are left out: the log is for people.
func (s *Service) refuse(c caller, action string, r *record, refusal *joinapi.Refusal) error {
	e := c.entry(action)
	e.Result, e.Reason, e.Text = joinapi.Refused, refusal.Reason, refusal.Text
	if refusal.Reason == joinapi.Quarantined || refusal.Reason == joinapi.ForgedCard || refusal.Reason == joinapi.ForeignKey {
		e.Result = joinapi.Alarm
	}
	if !s.limits.news(e) {
		return refusal
	}
	if _, err := s.note(e, r); err != nil {
		return err
	}
	return refusal
}
