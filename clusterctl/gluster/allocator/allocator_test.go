package allocator_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	. "picluster/clusterctl/gluster/allocator"
)

const gib = 1 << 30

// shelf is three nodes in as many zones, the last one with two devices.
var shelf = []Device{
	{ID: "d0", Node: "node0", Zone: 1, Free: 15 * gib},
	{ID: "d1", Node: "node1", Zone: 2, Free: 20 * gib},
	{ID: "d2", Node: "node2", Zone: 3, Free: 4 * gib},
	{ID: "d3", Node: "node2", Zone: 3, Free: 9 * gib},
}

func show(sets [][]Brick, err error) string {
	if err != nil {
		return err.Error()
	}
	text := ""
	for i, set := range sets {
		if i > 0 {
			text += " | "
		}
		for j, b := range set {
			if j > 0 {
				text += " "
			}
			text += fmt.Sprintf("%s/%s %s", b.Node, b.Device, Size(b.Bytes))
			if b.Arbiter {
				text += " arbiter"
			}
		}
	}
	return text
}

func TestPlace_choosesBricks(t *testing.T) {
	zoned := func(node string, zone int, free int64, role Role) Device {
		return Device{ID: "disk", Node: node, Zone: zone, Free: free * gib, Role: role}
	}
	for name, test := range map[string]struct {
		devices []Device
		request Request
		want    string
	}{
		"three copies": {shelf, Request{Bytes: 5 * gib, Replicas: 3},
			"node1/d1 5.0 GiB node0/d0 5.0 GiB node2/d3 5.0 GiB"},
		"one copy, where there is most room": {shelf, Request{Bytes: gib, Replicas: 1},
			"node1/d1 1.0 GiB"},
		"two copies and an arbiter, where there is least": {shelf, Request{Bytes: 5 * gib, Replicas: 2, ArbiterBytes: gib},
			"node1/d1 5.0 GiB node0/d0 5.0 GiB node2/d3 1.0 GiB arbiter"},
		"in two parts, which no set has room for as one": {shelf, Request{Bytes: 12 * gib, Replicas: 3, MaxSets: 4},
			"node1/d1 4.0 GiB node0/d0 4.0 GiB node2/d3 4.0 GiB | node1/d1 4.0 GiB node0/d0 4.0 GiB node2/d3 4.0 GiB | node1/d1 4.0 GiB node0/d0 4.0 GiB node2/d2 4.0 GiB"},
		"no room": {shelf, Request{Bytes: 12 * gib, Replicas: 3},
			"place 3 bricks of 12.0 GiB on as many nodes: not enough space: node0 15.0 GiB, node1 20.0 GiB, node2 9.0 GiB"},
		"too few nodes": {shelf[:2], Request{Bytes: gib, Replicas: 2, ArbiterBytes: gib / 16, MaxSets: 2},
			"place 2 bricks of 1.0 GiB on as many nodes and an arbiter of 64.0 MiB on one more, or up to 2 parts: not enough space: node0 15.0 GiB, node1 20.0 GiB"},
		"no device": {nil, Request{Bytes: gib, Replicas: 1},
			"place 1 bricks of 1.0 GiB on as many nodes: not enough space: no node has any"},
		"nothing wanted": {shelf, Request{Replicas: 3}, "place bricks: 3 copies of 0 bytes is no volume"},
		"zones before space": {[]Device{zoned("a", 1, 100, Any), zoned("b", 1, 90, Any), zoned("c", 1, 80, Any), zoned("d", 2, 10, Any)},
			Request{Bytes: gib, Replicas: 2}, "a/disk 1.0 GiB d/disk 1.0 GiB"},
		"zones evenly": {[]Device{zoned("a", 1, 100, Any), zoned("b", 1, 90, Any), zoned("c", 2, 80, Any), zoned("d", 2, 10, Any)},
			Request{Bytes: gib, Replicas: 4}, "a/disk 1.0 GiB c/disk 1.0 GiB b/disk 1.0 GiB d/disk 1.0 GiB"},
		"the only arbiter has the most room": {[]Device{zoned("a", 1, 100, Any), zoned("b", 1, 9, DataOnly), zoned("c", 1, 8, DataOnly)},
			Request{Bytes: gib, Replicas: 2, ArbiterBytes: 1 << 20}, "b/disk 1.0 GiB c/disk 1.0 GiB a/disk 1.0 MiB arbiter"},
		"an arbiter that holds no data": {[]Device{zoned("a", 1, 100, Any), zoned("b", 1, 90, Any), zoned("c", 1, 1, Any), zoned("d", 1, 200, ArbiterOnly)},
			Request{Bytes: gib, Replicas: 2, ArbiterBytes: 1 << 20}, "a/disk 1.0 GiB b/disk 1.0 GiB d/disk 1.0 MiB arbiter"},
		"a lost brick": {shelf, Request{Bytes: 3 * gib, Replicas: 1, Beside: []Device{shelf[0], shelf[1]}},
			"node2/d3 3.0 GiB"},
		"a lost arbiter": {append([]Device{zoned("a", 1, 500, Any)}, shelf...), Request{Bytes: 1 << 20, Replicas: 1, Beside: []Device{shelf[0], shelf[1]}},
			"node2/d3 1.0 MiB"},
	} {
		if got := show(Place(test.devices, test.request)); got != test.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, test.want)
		}
	}
}

func TestPlace_saysThatItIsSpace(t *testing.T) {
	if _, err := Place(shelf, Request{Bytes: 100 * gib, Replicas: 3}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("got %v", err)
	}
}

