package observe

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"picluster/clusterctl/kube"
	"picluster/internal/host"
	"picluster/internal/joinapi"
	"picluster/internal/spec"
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

// facts are the answers.
type facts struct {
	api     *apiFacts
	apiErr  error
	cards   []joinapi.CardStatus
	joinErr error
	pages   map[string]answer // of nodes that Kubernetes does not call ready
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
