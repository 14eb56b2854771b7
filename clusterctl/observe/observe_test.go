package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"picluster/clusterctl/kube"
	"picluster/internal/joinapi"
	"picluster/internal/spec"
	"picluster/internal/status"
)

var now = time.Date(2026, 11, 27, 18, 0, 0, 0, time.UTC)

// home is a cluster of three nodes.
func home() Sources {
	c := &spec.Cluster{Name: "home"}
	c.Kubernetes.Enabled, c.Kubernetes.Version, c.Storage.Backend = true, "v1.37.2", "glusterfs"
	for i, role := range []string{"control-plane", "worker", "worker"} {
		c.Nodes = append(c.Nodes, spec.Node{Name: fmt.Sprintf("pi-node%d", i), Role: role, Storage: spec.NodeStorage{Enabled: true}})
	}
	return Sources{Cluster: c, ID: "id", Now: func() time.Time { return now },
		API:   func(context.Context) (*kube.Client, error) { return nil, nil },
		Cards: func(context.Context) ([]joinapi.CardStatus, error) { return nil, nil }}
}

// picture is what Look makes of answers.
func picture(s Sources, f facts) *Snapshot {
	snapshot := s.merge(&f)
	s.judge(snapshot, &f)
	return snapshot
}

func ready() apiNode { return apiNode{ready: true, kubelet: "v1.37.2", since: now.Add(-time.Hour)} }

// well is a cluster where nothing is to be said.
func well() facts {
	return facts{api: &apiFacts{version: "v1.37.2", addons: []Addon{{Name: "cni", State: StateOK}},
		storage: Storage{Class: "glusterfs-storage", Nodes: 3, Claims: 2, Capacity: 2 << 30},
		nodes:   map[string]apiNode{"pi-node0": ready(), "pi-node1": ready(), "pi-node2": ready()}}}
}

func card(name string, state joinapi.State) joinapi.CardStatus {
	return joinapi.CardStatus{CardID: "0123456789abcdef", Generation: 1, Name: name, Node: name, State: state, Changed: now.Add(-time.Minute)}
}

