//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"picluster/internal/host"
)

// node0 gets another address from DHCP, twice, while the cluster runs: nobody notices.
func TestCluster_outlivesOtherAddresses(t *testing.T) {
	b := newBox(t)
	for _, n := range b.all() {
		n.PowerOn()
	}
	b.awaitReady(t, formed...)
	works(t, b.nodes[0], formed...)
	before, node0 := b.lives(t), b.nodes[0]

	for _, first := range []int{200, 150} {
		b.lan.Router.Serve(first)
		node0.Unplug()
		eventually(t, "node0 to lose its cable", func() error {
			out, err := node0.Run(t.Context(), host.Cmd{Args: []string{"cat", "/sys/class/net/eth0/carrier"}})
			if err == nil && strings.TrimSpace(string(out)) != "0" {
				err = fmt.Errorf("carrier is %s", out)
			}
			return err
		})
		node0.Plug()
		eventually(t, "another address of node0", func() error {
			out := on(t, node0, "ip", "-4", "-o", "address", "show", "eth0")
			for last := first; last < first+50; last++ { // what Serve gives out
				if strings.Contains(out, fmt.Sprintf(" 192.168.77.%d/", last)) {
					return nil
				}
			}
			return fmt.Errorf("it has %s", out)
		})
		// As long as a node that has gone takes to be noticed.
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Second) {
			if out := kubectl(t, node0, "get", "nodes", "--no-headers"); strings.Contains(out, "NotReady") {
				t.Errorf("after another address:\n%s", out)
			}
		}
	}
	if after := b.lives(t); !maps.Equal(before, after) {
		t.Errorf("pods have restarted: before %v, after %v", before, after)
	}
	works(t, node0, formed...)
}

// lives counts how often each pod's containers have been started anew.
func (b *box) lives(t *testing.T) map[string]string {
	t.Helper()
	out := kubectl(t, b.nodes[0], "get", "pods", "--all-namespaces", "-o",
		`jsonpath={range .items[*]}{.metadata.uid} {.metadata.name}:{.status.containerStatuses[*].restartCount}{"\n"}{end}`)
	lives := map[string]string{}
	for line := range strings.Lines(out) {
		pod, count, _ := strings.Cut(strings.TrimSpace(line), ":")
		lives[pod] = count
	}
	return lives
}
