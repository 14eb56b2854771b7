package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"picluster/clusterctl/kube"
	"picluster/internal/host"
	"picluster/internal/joinapi"
	"picluster/internal/spec"
	"picluster/internal/status"
)

// Sources are where to ask. What is nil is not asked.
type Sources struct {
	Cluster *spec.Cluster
	ID      string // of the cluster

	API    func(context.Context) (*kube.Client, error)
	Cards  func(context.Context) ([]joinapi.CardStatus, error)
	Dial   func(ctx context.Context, node, port string) (net.Conn, error)
	Login  func(ctx context.Context, node, knownAs string) (*host.Remote, error)
	Addons func(context.Context, *kube.Client) ([]Addon, error)

	// Limit bounds each source; 0 is ten seconds.
	Limit time.Duration
	Now   func() time.Time // nil: the clock
}

// atOnce is how many nodes are asked for their page at the same time.
const atOnce = 32

// facts are the answers.
type facts struct {
	api     *apiFacts
	apiErr  error
	cards   []joinapi.CardStatus
	joinErr error
	pages   map[string]answer // of nodes that Kubernetes does not call ready
}

// answer is what one node says of itself.
type answer struct {
	status  *status.Status
	source  string // PageSource or SSHSource
	address string // where it answered
	alive   bool   // something answered
	err     error
}

// Look asks all sources. It has no error: what could not be asked is part of the
// result. It returns when all have answered, within about three times the limit.
func (s Sources) Look(ctx context.Context) *Snapshot {
	if s.Limit == 0 {
		s.Limit = 10 * time.Second
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	var f facts
	var asked sync.WaitGroup
	if s.API != nil {
		asked.Go(func() {
			ctx, cancel := s.bounded(ctx)
			defer cancel()
			f.api, f.apiErr = s.api(ctx)
		})
	}
	if s.Cards != nil {
		asked.Go(func() {
			ctx, cancel := s.bounded(ctx)
			defer cancel()
			f.cards, f.joinErr = s.Cards(ctx)
		})
	}
	asked.Wait()
	f.pages = s.askNodes(ctx, &f)
	snapshot := s.merge(&f)
	s.judge(snapshot, &f)
	return snapshot
}

func (s Sources) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.Limit, ErrSlow)
}

// ErrSlow is the reason of a source that has not answered in time.
var ErrSlow = errors.New("it takes the connection and does not answer in time")

// askNodes asks those nodes that nobody else has called ready.
func (s Sources) askNodes(ctx context.Context, f *facts) map[string]answer {
	answers := map[string]answer{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, name := range s.names(f) {
		if f.api != nil && f.api.nodes[name].ready {
			continue
		}
		asked.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			a := s.askNode(ctx, name, knownAs(f, name))
			mu.Lock()
			defer mu.Unlock()
			answers[name] = a
		})
	}
	asked.Wait()
	return answers
}

// knownAs is the name of a node's card.
func knownAs(f *facts, name string) string {
	if c := cardOf(f.cards, name); c != nil && c.Name != "" {
		return c.Name
	}
	return name
}

// askNode reads a node's page or, after the page has been taken down for good, asks
// its agent over ssh.
func (s Sources) askNode(ctx context.Context, name, knownAs string) answer {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	a := s.askPage(ctx, name)
	if a.status != nil || s.Login == nil || !a.alive && a.err != nil {
		return a // who is not there for the one is not there for the other
	}
	remote, err := s.Login(ctx, name, knownAs)
	if err != nil {
		a.err = err
		return a
	}
	defer remote.Close()
	a.alive, a.source = true, SSHSource
	out, err := remote.Run(ctx, host.Cmd{Args: []string{"firstboot", "status", "-o", "json"}})
	var exit *host.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.Code == 1 && len(out) > 0) { // 1: it has failed, and says so
		a.err = err
		return a
	}
	a.status, a.err = parseStatus(out)
	return a
}

func (s Sources) askPage(ctx context.Context, name string) (a answer) {
	if s.Dial == nil {
		return answer{}
	}
	a.source = PageSource
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := s.Dial(ctx, name, status.Port)
		if err == nil {
			a.alive = true
			a.address, _, _ = net.SplitHostPort(conn.RemoteAddr().String())
		}
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+name+".local:"+status.Port+"/status.json", nil)
	if err != nil {
		return answer{err: err}
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		a.err = fmt.Errorf("ask status page: %w", innermost(err))
		a.alive = a.alive || errors.Is(err, syscall.ECONNREFUSED) // somebody is there to refuse
		return a
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask status page: %s", response.Status)
	}
	if err != nil {
		a.err = err
		return a
	}
	if a.status, a.err = parseStatus(data); a.status != nil && a.status.Node != "" && a.status.Node != name {
		return answer{err: fmt.Errorf("ask status page: the page at %s is of %s", a.address, a.status.Node)}
	}
	return a
}

func parseStatus(data []byte) (*status.Status, error) {
	var st status.Status
	if err := json.Unmarshal(data, &st); err != nil {
		return nil, fmt.Errorf("read status: %w", err)
	}
	if st.Version != status.Version {
		return nil, fmt.Errorf("read status: its form is %d, this program reads %d", st.Version, status.Version)
	}
	return &st, nil
}

// innermost is an error without the address that net/http puts before it.
func innermost(err error) error {
	var request interface{ Unwrap() error }
	if errors.As(err, &request) {
		if inner := request.Unwrap(); inner != nil {
			return inner
		}
	}
	return err
}

// names are all nodes that anybody knows: those of cluster.yaml in its order, the
// others by their names. Spares that nobody has switched on yet are no nodes.
func (s Sources) names(f *facts) []string {
	names := s.Cluster.NodeNames()
	var more []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) && !slices.Contains(more, name) {
			more = append(more, name)
		}
	}
	for i := range f.cards {
		if c := &f.cards[i]; !c.State.Out() && c.State != joinapi.Provisioned {
			add(label(c))
		}
	}
	if f.api != nil {
		for name := range f.api.nodes {
			add(name)
		}
	}
	slices.Sort(more)
	return append(names, more...)
}

// label is the best name that a card has.
func label(c *joinapi.CardStatus) string {
	if c.Node != "" {
		return c.Node
	}
	return c.Name
}

// cardOf is the card of a node that counts: the newest that is not out.
func cardOf(cards []joinapi.CardStatus, name string) *joinapi.CardStatus {
	var best *joinapi.CardStatus
	for i := range cards {
		c := &cards[i]
		if label(c) != name {
			continue
		}
		if best == nil || best.State.Out() && !c.State.Out() || best.State.Out() == c.State.Out() && c.Generation > best.Generation {
			best = c
		}
	}
	return best
}

// CardName is the name on a node's card, the node's own where it is not known.
func CardName(cards []joinapi.CardStatus, node string) string {
	return knownAs(&facts{cards: cards}, node)
}

// CardID is the id of a node's card that counts, "" if it has none.
func CardID(cards []joinapi.CardStatus, node string) string {
	if c := cardOf(cards, node); c != nil {
		return c.CardID
	}
	return ""
}
