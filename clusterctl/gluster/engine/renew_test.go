//go:build e2e

package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/clusterctl/gluster"
	"picluster/clusterctl/gluster/daemon"
	. "picluster/clusterctl/gluster/engine"
	"picluster/internal/host"
	lab "picluster/internal/lab/gluster"
	"picluster/internal/step"
)

var discard = slog.New(slog.DiscardHandler)

// keep has the daemon keep glusterd running on a node, in place of the lab's, until it
// is told to stop: a node without power has none.
func (w *world) keep(n *lab.Node) (stop func()) {
	w.t.Helper()
	w.run(n, `pkill -x glusterd; while pgrep -x glusterd >/dev/null; do sleep 0.1; done; mkdir -p /tmp/storage; echo 10.77.0.9 10.77.0.10 10.77.0.11 10.77.0.12 >/tmp/storage/peers`)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		daemon.Daemon{Host: n, Bricks: Backends["loopfile"], Peers: "/tmp/storage/peers", Log: discard}.Run(ctx)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(stop)
	w.until("glusterd of "+n.Name, func() error {
		_, err := gluster.CLI{Host: n}.Peers(w.t.Context())
		return err
	})
	return stop
}

func (w *world) until(what string, ready func() error) {
	w.t.Helper()
	w.must(step.Wait{For: what, Limit: 4 * time.Minute, Every: time.Second}.Until(w.t.Context(), func(context.Context) error { return ready() }))
}

// A node is lost for good, and a new machine comes under its name and address. What was
// written before, and while it was away, is on it again; who writes has noticed nothing.
func TestEngine_renewsANodeThatIsReplaced(t *testing.T) {
	w := newWorld(t, 3, "3G")
	ctx := t.Context()
	v, err := w.CreateVolume(ctx, Request{Name: "data", Bytes: 400 * mib, Replicas: 3})
	w.must(err)
	alone, err := w.CreateVolume(ctx, Request{Name: "alone", Bytes: 400 * mib, Replicas: 1})
	w.must(err)
	lost := 2
	for i, n := range w.Nodes { // the one that has the only copy is lost
		if n.Address == alone.Bricks()[0].At.Host {
			lost = i
		}
	}
	speaker := gluster.CLI{Host: w.Nodes[(lost+1)%3]}
	at := "/tmp/" + v.Name
	w.run(w.Client, `mkdir -p "$2"; mount -t glusterfs -o backup-volfile-servers=10.77.0.10:10.77.0.11:10.77.0.12 "$1" "$2"`, speaker.Host.(*lab.Node).Address+":/data", at)
	w.run(w.Client, `for i in $(seq 50); do echo before $i >"$1/before$i"; done; sync "$1"/*`, at)
	w.Nodes[lost].PowerOff()
	w.run(w.Client, `for i in $(seq 50); do echo during $i >"$1/during$i"; done; sync "$1"/*`, at)

	w.Nodes[lost].Replace()
	w.keep(w.Nodes[lost])
	s, err := w.State(ctx)
	w.must(err)
	n := s.Clusters[0].Nodes[lost]
	if n.Manage != w.Nodes[lost].Name {
		t.Fatalf("the state has %s at that place", n)
	}
	// The new machine's disk gets the number that the old one had, or not.
	w.run(w.Nodes[lost], `truncate -s 3G /srv/disk; d=$(losetup --find --show /srv/disk); [ "$d" = "$1" ] || { losetup --detach "$d"; losetup "$1" /srv/disk; }`, n.Devices[0].Name)
	if err := w.RenewNode(ctx, n.ID, false); err == nil || !strings.Contains(err.Error(), "nobody can tell it to be that one") {
		t.Errorf("without a way to say who it is: %v", err)
	}
	w.Identify = daemon.SetUUID
	began := time.Now()
	err = w.RenewNode(ctx, n.ID, false)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "volume alone: ") || !strings.Contains(err.Error(), "had the only copy") || strings.Contains(err.Error(), "volume data") {
		t.Fatalf("of a volume without copies it says: %v", err)
	}
	w.until("healing", func() error {
		bricks, err := speaker.Heal(ctx, "data")
		if err == nil && gluster.Healed(bricks) != "" {
			err = errors.New(gluster.Healed(bricks))
		}
		return err
	})
	v, err = w.Engine.Volume(ctx, "data")
	w.must(err)
	var brick string
	for _, b := range v.Bricks() {
		if b.At.Host == w.Nodes[lost].Address {
			brick = b.At.Path
		}
	}
	if got := w.run(w.Nodes[lost], `ls "$1" | wc -l; cat "$1/before50" "$1/during50"`, brick); got != "100\nbefore 50\nduring 50" {
		t.Errorf("the new machine has %q", got)
	}
	t.Logf("renewed and healed after %v", time.Since(began).Round(100*time.Millisecond))
	if err := w.RenewNode(ctx, n.ID, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("the second time: %v", err)
	}
	w.run(w.Client, `echo after >"$1/after"; sync "$1/after"; [ "$(ls "$1" | wc -l)" = 101 ]`, at)
	rejected := w.run(w.Nodes[lost], `gluster --mode=script pool list`)
	if strings.Count(rejected, "Connected") != 3 {
		t.Errorf("the pool is:\n%s", rejected)
	}
}

// Ports are closed to who is not in the list, and opened when the list changes.
func TestDaemon_closesPortsToStrangers(t *testing.T) {
	w := &world{Cluster: lab.Start(t, 1), t: t}
	n := w.Nodes[0]
	w.keep(n)
	reach := func() error {
		_, err := w.Client.Run(t.Context(), host.Cmd{Args: []string{"timeout", "1", "bash", "-c", ": </dev/tcp/" + n.Address + "/24007"}})
		return err
	}
	if err := reach(); err != nil {
		t.Errorf("a member is kept out: %v", err)
	}
	w.must(n.Write(t.Context(), "/tmp/storage/peers", host.File{Data: []byte(n.Address + "\n")}))
	w.until("the ports to close", func() error {
		if reach() == nil {
			return errors.New("they are open")
		}
		return nil
	})
	// Glusterd that is killed comes back by itself.
	was := w.run(n, `pgrep -x glusterd`)
	w.run(n, `pkill -KILL -x glusterd`)
	w.until("glusterd", func() error {
		_, err := gluster.CLI{Host: n}.Peers(t.Context())
		return err
	})
	if is := w.run(n, `pgrep -x glusterd`); is == was {
		t.Errorf("it is process %s still", is)
	}
}
