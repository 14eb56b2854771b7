//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"picluster/internal/lab"
)

// pair is a control plane of this machine's processor and a worker that is a Pi.
var pair = wish{nodes: []string{"pi-node0"}, pis: `name: home
nodePrefix: pi-
nodes: 2
network: {interface: eth0}
system: {swap: keep, user: {name: alice, authorizedKeys: [secrets/operator/id_ed25519.pub]}}
`, spec: "storage: {backend: none}\n"}

// An emulated Pi, with a card just as imagebuilder writes it and nothing but what is on
// that card, becomes a node: containerd and the kubelet of its own processor, from the
// payload.
func TestCluster_aPiJoins(t *testing.T) {
	watch := stopwatch{t, time.Now()}
	here := onlineDesk(t, pair, "amd64")
	here.gather(t)
	pis := onlineDesk(t, pair, "arm64")
	image := lab.Bootable(t, "trixie")
	pis.bundle(t, "--image", image)
	watch.lap("payloads are gathered")
	b := newOfflineBox(t, pair, here)
	card := filepath.Join(t.TempDir(), "card.img")
	b.desk.take(t, "payload", pis)
	if stdout, stderr, code := b.desk.run(t, "", "write", card, "--yes", "--node", "pi-node1", "--image", image); code != 0 {
		t.Fatalf("write: exit code %d\n%s%s", code, stdout, stderr)
	}
	if err := os.Truncate(card, cardSize); err != nil {
		t.Fatal(err)
	}
	watch.lap("cards are written")
	b.nodes[0].PowerOn()
	b.awaitReady(t, "pi-node0")
	watch.lap("the control plane is Ready")

	const tap = "pi1"
	for _, args := range [][]string{{"ip", "tuntap", "add", tap, "mode", "tap"}, {"ip", "link", "set", tap, "master", "br0", "up"}} {
		if err := b.lan.Run(args...); err != nil {
			t.Fatal(err)
		}
	}
	on := time.Now()
	since := func() time.Duration { return time.Since(on).Round(100 * time.Millisecond) }
	m := lab.Boot(t, lab.VM{Image: card, Memory: 2048, Tap: tap, Inside: b.lan.Inside})
	for _, line := range []string{`this Pi is configured as pi-node1`, `running: kubernetes/`, `running: runtime/`, `running: join/`, `This Pi is configured: it is pi-node1`} {
		m.Expect(`picluster: [^\n]*`+line, clusterTime)
		t.Logf("%s after power-on: %s", since(), line)
	}
	b.awaitReady(t, "pi-node0", "pi-node1")
	t.Logf("Ready %s after power-on", since())
	works(t, b.nodes[0], "pi-node0", "pi-node1")
	t.Logf("pods and the service answer on both %s after power-on", since())
	if arch := kubectl(t, b.nodes[0], "get", "node", "pi-node1", "-o", "jsonpath={.status.nodeInfo.architecture}"); arch != "arm64" {
		t.Errorf("the Pi's processor is %s", arch)
	}
}
