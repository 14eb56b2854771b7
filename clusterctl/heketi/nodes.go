package heketi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"path"
	"regexp"

	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/gluster/topology"
)

func (s *Server) listClusters(r *http.Request) (answer, error) {
	state, err := s.engine.State(r.Context())
	ids := []string{}
	for _, c := range state.Clusters {
		ids = append(ids, c.ID)
	}
	return answer{document: map[string]any{"clusters": ids}}, err
}

func (s *Server) createCluster(r *http.Request) (answer, error) {
	flags := clusterFlags{File: true}
	if r.ContentLength != 0 {
		if err := read(r, &flags); err != nil {
			return answer{}, err
		}
	}
	if !flags.File {
		return answer{}, badRequest("a cluster for block volumes only is not supported")
	}
	c, err := s.engine.CreateCluster(r.Context())
	return answer{status: http.StatusCreated, location: "/clusters/" + c.ID, document: describeCluster(c, nil)}, err
}

func (s *Server) cluster(r *http.Request) (answer, error) {
	v, err := s.view(r.Context())
	if err != nil {
		return answer{}, err
	}
	for _, c := range v.Clusters {
		if c.ID == r.PathValue("id") {
			return answer{document: describeCluster(c, v.volumes)}, nil
		}
	}
	return answer{}, notFound("cluster", r)
}

func notFound(what string, r *http.Request) error {
	return fmt.Errorf("look for %s %s: %w", what, r.PathValue("id"), engine.ErrNotFound)
}

func describeCluster(c engine.Cluster, volumes []engine.Volume) clusterInfo {
	is := clusterInfo{ID: c.ID, Nodes: []string{}, Volumes: []string{}, BlockVolumes: []string{}, clusterFlags: clusterFlags{File: true}}
	for _, n := range c.Nodes {
		is.Nodes = append(is.Nodes, n.ID)
	}
	for _, v := range volumes {
		if v.Cluster == c.ID {
			is.Volumes = append(is.Volumes, v.ID)
		}
	}
	return is
}

func (s *Server) deleteCluster(r *http.Request) (answer, error) {
	return answer{}, s.engine.DeleteCluster(r.Context(), r.PathValue("id"))
}

// setFlags takes the flags that clusters have: heketi-cli sets both by default.
func (s *Server) setFlags(r *http.Request) (answer, error) {
	var flags clusterFlags
	if err := read(r, &flags); err != nil {
		return answer{}, err
	}
	if !flags.File {
		return answer{}, badRequest("a cluster for block volumes only is not supported")
	}
	_, err := s.cluster(r)
	return answer{}, err
}

// view is everything that documents about nodes and devices are made of.
type view struct {
	engine.State
	volumes []engine.Volume
}

func (s *Server) view(ctx context.Context) (view, error) {
	state, err := s.engine.State(ctx)
	if err != nil {
		return view{}, err
	}
	volumes, err := s.engine.Volumes(ctx)
	return view{state, volumes}, err
}

var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

func (q nodeRequest) check() error {
	switch {
	case len(q.Hostnames.Manage) == 0:
		return badRequest("Manage hostname missing")
	case len(q.Hostnames.Storage) == 0:
		return badRequest("Storage hostname missing")
	case q.Zone < 1:
		return badRequest("Zone cannot be zero or value is missing")
	}
	for _, name := range append(q.Hostnames.Manage, q.Hostnames.Storage...) {
		if address, err := netip.ParseAddr(name); !hostname.MatchString(name) || err == nil && address.Is6() {
			return badRequest("validation failed: %.80q is neither a host name nor an IPv4 address", name)
		}
	}
	return nil
}

