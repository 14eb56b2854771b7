package heketi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"picluster/clusterctl/gluster/engine"
)

// renewRequest is ours, Heketi has nothing like it: see engine.RenewNode.
type renewRequest struct {
	DestroyData bool `json:"destroydata"`
}

func (s *Server) renewNode(r *http.Request) (answer, error) {
	var q renewRequest
	if err := read(r, &q); err != nil {
		return answer{}, err
	}
	id := r.PathValue("id")
	return s.queue.begin(func(ctx context.Context) (string, error) {
		return "/nodes/" + id, s.engine.RenewNode(ctx, id, q.DestroyData)
	})
}

// Node is a node as the API shows it.
type Node struct {
	ID, Name, Address, State string
	Zone                     int
	Devices                  []Disk
}

// Disk is a node's device.
type Disk struct {
	ID, Name, State string
	Total, Free     int64 // bytes
	Bricks          int
}

// Nodes lists the nodes of all clusters with their devices, by name.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	var list struct {
		Clusters []string `json:"clusters"`
	}
	if err := c.Do(ctx, http.MethodGet, "/clusters", nil, &list); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var all []Node
	for _, cluster := range list.Clusters {
		var of clusterInfo
		if err := c.Do(ctx, http.MethodGet, "/clusters/"+cluster, nil, &of); err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		for _, id := range of.Nodes {
			var is nodeInfo
			if err := c.Do(ctx, http.MethodGet, "/nodes/"+id, nil, &is); err != nil {
				return nil, fmt.Errorf("look at node %s: %w", id, err)
			}
			all = append(all, is.node())
		}
	}
	slices.SortFunc(all, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (is nodeInfo) node() Node {
	n := Node{ID: is.ID, Name: is.Hostnames.Manage[0], Address: is.Hostnames.Storage[0], State: is.State, Zone: is.Zone}
	for _, d := range is.Devices {
		n.Devices = append(n.Devices, Disk{ID: d.ID, Name: d.Name, State: d.State,
			Total: d.Storage.Total << 10, Free: d.Storage.Free << 10, Bricks: len(d.Bricks)})
	}
	slices.SortFunc(n.Devices, func(a, b Disk) int { return strings.Compare(a.Name, b.Name) })
	return n
}

// AddDevice gives a node's device to the storage. Wipe permits to erase what is on it.
func (c *Client) AddDevice(ctx context.Context, node, name string, wipe bool) error {
	return c.Do(ctx, http.MethodPost, "/devices", deviceRequest{Name: name, Node: node, DestroyData: wipe}, nil)
}

// EvictDevice moves all bricks of a device elsewhere, and gives it back.
func (c *Client) EvictDevice(ctx context.Context, id string) error {
	for _, state := range []engine.Mode{engine.Offline, engine.Failed} {
		if err := c.Do(ctx, http.MethodPost, "/devices/"+id+"/state", stateRequest{string(state)}, nil); err != nil {
			return err
		}
	}
	return c.Do(ctx, http.MethodDelete, "/devices/"+id, nil, nil)
}

// RenewNode makes a node that has been set up anew what the lost one was.
func (c *Client) RenewNode(ctx context.Context, id string, wipe bool) error {
	return c.Do(ctx, http.MethodPost, "/nodes/"+id+"/renew", renewRequest{wipe}, nil)
}