// cases are answers, and what a person should be told: the health, the state of
// pi-node1 and the ids of all warnings.
var cases = map[string]struct {
	change func(*facts)
	health Health
	state  string
	ids    string
}{
	"well":     {func(*facts) {}, Healthy, "Ready ready", ""},
	"cordoned": {func(f *facts) { n := ready(); n.cordoned = true; f.api.nodes["pi-node1"] = n }, Healthy, "Ready ready", "N206"},
	"no memory": {func(f *facts) { n := ready(); n.short = []string{"memory"}; f.api.nodes["pi-node1"] = n },
		Degraded, "Ready ready", "N207"},
	"older":    {func(f *facts) { n := ready(); n.kubelet = "v1.36.0"; f.api.nodes["pi-node1"] = n }, Healthy, "Ready ready", "N208"},
	"one more": {func(f *facts) { f.api.nodes["pi-node3"] = ready() }, Healthy, "Ready ready", "N209"},
	"off": {func(f *facts) { f.api.nodes["pi-node1"] = apiNode{why: "its kubelet does not report any more"} },
		Degraded, "NotReady joined", "N201"},
	"off, before it joined": {func(f *facts) {
		delete(f.api.nodes, "pi-node1")
		f.pages = map[string]answer{"pi-node1": {err: errors.New("nobody answers")}}
	}, Degraded, "Off off", "N202"},
	"waits": {func(f *facts) {
		delete(f.api.nodes, "pi-node1")
		c := card("pi-node1", joinapi.Waiting)
		c.Why = "it is not in the inventory"
		f.cards = []joinapi.CardStatus{c}
	}, Degraded, "Approval provisioned", "N203"},
	"copied": {func(f *facts) {
		c := card("pi-node1", joinapi.Joined)
		c.Conflict = &joinapi.Hardware{Serial: "7"}
		f.cards = []joinapi.CardStatus{c}
	}, Broken, "Ready ready", "N204"},
	"failed": {func(f *facts) {
		delete(f.api.nodes, "pi-node1")
		f.pages = map[string]answer{"pi-node1": {alive: true, source: PageSource, status: &status.Status{State: status.Failed, Stage: "network", Step: "Wi-Fi", N: 3, Of: 9, Text: "wrong key"}}}
	}, Degraded, "Failed booted", "N205"},
	"left out": {func(f *facts) {
		f.api.nodes["pi-node1"] = apiNode{why: "x"}
		f.pages = map[string]answer{"pi-node1": {alive: true, source: PageSource, status: &status.Status{State: status.Done, Warnings: []status.Warning{{Stage: "packages", Step: "htop", Text: "no such package"}}}}}
	}, Degraded, "NotReady joined", "N201 N210"},
	"revoked and still there": {func(f *facts) { f.cards = []joinapi.CardStatus{card("pi-node1", joinapi.RevokedState)} }, Broken, "Ready ready", "N211"},
	"locked": {func(f *facts) {
		delete(f.api.nodes, "pi-node1")
		f.api.locked = map[string]bool{"pi-node1": true}
		f.cards = []joinapi.CardStatus{card("pi-node1", joinapi.TokenIssued)}
	}, Broken, "Joining provisioned", "N214 N213"},
	"joining": {func(f *facts) {
		delete(f.api.nodes, "pi-node1")
		f.cards = []joinapi.CardStatus{card("pi-node1", joinapi.TokenIssued)}
	}, Degraded, "Joining provisioned", "N213"},
	"API server down": {func(f *facts) {
		f.api, f.apiErr = nil, &kube.Unreachable{Err: errors.New("connection refused")}
		f.cards = []joinapi.CardStatus{card("pi-node0", joinapi.Joined), card("pi-node1", joinapi.Joined), card("pi-node2", joinapi.Joined)}
	}, Broken, "Joined joined", "K101"},
	"no kubeconfig yet": {func(f *facts) {
		f.api, f.apiErr = nil, &NotYetError{errors.New("no control plane")}
		f.cards = []joinapi.CardStatus{card("pi-node0", joinapi.Joined), card("pi-node1", joinapi.Joined), card("pi-node2", joinapi.Joined)}
	}, Degraded, "Joined joined", "K103"},
	"another cluster": {func(f *facts) { f.api, f.apiErr = nil, &WrongClusterError{errors.New("another")} },
		Broken, "Off off", "K104 N202 N202 N202"},
	"refused":         {func(f *facts) { f.api, f.apiErr = nil, errors.New("Unauthorized") }, Broken, "Off off", "K105 N202 N202 N202"},
	"no join service": {func(f *facts) { f.joinErr = errors.New("connection refused") }, Degraded, "Ready ready", "K102"},
	"nothing at all": {func(f *facts) { f.api, f.apiErr, f.joinErr = nil, ErrSlow, ErrSlow },
		Unknown, "Off off", "K101 K102 N202 N202 N202"},
	"no storage":    {func(f *facts) { f.api.storage = Storage{} }, Degraded, "Ready ready", "S401"},
	"less storage":  {func(f *facts) { f.api.storage.Nodes = 2 }, Degraded, "Ready ready", "S402"},
	"lost claim":    {func(f *facts) { f.api.storage.Lost = 1 }, Broken, "Ready ready", "S403"},
	"waiting claim": {func(f *facts) { f.api.storage.Waiting = 1 }, Degraded, "Ready ready", "S404"},
	"no add-on":     {func(f *facts) { f.api.addons[0].State = StateNotDeployed }, Degraded, "Ready ready", "A501"},
	"half an add-on": {func(f *facts) { f.api.addons[0].State, f.api.addons[0].Text = StateDegraded, "1 of 3" },
		Degraded, "Ready ready", "A502"},
}

func snapshots(t *testing.T) map[string]*Snapshot {
	t.Helper()
	all := map[string]*Snapshot{}
	for name, tc := range cases {
		f := well()
		tc.change(&f)
		all[name] = picture(home(), f)
	}
	return all
}

