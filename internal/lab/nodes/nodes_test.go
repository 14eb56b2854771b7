//go:build e2e

package nodes_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"picluster/internal/host"
	"picluster/internal/lab/netns"
	"picluster/internal/lab/nodes"
)

func run(t *testing.T, n *nodes.Node, args ...string) string {
	t.Helper()
	out, err := n.Run(t.Context(), host.Cmd{Args: args})
	if err != nil {
		t.Fatalf("%s: %v\n%s", n, err, out)
	}
	return strings.TrimSpace(string(out))
}

// address is what the router gave a node.
func address(t *testing.T, n *nodes.Node) (address string) {
	t.Helper()
	netns.Await(t, "address of "+n.Name, func() error {
		out, err := n.Run(t.Context(), host.Cmd{Args: []string{"ip", "-4", "-o", "address", "show", "eth0"}})
		if f := strings.Fields(string(out)); err == nil && len(f) > 3 {
			address, _, _ = strings.Cut(f[3], "/")
			return nil
		}
		return fmt.Errorf("it has none: %w", err)
	})
	return address
}

func TestNode_isAMachineOfItsOwn(t *testing.T) {
	lan := nodes.New(t)
	a, b := lan.Node("a"), lan.Node("b")
	a.Install("/etc/planted", host.File{Data: []byte("planted\n")})
	began := time.Now()
	a.PowerOn()
	b.PowerOn()
	a.AwaitUp()
	b.AwaitUp()
	t.Logf("two nodes up after %v", time.Since(began).Round(100*time.Millisecond))

	if got := run(t, a, "systemctl", "--failed", "--no-legend"); got != "" {
		t.Errorf("failed: %s", got)
	}
	if got := run(t, a, "hostname"); got != "a" {
		t.Errorf("it is %q", got)
	}
	if got := run(t, a, "cat", "/etc/planted"); got != "planted" {
		t.Errorf("on its disk was %q", got)
	}
	if one, other := run(t, a, "cat", "/etc/machine-id"), run(t, b, "cat", "/etc/machine-id"); one == other || len(one) != 32 {
		t.Errorf("they have the ids %q and %q", one, other)
	}
	// What the kubelet and runc do.
	run(t, a, "mkdir", "/sys/fs/cgroup/memory/kubepods", "/sys/fs/cgroup/cpu/kubepods", "/sys/fs/cgroup/pids/kubepods")
	if out, err := b.Run(t.Context(), host.Cmd{Args: []string{"stat", "/sys/fs/cgroup/memory/kubepods"}}); err == nil {
		t.Errorf("another node sees its cgroups: %s", out)
	}
	run(t, a, "ping", "-c", "1", "-w", "60", address(t, b))

	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the test") })}
	go server.Serve(lan.Listen(nodes.Address.Addr().String() + ":80"))
	if got := run(t, a, "curl", "-sS", "http://"+nodes.Address.Addr().String()); got != "the test" {
		t.Errorf("the router says %q", got)
	}

	run(t, b, "sh", "-c", "echo kept >/var/lib/kept; echo kept >/var/lib/etcd/kept; echo lost >/run/lost")
	b.PowerCut()
	if _, err := b.Run(t.Context(), host.Cmd{Args: []string{"true"}}); err == nil {
		t.Error("a node without power runs programs")
	}
	if out, err := a.Run(t.Context(), host.Cmd{Args: []string{"ping", "-c", "1", "-W", "1", "b.local"}}); err == nil {
		t.Errorf("a node without power answers: %s", out)
	}
	b.PowerOn()
	b.AwaitUp()
	if got := run(t, b, "sh", "-c", "cat /var/lib/kept /var/lib/etcd/kept; ls /run/lost 2>/dev/null || echo gone"); got != "kept\nkept\ngone" {
		t.Errorf("after the power was back it has %q", got)
	}
	b.Unplug()
	run(t, a, "ping", "-c", "1", "-w", "60", "192.168.77.1") // another's cable is out
	if out, err := b.Run(t.Context(), host.Cmd{Args: []string{"ping", "-c", "1", "-W", "1", "192.168.77.1"}}); err == nil {
		t.Errorf("packets come through without a cable: %s", out)
	}
	b.Plug()
	b.PowerOff()
}

// A router that was exchanged gives out other addresses.
func TestRouter_changesAddresses(t *testing.T) {
	lan := nodes.New(t)
	n := lan.Node("a")
	n.PowerOn()
	before := address(t, n)
	lan.Router.Serve(200)
	n.Unplug()
	run(t, n, "sh", "-c", "until nmcli -t -f DEVICE,STATE device | grep -q '^eth0:unavailable'; do sleep 0.5; done")
	n.Plug()
	netns.Await(t, "another address", func() error {
		if now := address(t, n); now == before || !strings.HasPrefix(now, "192.168.77.2") {
			return fmt.Errorf("it has %s", now)
		}
		return nil
	})
}
