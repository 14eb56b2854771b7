package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"

	"picluster/internal/host"
	"picluster/internal/status"
)

// atOnce is how many nodes are asked for their page at the same time.
const atOnce = 32

// answer is what one node says of itself.
type answer struct {
	status  *status.Status
	source  string // PageSource or SSHSource
	address string // where it answered
	there   bool   // at its address somebody takes connections, or refuses them
	alive   bool   // and that is a node, as far as can be told
	err     error
}

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

// askNode reads a node's page or, after the page has been taken down for good, asks
// its agent over ssh.
func (s Sources) askNode(ctx context.Context, name, knownAs string) answer {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	a := s.askPage(ctx, name)
	if a.status != nil || s.Login == nil || !a.there && a.err != nil {
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

// askPage asks a node's page. One who takes the connection and hangs up, or has another
// page, is a gateway that answers for whoever is not there.
func (s Sources) askPage(ctx context.Context, name string) (a answer) {
	if s.Dial == nil {
		return answer{}
	}
	a.source = PageSource
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := s.Dial(ctx, name, status.Port)
		if err == nil {
			a.there = true
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
		refused := errors.Is(err, syscall.ECONNREFUSED)
		a.alive = refused || a.there && ctx.Err() != nil // a Pi that is busy may take long
		a.there = a.there || refused
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
	a.alive = a.status != nil
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
