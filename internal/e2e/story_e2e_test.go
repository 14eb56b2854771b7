//go:build e2e

package e2e

import (
	"encoding/json"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab/kube/images"
)

// hyperconverged is a cluster that keeps its data itself. This kernel has no quotas; the
// dashboard's image cannot be had everywhere, and the registry wants more room than the
// test's machine may have.
var hyperconverged = wish{stages: ",storage", spec: `storage:
  bricks: loopfile
  device: {loop: {path: /var/gluster.img, size: 2Gi}}
addons: {registry: false, dashboard: none}
`}

// What the product is for, from one file to a cluster that outlives one of its Pis:
// only what a person does is done here, and nothing is on the LAN but the Pis.
func TestStory_ofACluster(t *testing.T) {
	watch := stopwatch{t, time.Now()}
	d := onlineDesk(t, hyperconverged)
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
	b := newOfflineBox(t, hyperconverged, d)
	watch.lap("cards are written")

	for _, n := range b.nodes {
		n.PowerOn()
	}
	watch.lap("three Pis are switched on")
	b.clusterctl(t, 0, "wait", "--timeout", clusterTime.String())
	watch.lap("all nodes are Ready")
	b.clusterctl(t, 0, "deploy")
	b.clusterctl(t, 0, "wait", "--for", "addons", "--timeout", clusterTime.String())
	watch.lap("storage is there")
	if out := b.clusterctl(t, 0, "deploy"); !strings.HasPrefix(out, "Nothing to do") {
		t.Errorf("the second deploy changes something:\n%s", out)
	}
	b.clusterctl(t, 0, "demo", "redis", "--verify")
	watch.lap("redis has moved to another node with its data")

	b.spare.PowerOn()
	b.awaitReady(t, formed...)
	watch.lap("the spare has joined")

	// A Pi burns down. Another one gets a new card of the same node.
	b.nodes[2].PowerCut()
	watch.lap("pi-node2 is dead")
	fresh := b.lan.Node("fresh")
	b.insertCard(t, fresh, agentOfThisMachine(t), "--node", "pi-node2", "--again")
	fresh.PowerOn()
	b.clusterctl(t, 0, "node", "replace", "pi-node2", "--yes")
	b.nodes[2] = fresh
	watch.lap("pi-node2 is replaced")
	b.awaitReady(t, formed...)
	b.clusterctl(t, 0, "wait", "--for", "addons", "--timeout", clusterTime.String())
	b.clusterctl(t, 0, "storage", "check")
	b.healthy(t)
	watch.lap("the cluster is healthy")
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
