// Package heketi serves Heketi's REST API, so that heketi-cli, topology.json and
// whatever else has been made for Heketi go on working. It has no state of its own
// but the requests that are under way; volumes are made by the engine.
//
// What Heketi could and this cannot says so: block volumes, dispersed volumes,
// snapshots and clones.
package heketi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"picluster/clusterctl/gluster/allocator"
	"picluster/clusterctl/gluster/engine"
)

// Server is the API. Whoever makes it closes it.
type Server struct {
	engine *engine.Engine
	queue  *queue
	http.Handler
}

// New makes a server. Requests that take long go on until they end or ctx does.
func New(ctx context.Context, e *engine.Engine, k Keys) (*Server, error) {
	if k.Admin.IsZero() {
		return nil, errors.New("serve the Heketi API: there is no key for the administrator")
	}
	s := &Server{engine: e, queue: newQueue(ctx)}
	open := http.NewServeMux()
	// Probes ask without a token.
	open.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "Hello from Heketi") })
	open.Handle("/", k.guard(time.Now, s.routes()))
	s.Handler = open
	return s, nil
}

// Close waits for requests that are under way, which the end of New's context hurries
// up.
func (s *Server) Close() { s.queue.running.Wait() }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(*http.Request) (answer, error){
		"GET /queue/{id}":                      s.queue.look,
		"GET /clusters":                        s.listClusters,
		"POST /clusters":                       s.createCluster,
		"GET /clusters/{id}":                   s.cluster,
		"DELETE /clusters/{id}":                s.deleteCluster,
		"POST /clusters/{id}/flags":            s.setFlags,
		"POST /nodes":                          s.addNode,
		"GET /nodes/{id}":                      s.node,
		"DELETE /nodes/{id}":                   s.deleteNode,
		"POST /nodes/{id}/state":               s.setState(s.node, s.engine.SetNodeMode),
		"POST /nodes/{id}/tags":                s.setNodeTags,
		"POST /nodes/{id}/renew":               s.renewNode,
		"POST /devices":                        s.addDevice,
		"GET /devices/{id}":                    s.device,
		"DELETE /devices/{id}":                 s.deleteDevice,
		"POST /devices/{id}/state":             s.setState(s.device, s.engine.SetDeviceMode),
		"POST /devices/{id}/tags":              s.setDeviceTags,
		"GET /devices/{id}/resync":             s.resyncDevice,
		"GET /volumes":                         s.listVolumes,
		"POST /volumes":                        s.createVolume,
		"GET /volumes/{id}":                    s.volume,
		"DELETE /volumes/{id}":                 s.deleteVolume,
		"POST /volumes/{id}/expand":            s.expandVolume,
		"POST /volumes/{id}/clone":             unsupported("there are no snapshots and no clones"),
		"POST /volumes/{id}/block-restriction": unsupported("there are no block volumes"),
		"GET /blockvolumes":                    s.listBlockVolumes,
		"POST /blockvolumes":                   unsupported("there are no block volumes"),
		"GET /operations":                      s.operations,
		"GET /operations/pending":              s.pending,
		"GET /operations/pending/{id}":         s.pendingDetails,
		"POST /operations/pending/cleanup":     s.cleanUp,
		"GET /admin":                           s.adminStatus,
		"POST /admin":                          s.setAdminStatus,
		"GET /backup/db":                       s.dump,
		"GET /db/dump":                         s.dump,
		"GET /db/check":                        s.check,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			a, err := handle(r)
			if err != nil {
				a = refusal(err)
			}
			a.write(w)
		})
	}
	return mux
}

// answer is what a request comes to: a status, and a document or a place to look.
type answer struct {
	status   int // 0: 200
	document any
	text     string // in place of a document
	location string
	pending  bool
}

func (a answer) write(w http.ResponseWriter) {
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	if a.pending {
		w.Header().Set("X-Pending", "true")
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.document == nil {
		if a.text != "" {
			http.Error(w, a.text, a.status)
			return
		}
		w.WriteHeader(a.status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(a.status)
	json.NewEncoder(w).Encode(a.document) // a client that has gone is no concern of ours
}

// statusError is a refusal with a status of its own.
type statusError struct {
	status int
	text   string
}

func (e statusError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return statusError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func unsupported(why string) func(*http.Request) (answer, error) {
	return func(*http.Request) (answer, error) { return answer{}, statusError{http.StatusNotImplemented, why} }
}

// refusal begins with Heketi's own words where scripts look for them.
func refusal(err error) answer {
	var own statusError
	switch {
	case errors.As(err, &own):
		return answer{status: own.status, text: own.text}
	case errors.Is(err, engine.ErrNotFound):
		return answer{status: http.StatusNotFound, text: "Id not found: " + err.Error()}
	case errors.Is(err, engine.ErrName):
		return answer{status: http.StatusBadRequest, text: err.Error()}
	case errors.Is(err, engine.ErrExists), errors.Is(err, engine.ErrInUse):
		return answer{status: http.StatusConflict, text: err.Error()}
	case errors.Is(err, allocator.ErrNoSpace):
		return answer{status: http.StatusInternalServerError, text: "No space: " + err.Error()}
	}
	return answer{status: http.StatusInternalServerError, text: err.Error()}
}

// maxBody is far more than any document of the API has, in bytes.
const maxBody = 1 << 20

func read(r *http.Request, into any) error {
	data, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return statusError{http.StatusUnprocessableEntity, "request unable to be parsed: " + err.Error()}
	}
	return nil
}

// queue has the requests that take long. The client is told at once where to ask for
// the result, and asks until it is there.
type queue struct {
	ctx     context.Context
	running sync.WaitGroup

	mu   sync.Mutex
	jobs map[string]*job
	old  []string // ids in the order of their begin
}

// job is done when its answer is there. It is forgotten when that has been fetched, or
// when many others have come since.
type job struct {
	answer *answer
}

// keep is how many results wait for somebody who does not ask for them.
const keep = 1000

func newQueue(ctx context.Context) *queue {
	return &queue{ctx: ctx, jobs: map[string]*job{}}
}

// begin starts a job and returns where its result will be. The result of one that
// makes or changes something is that thing's path; "" is no result but success.
func (q *queue) begin(do func(ctx context.Context) (path string, err error)) (answer, error) {
	j := new(job)
	q.mu.Lock()
	id := engine.NewID()
	q.jobs[id] = j
	if q.old = append(q.old, id); len(q.old) > keep {
		delete(q.jobs, q.old[0])
		q.old = q.old[1:]
	}
	q.mu.Unlock()
	q.running.Go(func() {
		path, err := do(q.ctx)
		a := answer{status: http.StatusNoContent}
		switch {
		case err != nil:
			// The status is one and the same: the client takes it for the job's.
			a = answer{status: http.StatusInternalServerError, text: refusal(err).text}
		case path != "":
			a = answer{status: http.StatusSeeOther, location: path}
		}
		q.mu.Lock()
		j.answer = &a
		q.mu.Unlock()
	})
	return answer{status: http.StatusAccepted, location: "/queue/" + id}, nil
}

func (q *queue) look(r *http.Request) (answer, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	id := r.PathValue("id")
	j := q.jobs[id]
	switch {
	case j == nil:
		return answer{}, statusError{http.StatusNotFound, "Id not found: there is no such request"}
	case j.answer == nil:
		return answer{pending: true}, nil
	}
	delete(q.jobs, id)
	return *j.answer, nil
}
