// Command heketi uses every call of Heketi's published Go client that is about files,
// against the server whose address is its argument, and prints what comes back. Its
// keys are in the environment. It ends with 1 if a call goes wrong that should not.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	client "github.com/heketi/heketi/client/api/go-client"
	"github.com/heketi/heketi/pkg/glusterfs/api"
)

func main() {
	url, nodes := os.Args[1], os.Args[2:] // of each node NAME=ADDRESS=DEVICE
	t := talk{client.NewClient(url, "admin", os.Getenv("ADMIN_KEY"))}
	t.roles(url)
	t.cluster(nodes)
}

// talk is a conversation that is printed.
type talk struct{ *client.Client }

func (t talk) say(what string, document any, err error) {
	if err != nil {
		fmt.Printf("%s: unexpected error: %v\n", what, err)
		os.Exit(1)
	}
	if document == nil {
		fmt.Println(what + ": ok")
		return
	}
	text, _ := json.MarshalIndent(document, "", "  ")
	fmt.Printf("%s: %s\n", what, text)
}

// refuse prints the error that a call must come to.
func (t talk) refuse(what string, err error) {
	if err == nil {
		fmt.Println(what + ": it is accepted")
		os.Exit(1)
	}
	fmt.Printf("%s: error: %v\n", what, err)
}

func (t talk) roles(url string) {
	t.say("hello", nil, t.Hello())
	_, err := client.NewClient(url, "admin", "wrong").ClusterList()
	t.refuse("wrong key", err)
	_, err = client.NewClient(url, "nobody", "wrong").ClusterList()
	t.refuse("unknown user", err)
	_, err = client.NewClient(url, "user", os.Getenv("USER_KEY")).ClusterList()
	t.refuse("clusters for the user", err)
	volumes, err := client.NewClient(url, "user", os.Getenv("USER_KEY")).VolumeList()
	t.say("volumes for the user", volumes, err)
}

func (t talk) cluster(nodes []string) {
	c, err := t.ClusterCreate(&api.ClusterCreateRequest{ClusterFlags: api.ClusterFlags{File: true, Block: true}})
	t.say("cluster create", c, err)
	t.say("cluster flags", nil, t.ClusterSetFlags(c.Id, &api.ClusterSetFlagsRequest{ClusterFlags: api.ClusterFlags{File: true}}))
	var ids []string
	for i, word := range nodes {
		part := strings.Split(word, "=")
		q := &api.NodeAddRequest{ClusterId: c.Id, Zone: i + 1}
		q.Hostnames.Manage, q.Hostnames.Storage = []string{part[0]}, []string{part[1]}
		n, err := t.NodeAdd(q)
		t.say("node add", n, err)
		ids = append(ids, n.Id)
		_, err = t.NodeAdd(q)
		t.refuse("node add again", err)
		d := &api.DeviceAddRequest{NodeId: n.Id, DestroyData: i > 0}
		d.Name = part[2]
		if i == 0 {
			t.refuse("device add with data", t.DeviceAdd(d))
			d.DestroyData = true
		}
		t.say("device add", nil, t.DeviceAdd(d))
		t.refuse("device add again", t.DeviceAdd(d))
	}
	t.refused(c.Id, ids[0])
	t.tags(ids[0])
	t.volumes(c.Id)
	t.states(ids[2])
	t.rest()
	t.remove(c.Id, ids)
}

// refused are calls that must not do anything.
func (t talk) refused(cluster, node string) {
	unknown := strings.Repeat("0", 32)
	_, err := t.NodeAdd(&api.NodeAddRequest{ClusterId: unknown, Zone: 1, Hostnames: api.HostAddresses{Manage: []string{"x"}, Storage: []string{"y"}}})
	t.refuse("node add to no cluster", err)
	_, err = t.NodeAdd(&api.NodeAddRequest{ClusterId: cluster, Hostnames: api.HostAddresses{Manage: []string{"x"}, Storage: []string{"y"}}})
	t.refuse("node add without zone", err)
	_, err = t.VolumeInfo(unknown)
	t.refuse("volume info of none", err)
	t.refuse("volume delete of none", t.VolumeDelete(unknown))
	t.refuse("device delete of none", t.DeviceDelete(unknown))
	t.refuse("node delete with devices", t.NodeDelete(node))
	t.refuse("cluster delete with nodes", t.ClusterDelete(cluster))
	t.refuse("node state of no kind", t.NodeState(node, &api.StateRequest{State: "asleep"}))
	changes := map[string]func(*api.VolumeCreateRequest){
		"volume create without size":       func(q *api.VolumeCreateRequest) { q.Size = 0 },
		"volume create too large":          func(q *api.VolumeCreateRequest) { q.Size = 1000 },
		"volume create with a bad name":    func(q *api.VolumeCreateRequest) { q.Name = "a/b" },
		"volume create on block":           func(q *api.VolumeCreateRequest) { q.Block = true },
		"volume create dispersed":          func(q *api.VolumeCreateRequest) { q.Durability.Type = api.DurabilityEC },
		"volume create of seven copies":    func(q *api.VolumeCreateRequest) { q.Durability.Replicate.Replica = 7 },
		"volume create in no cluster":      func(q *api.VolumeCreateRequest) { q.Clusters = []string{unknown} },
		"volume create with an odd option": func(q *api.VolumeCreateRequest) { q.GlusterVolumeOptions = []string{"no.such 1"} },
	}
	for _, what := range slices.Sorted(maps.Keys(changes)) {
		q := &api.VolumeCreateRequest{Size: 1}
		q.Durability.Type, q.Durability.Replicate.Replica = api.DurabilityReplicate, 3
		changes[what](q)
		_, err := t.VolumeCreate(q)
		t.refuse(what, err)
	}
}

