package heketi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"picluster/clusterctl/gluster/engine"
)

const gib = 1 << 30

// arbiterOption is how Heketi's clients ask for an arbiter among the options of a
// volume of three replicas.
const arbiterOption = "user.heketi.arbiter"

func (s *Server) listVolumes(r *http.Request) (answer, error) {
	volumes, err := s.engine.Volumes(r.Context())
	ids := []string{}
	for _, v := range volumes {
		ids = append(ids, v.ID)
	}
	return answer{document: map[string]any{"volumes": ids}}, err
}

func (s *Server) volume(r *http.Request) (answer, error) {
	v, err := s.find(r)
	return answer{document: describeVolume(v)}, err
}

// find goes by the id only: a volume's name may be another one's id.
func (s *Server) find(r *http.Request) (engine.Volume, error) {
	volumes, err := s.engine.Volumes(r.Context())
	if err != nil {
		return engine.Volume{}, err
	}
	i := slices.IndexFunc(volumes, func(v engine.Volume) bool { return v.ID == r.PathValue("id") })
	if i < 0 {
		return engine.Volume{}, notFound("volume", r)
	}
	return volumes[i], nil
}

func describeVolume(v engine.Volume) volumeInfo {
	is := volumeInfo{ID: v.ID, Cluster: v.Cluster, Bricks: []brickInfo{}}
	is.Name, is.Size, is.GID = v.Name, (v.Bytes+gib-1)/gib, v.GID
	is.Durability.Type = "none"
	if v.Replicas > 1 {
		is.Durability.Type = "replicate"
		is.Durability.Replicate.Replica = v.Replicas
	}
	for _, key := range slices.Sorted(maps.Keys(v.Options)) {
		is.Options = append(is.Options, key+" "+v.Options[key])
	}
	if v.Arbiter {
		is.Durability.Replicate.Replica = v.Replicas + 1
		is.Options = append(is.Options, arbiterOption+" true")
	}
	is.Snapshot.Factor = 1
	is.Mount.GlusterFS.Hosts = v.Hosts
	is.Mount.GlusterFS.Options = map[string]string{}
	if len(v.Hosts) > 0 {
		is.Mount.GlusterFS.Device = v.Hosts[0] + ":" + v.Name
		is.Mount.GlusterFS.Options["backup-volfile-servers"] = strings.Join(v.Hosts[1:], ",")
	}
	for _, b := range v.Bricks() {
		is.Bricks = append(is.Bricks, describeBrick(v, b))
	}
	return is
}

func describeBrick(v engine.Volume, b engine.Brick) brickInfo {
	return brickInfo{ID: b.ID, Path: b.At.Path, Device: b.Device, Node: b.Node, Volume: v.ID, Size: b.Bytes >> 10}
}

var volumeName = regexp.MustCompile(`^[a-zA-Z0-9_-]*$`)

// request is what the engine is asked for.
func (q volumeRequest) request(known []engine.Cluster) (engine.Request, error) {
	r := engine.Request{Name: q.Name, Clusters: q.Clusters, Bytes: q.Size * gib, Replicas: 1, GID: q.GID}
	switch {
	case q.Size < 1 || q.Size > 1<<20:
		return r, badRequest("Invalid volume size")
	case q.Block:
		return r, badRequest("there are no block volumes")
	case q.Snapshot.Enable:
		return r, badRequest("there are no snapshots")
	case q.GID < 0 || q.GID >= 1<<32:
		return r, badRequest("Bad group id")
	case !volumeName.MatchString(q.Name) || len(q.Name) > 200 || strings.HasPrefix(q.Name, "-"):
		return r, badRequest("validation failed: %.80q is no name of a volume", q.Name)
	case len(known) == 0:
		return r, badRequest("No clusters configured")
	}
	for _, id := range q.Clusters {
		if !slices.ContainsFunc(known, func(c engine.Cluster) bool { return c.ID == id }) {
			return r, badRequest("Cluster id %.40s not found", id)
		}
	}
	if err := q.durability(&r); err != nil {
		return r, err
	}
	return r, q.options(&r)
}

func (q volumeRequest) durability(r *engine.Request) error {
	switch q.Durability.Type {
	case "", "none":
	case "replicate":
		r.Replicas = q.Durability.Replicate.Replica
		if r.Replicas == 0 {
			r.Replicas = 3
		}
		if r.Replicas < 2 || r.Replicas > 3 {
			return badRequest("Invalid replica value")
		}
	case "disperse":
		return badRequest("dispersed volumes are not supported, want durability replicate or none")
	default:
		return badRequest("Unknown durability type")
	}
	return nil
}