func TestLook_saysWhatAPersonShouldKnow(t *testing.T) {
	for name, s := range snapshots(t) {
		tc := cases[name]
		var ids []string
		for _, w := range s.Warnings {
			ids = append(ids, w.ID)
			if strings.Contains(w.Do, "NODE") {
				t.Errorf("%s: %s has no name put in: %s", name, w.ID, w.Do)
			}
		}
		n := s.Node("pi-node1")
		if got := n.State + " " + string(n.Phase); s.Health != tc.health || got != tc.state || strings.Join(ids, " ") != tc.ids {
			t.Errorf("%s: %s, %s, %s; want %s, %s, %s", name, s.Health, got, ids, tc.health, tc.state, tc.ids)
		}
		if n.Phase != Ready && s.LikelyCause(n) == "" {
			t.Errorf("%s: there is no likely cause", name)
		}
	}
}

// A spare that has become a node is one, and is known by its card; an old card of a
// name does not count beside the newer one.
func TestMerge_findsTheCardThatCounts(t *testing.T) {
	old, newer, spare := card("pi-node1", joinapi.Replaced), card("pi-node1", joinapi.Joined), card("spare-1", joinapi.Joined)
	old.CardID, newer.Generation, spare.Node = "feedfeedfeedfeed", 2, "pi-node3"
	f := well()
	f.cards = []joinapi.CardStatus{newer, old, spare, {CardID: "1111111111111111", Name: "spare-2", State: joinapi.Provisioned}}
	s := picture(home(), f)
	if n := s.Node("pi-node1"); n.Card != newer.CardID {
		t.Errorf("pi-node1 has card %s", n.Card)
	}
	if n := s.Node("pi-node3"); n == nil || n.CardName != "spare-1" {
		t.Errorf("pi-node3 is %+v", n)
	}
	if s.Node("spare-2") != nil {
		t.Error("a card in a drawer is a node")
	}
	if got := CardName(f.cards, "pi-node3"); got != "spare-1" {
		t.Errorf("its card is called %s", got)
	}
}

// One machine that hangs does not keep the others from being seen.
// Gateways take connections for whoever is not there: that is no sign of life.
func TestAskNode_knowsANodeFromAGateway(t *testing.T) {
	page := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); io.WriteString(w, text) }
	}
	for name, tc := range map[string]struct {
		handler http.HandlerFunc // nil: the port is closed
		alive   bool
	}{
		"a node":                  {page(200, fmt.Sprintf(`{"version": %d, "node": "pi-node0", "state": "running"}`, status.Version)), true},
		"a node without its page": {nil, true},
		"one who hangs up":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
		"a page to log in at":     {page(200, "<html>Welcome to the Wi-Fi"), false},
		"a proxy":                 {page(502, "Bad Gateway"), false},
		"one who takes his time":  {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tc.handler)
			address := server.Listener.Addr().String()
			if tc.handler == nil {
				server.Close()
			}
			t.Cleanup(server.Close)
			s := home()
			s.Limit = time.Second
			s.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "tcp", address)
			}
			if a := s.askNode(t.Context(), "pi-node0", ""); a.alive != tc.alive || (a.status != nil) != (name == "a node") {
				t.Errorf("alive is %t, want %t (%v)", a.alive, tc.alive, a.err)
			}
		})
	}
}

func TestLook_isBounded(t *testing.T) {
	s := home()
	s.Limit = 200 * time.Millisecond
	s.API = func(ctx context.Context) (*kube.Client, error) { <-ctx.Done(); return nil, context.Cause(ctx) }
	s.Cards = func(ctx context.Context) ([]joinapi.CardStatus, error) { <-ctx.Done(); return nil, context.Cause(ctx) }
	s.Dial = func(ctx context.Context, node, port string) (net.Conn, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	snapshot := s.Look(t.Context())
	if snapshot.Health != Unknown || !strings.Contains(snapshot.Source(APISource).Text, ErrSlow.Error()) {
		t.Errorf("it is %s, %+v", snapshot.Health, snapshot.Sources)
	}
}
