package gluster_test

import (
	"strings"
	"testing"
	"time"

	"picluster/internal/host"
	"picluster/internal/lab/gluster"
)

func run(t *testing.T, n *gluster.Node, args ...string) string {
	t.Helper()
	out, err := n.Run(t.Context(), host.Cmd{Args: args})
	if err != nil {
		t.Fatalf("%s: %v", n, err)
	}
	return strings.TrimSpace(string(out))
}

func until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for range 600 {
		if ready() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

func TestCluster_isMadeOfNodesThatCanFail(t *testing.T) {
	c := gluster.Start(t, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	if name := run(t, a, "hostname"); name != "node0" {
		t.Errorf("it is %s", name)
	}
	if out := run(t, a, "ps", "-e", "-o", "comm="); !strings.Contains(out, "glusterd") || strings.Count(out, "glusterd") != 1 {
		t.Errorf("it has these processes: %s", out)
	}
	run(t, a, "gluster", "--mode=script", "peer", "probe", b.Address)
	connected := func() bool {
		return strings.Count(run(t, a, "gluster", "--mode=script", "pool", "list"), "Connected") == 2
	}
	until(t, "the peer", connected)
	run(t, b, "sh", "-c", "echo kept >/srv/kept; echo lost >/run/lost")
	b.PowerOff()
	until(t, "the peer to go", func() bool { return !connected() })
	if _, err := b.Run(t.Context(), host.Cmd{Args: []string{"true"}}); err == nil {
		t.Error("a node without power runs programs")
	}
	b.PowerOn()
	until(t, "the peer to come back", connected)
	if got := run(t, b, "sh", "-c", "cat /srv/kept; ls /run/lost 2>/dev/null || echo gone"); got != "kept\ngone" {
		t.Errorf("it has %q", got)
	}
	b.Unplug()
	if _, err := a.Run(t.Context(), host.Cmd{Args: []string{"timeout", "0.5", "bash", "-c", ": </dev/tcp/" + b.Address + "/24007"}}); err == nil {
		t.Error("packets come through without a cable")
	}
	b.Plug()
	until(t, "the cable", func() bool {
		_, err := a.Run(t.Context(), host.Cmd{Args: []string{"timeout", "2", "bash", "-c", ": </dev/tcp/" + b.Address + "/24007"}})
		return err == nil
	})
	data, err := c.Client.ReadFile(t.Context(), "/etc/hosts")
	if err != nil || !strings.Contains(string(data), b.Address+" node1\n") {
		t.Errorf("the client has %s: %v", data, err)
	}
}