func (s *Server) addNode(r *http.Request) (answer, error) {
	var q nodeRequest
	if err := read(r, &q); err != nil {
		return answer{}, err
	}
	if err := q.check(); err != nil {
		return answer{}, err
	}
	state, err := s.engine.State(r.Context())
	if err != nil {
		return answer{}, err
	}
	known := false
	for _, c := range state.Clusters {
		known = known || c.ID == q.Cluster
		for _, n := range c.Nodes {
			if n.Manage == q.Hostnames.Manage[0] || n.Storage == q.Hostnames.Storage[0] {
				return answer{}, fmt.Errorf("add node %s: %w", n.Manage, engine.ErrExists)
			}
		}
	}
	if !known {
		return answer{}, statusError{http.StatusNotFound, "Cluster id does not exist"}
	}
	return s.queue.begin(func(ctx context.Context) (string, error) {
		n, err := s.engine.AddNode(ctx, q.Cluster, engine.Node{
			Manage: q.Hostnames.Manage[0], Storage: q.Hostnames.Storage[0], Zone: q.Zone, Tags: q.Tags,
		})
		return "/nodes/" + n.ID, err
	})
}

func (s *Server) node(r *http.Request) (answer, error) {
	v, err := s.view(r.Context())
	if err != nil {
		return answer{}, err
	}
	for _, c := range v.Clusters {
		for _, n := range c.Nodes {
			if n.ID == r.PathValue("id") {
				return answer{document: s.describeNode(v, c, n)}, nil
			}
		}
	}
	return answer{}, notFound("node", r)
}

func (s *Server) describeNode(v view, c engine.Cluster, n engine.Node) nodeInfo {
	is := nodeInfo{ID: n.ID, State: string(n.Mode), Devices: []deviceInfo{}, nodeRequest: nodeRequest{
		Zone: n.Zone, Cluster: c.ID, Tags: n.Tags, Hostnames: hostnames{Manage: []string{n.Manage}, Storage: []string{n.Storage}},
	}}
	for _, d := range n.Devices {
		is.Devices = append(is.Devices, s.describeDevice(v, d))
	}
	return is
}

func (s *Server) deleteNode(r *http.Request) (answer, error) {
	a, err := s.node(r)
	if err != nil {
		return a, err
	}
	id := r.PathValue("id")
	if n := a.document.(nodeInfo); len(n.Devices) > 0 {
		return answer{}, statusError{http.StatusConflict, "Unable to delete node [" + id + "] because it contains devices"}
	}
	return s.queue.begin(func(ctx context.Context) (string, error) { return "", s.engine.RemoveNode(ctx, id) })
}

func mode(r *http.Request) (engine.Mode, error) {
	var q stateRequest
	if err := read(r, &q); err != nil {
		return "", err
	}
	switch m := engine.Mode(q.State); m {
	case engine.Online, engine.Offline, engine.Failed:
		return m, nil
	}
	return "", badRequest("validation failed: %.40q is not valid state", q.State)
}

// setState gives a node or a device, which find finds, another mode.
func (s *Server) setState(find func(*http.Request) (answer, error), set func(context.Context, string, engine.Mode) error) func(*http.Request) (answer, error) {
	return func(r *http.Request) (answer, error) {
		m, err := mode(r)
		if err == nil {
			_, err = find(r)
		}
		if err != nil {
			return answer{}, err
		}
		id := r.PathValue("id")
		return s.queue.begin(func(ctx context.Context) (string, error) { return "", set(ctx, id, m) })
	}
}

// tags reads a change of tags.
func tags(r *http.Request) (tagsRequest, func(map[string]string), error) {
	var q tagsRequest
	if err := read(r, &q); err != nil {
		return q, nil, err
	}
	change := map[string]func(map[string]string){
		"set":    func(tags map[string]string) { clear(tags); maps.Copy(tags, q.Tags) },
		"update": func(tags map[string]string) { maps.Copy(tags, q.Tags) },
		"delete": func(tags map[string]string) {
			for key := range q.Tags {
				delete(tags, key)
			}
		},
	}[q.Change]
	if change == nil {
		return q, nil, badRequest("validation failed: change_type %.20q is none of set, update, delete", q.Change)
	}
	return q, change, nil
}