// Each request is of a world with up to eight nodes in up to four zones.
func FuzzPlace(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		random := rand.New(rand.NewPCG(seed, 1))
		devices, request := world(random)
		sets, err := Place(devices, request)
		checkOrder(t, random, devices, request, sets, err)
		if err != nil {
			if !errors.Is(err, ErrNoSpace) {
				t.Fatalf("%+v: %v", request, err)
			}
			if fits(devices, request) {
				t.Fatalf("%+v has a place among %+v, got %v", request, devices, err)
			}
			return
		}
		free := map[string]int64{}
		for _, d := range devices {
			free[d.ID] = d.Free
		}
		for _, set := range sets {
			checkSet(t, devices, request, set)
			for _, b := range set {
				if free[b.Device] -= takes(request, b.Bytes); free[b.Device] < 0 {
					t.Fatalf("%s is overfull: %+v on %+v", b.Device, sets, devices)
				}
			}
		}
		if len(sets) == 1 {
			checkZones(t, devices, request, sets[0])
		}
	})
}

func world(r *rand.Rand) ([]Device, Request) {
	var devices []Device
	zones := 1 + r.IntN(4)
	for n := range r.IntN(9) {
		zone := 1 + r.IntN(zones)
		for d := range r.IntN(3) {
			devices = append(devices, Device{
				ID: fmt.Sprintf("n%dd%d", n, d), Node: fmt.Sprintf("n%d", n), Zone: zone,
				Free: r.Int64N(50), Role: Role(max(0, r.IntN(6)-3)),
			})
		}
	}
	request := Request{Bytes: 1 + r.Int64N(40), Replicas: 1 + r.IntN(4), MaxSets: r.IntN(5)}
	if r.IntN(2) == 0 {
		request.ArbiterBytes = 1 + r.Int64N(5)
	}
	if r.IntN(2) == 0 {
		request.Footprint = func(bytes int64) int64 { return bytes + bytes/4 + 3 }
	}
	for _, d := range devices {
		if r.IntN(10) == 0 && len(request.Beside) < 2 {
			request.Beside = append(request.Beside, d)
		}
	}
	return devices, request
}

// checkOrder wants the same answer from the same devices in another order.
func checkOrder(t *testing.T, r *rand.Rand, devices []Device, request Request, sets [][]Brick, err error) {
	t.Helper()
	shuffled := append([]Device(nil), devices...)
	r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	again, againErr := Place(shuffled, request)
	if !reflect.DeepEqual(sets, again) || fmt.Sprint(err) != fmt.Sprint(againErr) {
		t.Fatalf("%+v: got %v, %v and %v, %v", request, sets, err, again, againErr)
	}
}

// checkSet wants the right number and sizes of bricks, no two on a node, and none on
// a node that the set has already.
func checkSet(t *testing.T, devices []Device, request Request, set []Brick) {
	t.Helper()
	nodes := map[string]bool{}
	for _, d := range request.Beside {
		nodes[d.Node] = true
	}
	data := 0
	for i, b := range set {
		d := find(devices, b.Device)
		if d.Node != b.Node || nodes[b.Node] {
			t.Fatalf("%+v: brick %d of %+v is on a wrong node", request, i, set)
		}
		nodes[b.Node] = true
		if d.Role == DataOnly && b.Arbiter || d.Role == ArbiterOnly && !b.Arbiter {
			t.Fatalf("brick %+v is on %+v", b, d)
		}
		if !b.Arbiter {
			data++
		}
		if b.Arbiter && i != len(set)-1 {
			t.Fatalf("the arbiter is not the last of %+v", set)
		}
	}
	if arbiters := len(set) - data; data != request.Replicas || (arbiters == 1) != (request.ArbiterBytes > 0) || arbiters > 1 {
		t.Fatalf("%+v got %+v", request, set)
	}
}

// checkZones wants as many zones as there could be.
func checkZones(t *testing.T, devices []Device, request Request, set []Brick) {
	t.Helper()
	if request.ArbiterBytes > 0 {
		return // the best set is found by trying; the table above has the cases
	}
	possible, used := map[int]bool{}, map[int]bool{}
	beside := map[string]bool{}
	for _, d := range request.Beside {
		beside[d.Node] = true
		possible[d.Zone], used[d.Zone] = true, true
	}
	fresh := 0
	for _, d := range devices {
		if d.Free >= takes(request, request.Bytes) && d.Role != ArbiterOnly && !beside[d.Node] && !possible[d.Zone] {
			possible[d.Zone] = true
			fresh++
		}
	}
	before := len(used)
	for _, b := range set {
		used[find(devices, b.Device).Zone] = true
	}
	if want := before + min(fresh, request.Replicas); len(used) != want {
		t.Fatalf("%+v uses %d zones of %d: %+v", request, len(used), want, set)
	}
}

func takes(r Request, bytes int64) int64 {
	if r.Footprint == nil {
		return bytes
	}
	return r.Footprint(bytes)
}

func find(devices []Device, id string) Device {
	for _, d := range devices {
		if d.ID == id {
			return d
		}
	}
	return Device{}
}

// fits looks for one set by trying everything.
func fits(devices []Device, r Request) bool {
	nodes := map[string]bool{}
	for _, d := range r.Beside {
		nodes[d.Node] = true
	}
	var try func(data int, arbiter bool) bool
	try = func(data int, arbiter bool) bool {
		if data == 0 && !arbiter {
			return true
		}
		for _, d := range devices {
			if nodes[d.Node] {
				continue
			}
			nodes[d.Node] = true
			ok := data > 0 && d.Free >= takes(r, r.Bytes) && d.Role != ArbiterOnly && try(data-1, arbiter) ||
				arbiter && d.Free >= takes(r, r.ArbiterBytes) && d.Role != DataOnly && try(data, false)
			delete(nodes, d.Node)
			if ok {
				return true
			}
		}
		return false
	}
	return try(r.Replicas, r.ArbiterBytes > 0)
}