// options reads "key value" words. Of an arbiter's three replicas two are copies.
func (q volumeRequest) options(r *engine.Request) error {
	r.Options = map[string]string{}
	for _, option := range q.Options {
		key, value, _ := strings.Cut(strings.TrimSpace(option), " ")
		if key == arbiterOption {
			r.Arbiter = value == "true"
			continue
		}
		if key == "" || value == "" || strings.HasPrefix(key, "-") || strings.HasPrefix(key, "user.picluster.") {
			return badRequest("validation failed: %.80q is no option of a volume", option)
		}
		r.Options[key] = strings.TrimSpace(value)
	}
	if r.Arbiter && r.Replicas != 3 {
		return badRequest("an arbiter is for volumes of 3 replicas")
	}
	if r.Arbiter {
		r.Replicas = 2
	}
	return nil
}

func (s *Server) createVolume(r *http.Request) (answer, error) {
	var q volumeRequest
	if err := read(r, &q); err != nil {
		return answer{}, err
	}
	state, err := s.engine.State(r.Context())
	if err != nil {
		return answer{}, err
	}
	request, err := q.request(state.Clusters)
	if err != nil {
		return answer{}, err
	}
	return s.queue.begin(func(ctx context.Context) (string, error) {
		v, err := s.engine.CreateVolume(ctx, request)
		return "/volumes/" + v.ID, err
	})
}

func (s *Server) expandVolume(r *http.Request) (answer, error) {
	var q expandRequest
	if err := read(r, &q); err != nil {
		return answer{}, err
	}
	if q.Size < 1 || q.Size > 1<<20 {
		return answer{}, badRequest("Invalid volume size")
	}
	v, err := s.find(r)
	if err != nil {
		return answer{}, err
	}
	return s.queue.begin(func(ctx context.Context) (string, error) {
		_, err := s.engine.ExpandVolume(ctx, v.ID, v.Bytes+q.Size*gib)
		return "/volumes/" + v.ID, err
	})
}

func (s *Server) deleteVolume(r *http.Request) (answer, error) {
	v, err := s.find(r)
	if err != nil {
		return answer{}, err
	}
	return s.queue.begin(func(ctx context.Context) (string, error) { return "", s.engine.DeleteVolume(ctx, v.ID) })
}

func (s *Server) listBlockVolumes(*http.Request) (answer, error) {
	return answer{document: map[string]any{"blockvolumes": []string{}}}, nil
}

// operations counts what is under way, and what an interruption has left.
func (s *Server) operations(r *http.Request) (answer, error) {
	state, err := s.engine.State(r.Context())
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	flying := 0
	for _, j := range s.queue.jobs {
		if j.answer == nil {
			flying++
		}
	}
	left := len(state.Pending)
	return answer{document: map[string]int{"total": flying + left, "in_flight": flying, "stale": left, "failed": 0, "new": 0}}, err
}

func describePending(p engine.Pending) pendingInfo {
	return pendingInfo{ID: p.ID, Type: string(p.Kind), Status: "Stale", Detail: "volume " + p.Volume}
}

func (s *Server) pending(r *http.Request) (answer, error) {
	state, err := s.engine.State(r.Context())
	all := []pendingInfo{}
	for _, p := range state.Pending {
		all = append(all, describePending(p))
	}
	return answer{document: map[string]any{"pendingoperations": all}}, err
}

func (s *Server) pendingDetails(r *http.Request) (answer, error) {
	state, err := s.engine.State(r.Context())
	if err != nil {
		return answer{}, err
	}
	for _, p := range state.Pending {
		if p.ID == r.PathValue("id") {
			is := pendingDetails{pendingInfo: describePending(p), Changes: []pendingChange{}}
			for _, b := range p.Bricks {
				is.Changes = append(is.Changes, pendingChange{ID: b.ID, Description: "brick on device " + b.Device})
			}
			return answer{document: is}, nil
		}
	}
	return answer{}, notFound("operation", r)
}

func (s *Server) cleanUp(*http.Request) (answer, error) {
	return s.queue.begin(func(ctx context.Context) (string, error) { return "", s.engine.Recover(ctx) })
}

func (s *Server) adminStatus(*http.Request) (answer, error) {
	return answer{document: stateRequest{"normal"}}, nil
}

func (s *Server) setAdminStatus(r *http.Request) (answer, error) {
	var q stateRequest
	if err := read(r, &q); err != nil {
		return answer{}, err
	}
	if q.State != "normal" {
		return answer{}, statusError{http.StatusNotImplemented, fmt.Sprintf("there is no state %.20q, only normal", q.State)}
	}
	return answer{status: http.StatusNoContent}, nil
}

// dump is the state and the volumes, for people and for backups. There is no database.
func (s *Server) dump(r *http.Request) (answer, error) {
	v, err := s.view(r.Context())
	volumes := []volumeInfo{}
	for _, is := range v.volumes {
		volumes = append(volumes, describeVolume(is))
	}
	return answer{document: map[string]any{"state": v.State, "volumes": volumes}}, err
}

func (s *Server) check(r *http.Request) (answer, error) {
	state, err := s.engine.State(r.Context())
	return answer{document: map[string]int{"totalinconsistencies": len(state.Pending)}}, err
}