func (t talk) tags(node string) {
	t.say("node tags", nil, t.NodeSetTags(node, &api.TagsChangeRequest{Tags: map[string]string{"shelf": "upper", "gone": "1"}, Change: api.SetTags}))
	t.say("node tags less", nil, t.NodeSetTags(node, &api.TagsChangeRequest{Tags: map[string]string{"gone": ""}, Change: api.DeleteTags}))
	n, err := t.NodeInfo(node)
	t.say("node info", n, err)
	device := n.DevicesInfo[0].Id
	t.say("device tags", nil, t.DeviceSetTags(device, &api.TagsChangeRequest{Tags: map[string]string{"media": "ssd"}, Change: api.UpdateTags}))
	t.say("device resync", nil, t.DeviceResync(device))
	d, err := t.DeviceInfo(device)
	t.say("device info", d, err)
}

func (t talk) volumes(cluster string) {
	q := &api.VolumeCreateRequest{Size: 1, Name: "demo", Gid: 2000, GlusterVolumeOptions: []string{"performance.read-ahead off"}}
	q.Durability.Type, q.Durability.Replicate.Replica = api.DurabilityReplicate, 3
	v, err := t.VolumeCreate(q)
	t.say("volume create", v, err)
	_, err = t.VolumeCreate(q)
	t.refuse("volume create again", err)
	v, err = t.VolumeExpand(v.Id, &api.VolumeExpandRequest{Size: 1})
	t.say("volume expand", v, err)
	_, err = t.VolumeClone(v.Id, &api.VolumeCloneRequest{})
	t.refuse("volume clone", err)
	q = &api.VolumeCreateRequest{Size: 1, GlusterVolumeOptions: []string{"user.heketi.arbiter true"}}
	q.Durability.Type, q.Durability.Replicate.Replica = api.DurabilityReplicate, 3
	a, err := t.VolumeCreate(q)
	t.say("volume create with arbiter", a, err)
	t.say("volume delete", nil, t.VolumeDelete(a.Id))
	v, err = t.VolumeInfo(v.Id)
	t.say("volume info", v, err)
	list, err := t.VolumeList()
	t.say("volume list", list, err)
	c, err := t.ClusterInfo(cluster)
	slices.Sort(c.Nodes)
	t.say("cluster info has nodes and volumes", []int{len(c.Nodes), len(c.Volumes)}, err)
	topology, err := t.TopologyInfo()
	t.say("topology info has nodes and volumes", []int{len(topology.ClusterList[0].Nodes), len(topology.ClusterList[0].Volumes)}, err)
	blocks, err := t.BlockVolumeList()
	t.say("block volume list", blocks, err)
	t.say("volume delete", nil, t.VolumeDelete(v.Id))
}

func (t talk) states(node string) {
	t.say("node offline", nil, t.NodeState(node, &api.StateRequest{State: api.EntryStateOffline}))
	q := &api.VolumeCreateRequest{Size: 1}
	q.Durability.Type, q.Durability.Replicate.Replica = api.DurabilityReplicate, 3
	_, err := t.VolumeCreate(q)
	t.refuse("volume create with a node offline", err)
	t.say("node failed", nil, t.NodeState(node, &api.StateRequest{State: api.EntryStateFailed}))
	t.say("node online", nil, t.NodeState(node, &api.StateRequest{State: api.EntryStateOnline}))
	n, err := t.NodeInfo(node)
	t.say("device offline", nil, t.DeviceState(n.DevicesInfo[0].Id, &api.StateRequest{State: api.EntryStateOffline}))
	t.say("device online", nil, t.DeviceState(n.DevicesInfo[0].Id, &api.StateRequest{State: api.EntryStateOnline}))
	t.say("node has a device that is", n.DevicesInfo[0].State, err)
}

func (t talk) rest() {
	operations, err := t.OperationsInfo()
	t.say("operations", operations, err)
	pending, err := t.PendingOperationList()
	t.say("pending operations", pending, err)
	t.say("pending operations clean up", nil, t.PendingOperationCleanUp(&api.PendingOperationsCleanRequest{}))
	_, err = t.PendingOperationDetails(strings.Repeat("0", 32))
	t.refuse("pending operation of none", err)
	admin, err := t.AdminStatusGet()
	t.say("admin status", admin, err)
	t.say("admin status normal", nil, t.AdminStatusSet(&api.AdminStatus{State: api.AdminStateNormal}))
	t.refuse("admin status read-only", t.AdminStatusSet(&api.AdminStatus{State: api.AdminStateReadOnly}))
	var backup bytes.Buffer
	err = t.BackupDb(&backup)
	t.say("backup is JSON", json.Valid(backup.Bytes()), err)
	dump, err := t.DbDump()
	t.say("dump is JSON", json.Valid([]byte(dump)), err)
	check, err := t.DbCheck()
	t.say("check", strings.TrimSpace(check), err)
}

func (t talk) remove(cluster string, nodes []string) {
	for _, id := range nodes {
		n, err := t.NodeInfo(id)
		if err == nil {
			err = t.DeviceDelete(n.DevicesInfo[0].Id)
		}
		t.say("device delete", nil, err)
		t.say("node delete", nil, t.NodeDelete(id))
	}
	t.say("cluster delete", nil, t.ClusterDelete(cluster))
	list, err := t.ClusterList()
	t.say("cluster list", list, err)
}