func (s *Server) setNodeTags(r *http.Request) (answer, error) {
	q, change, err := tags(r)
	if err == nil {
		err = s.engine.SetNodeTags(r.Context(), r.PathValue("id"), change)
	}
	return answer{document: q}, err
}

func (s *Server) setDeviceTags(r *http.Request) (answer, error) {
	q, change, err := tags(r)
	if err == nil {
		err = s.engine.SetDeviceTags(r.Context(), r.PathValue("id"), change)
	}
	return answer{document: q}, err
}

func (s *Server) addDevice(r *http.Request) (answer, error) {
	var q deviceRequest
	if err := read(r, &q); err != nil {
		return answer{}, err
	}
	if !topology.DeviceName.MatchString(q.Name) || path.Clean(q.Name) != q.Name {
		return answer{}, badRequest("validation failed: %.80q is no path of a device", q.Name)
	}
	state, err := s.engine.State(r.Context())
	if err != nil {
		return answer{}, err
	}
	for _, c := range state.Clusters {
		for _, n := range c.Nodes {
			if n.ID != q.Node {
				continue
			}
			for _, d := range n.Devices {
				if d.Name == q.Name {
					return answer{}, fmt.Errorf("add device %s: %w", q.Name, engine.ErrExists)
				}
			}
			return s.queue.begin(func(ctx context.Context) (string, error) {
				_, err := s.engine.AddDevice(ctx, q.Node, engine.Device{Name: q.Name, Tags: q.Tags}, q.DestroyData)
				return "", err
			})
		}
	}
	return answer{}, statusError{http.StatusNotFound, "Node id does not exist"}
}

func (s *Server) device(r *http.Request) (answer, error) {
	v, err := s.view(r.Context())
	if err != nil {
		return answer{}, err
	}
	for _, c := range v.Clusters {
		for _, n := range c.Nodes {
			for _, d := range n.Devices {
				if d.ID == r.PathValue("id") {
					return answer{document: s.describeDevice(v, d)}, nil
				}
			}
		}
	}
	return answer{}, notFound("device", r)
}

func (s *Server) describeDevice(v view, d engine.Device) deviceInfo {
	is := deviceInfo{Name: d.Name, Tags: d.Tags, ID: d.ID, State: string(d.Mode), Bricks: []brickInfo{}}
	for _, volume := range v.volumes {
		for _, b := range volume.Bricks() {
			if b.Device == d.ID {
				is.Bricks = append(is.Bricks, describeBrick(volume, b))
				is.Storage.Used += s.engine.Bricks.Footprint(b.Bytes) >> 10
			}
		}
	}
	is.Storage.Total = d.Total >> 10
	is.Storage.Free = max(0, is.Storage.Total-is.Storage.Used)
	return is
}

func (s *Server) deleteDevice(r *http.Request) (answer, error) {
	var q struct {
		Forget bool `json:"forceforget"`
	}
	if r.ContentLength > 0 {
		if err := read(r, &q); err != nil {
			return answer{}, err
		}
	}
	a, err := s.device(r)
	if err != nil {
		return a, err
	}
	if d := a.document.(deviceInfo); len(d.Bricks) > 0 {
		return answer{}, statusError{http.StatusConflict, "Unable to delete device [" + d.ID + "] because it contains bricks"}
	}
	id := r.PathValue("id")
	return s.queue.begin(func(ctx context.Context) (string, error) { return "", s.engine.RemoveDevice(ctx, id, q.Forget) })
}

func (s *Server) resyncDevice(r *http.Request) (answer, error) {
	if _, err := s.device(r); err != nil {
		return answer{}, err
	}
	id := r.PathValue("id")
	return s.queue.begin(func(ctx context.Context) (string, error) { return "", s.engine.ResyncDevice(ctx, id) })
}
