//go:build e2e

package e2e

import (
	"encoding/json"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab/kube/images"
)

// withStorage is what a cluster that keeps its data itself has in its cluster.yaml. This
// kernel has no quotas; the dashboard's image cannot be had everywhere, and the registry
// wants more room than the test's machine may have.
const withStorage = `storage:
  bricks: loopfile
  device: {loop: {path: /var/gluster.img, size: 2Gi}}
addons: {registry: false, dashboard: none}
`

// home is the cluster of the README, with a spare in the drawer.
func home() wish {
	w := bare
	w.spec, w.stages = withStorage, ",storage"
	return w
}

// attic has names and addresses of its own, no swap, and two copies of everything with a
// witness. A swap file would be the test's machine's, and kubelets want the second version
// of control groups for it, which that may not have.
var attic = wish{nodes: []string{"beam", "crate", "dormer"}, pis: `name: attic
nodes:
- {name: beam, address: 192.168.77.20/24}
- {name: crate, address: 192.168.77.21/24}
- {name: dormer, address: 192.168.77.22/24, labels: {floor: upper}}
network: {interface: eth0, gateway: 192.168.77.1}
system: {swap: off, user: {name: bob, authorizedKeys: [secrets/operator/id_ed25519.pub]}}
`, spec: strings.Replace(withStorage, "  bricks:", "  replicas: 2\n  bricks:", 1), stages: ",storage"}

// What the product is for, from one file to a cluster that outlives one of its Pis:
// only what a person does is done here, and nothing is on the LAN but the Pis.
func TestStory_ofACluster(t *testing.T) {
	for name, w := range map[string]wish{"home": home(), "attic": attic} {
		t.Run(name, func(t *testing.T) { story(t, w) })
	}
}

func story(t *testing.T, w wish) {
	watch := stopwatch{t, time.Now()}
	b := cardsOf(t, watch, w)
	for _, n := range b.nodes {
		n.PowerOn()
	}
	watch.lap("the Pis are switched on")
	b.clusterctl(t, 0, "wait", "--timeout", clusterTime.String())
	watch.lap("all nodes are Ready")
	b.clusterctl(t, 0, "deploy")
	b.clusterctl(t, 0, "wait", "--for", "addons", "--timeout", clusterTime.String())
	watch.lap("storage is there")
	if out := b.clusterctl(t, 0, "deploy"); !strings.HasPrefix(out, "Nothing to do") {
		t.Errorf("the second deploy changes something:\n%s", out)
	}
	b.sharesFiles(t, watch)
	b.clusterctl(t, 0, "demo", "redis", "--verify")
	watch.lap("redis has moved to another node with its data")

	members := w.nodes
	if b.spare != nil {
		b.spare.PowerOn()
		members = append(slices.Clone(members), w.spare)
		b.awaitReady(t, members...)
		watch.lap("the spare has joined")
	}
	b.burnDown(t, watch, len(b.nodes)-1, members)
	b.healthy(t)
	watch.lap("the cluster is healthy")
}

// cardsOf makes all that a cluster's cards need, and the cards.
func cardsOf(t *testing.T, watch stopwatch, w wish) *box {
	t.Helper()
	d := onlineDesk(t, w, runtime.GOARCH)
	storage := filepath.Join(d.dir, "storage.tar")
	d.clusterctl(t, nil, 0, "images", "build", "--arch", runtime.GOARCH, "--out", storage)
	watch.lap("storage's image is built")
	with := []string{"--archive", storage}
	for _, name := range images.Names() {
		if strings.Contains(name, "/sig-storage/") || name == images.Redis {
			with = append(with, "--with", name)
		}
	}
	d.gather(t, with...)
	watch.lap("payload is gathered")
	b := newOfflineBox(t, w, d)
	watch.lap("cards are written")
	return b
}

// burnDown takes a Pi away for good. Another one gets a new card of the same node.
func (b *box) burnDown(t *testing.T, watch stopwatch, i int, members []string) {
	t.Helper()
	name := b.wish.nodes[i]
	b.nodes[i].PowerCut()
	watch.lap(name + " is dead")
	fresh := b.lan.Node("fresh")
	b.insertCard(t, fresh, agentOfThisMachine(t), "--node", name, "--again")
	fresh.PowerOn()
	b.clusterctl(t, 0, "node", "replace", name, "--yes")
	b.nodes[i] = fresh
	watch.lap(name + " is replaced")
	b.awaitReady(t, members...)
	b.clusterctl(t, 0, "wait", "--for", "addons", "--timeout", clusterTime.String())
	b.clusterctl(t, 0, "storage", "check")
}

// healthy wants a status without anything to say.
func (b *box) healthy(t *testing.T) {
	t.Helper()
	var status struct {
		Health   string `json:"health"`
		Warnings []struct {
			ID string `json:"id"`
		} `json:"warnings"`
	}
	out := b.clusterctl(t, 0, "status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &status); err != nil || status.Health != "healthy" {
		t.Errorf("status: %v\n%s", err, out)
	}
}
