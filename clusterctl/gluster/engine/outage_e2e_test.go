//go:build e2e

package engine_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"picluster/clusterctl/gluster"
	. "picluster/clusterctl/gluster/engine"
	"picluster/internal/host"
	lab "picluster/internal/lab/gluster"
)

// writer writes numbers to a file of a volume, one after the other, each synced before
// it is said to be written. It never gives up, as a pod that writes.
type writer struct {
	w    *world
	file string
	done chan struct{}
}

const writerScript = `file=$1 i=0
while [ ! -e /tmp/stop ]; do
	i=$((i+1))
	if echo $i >>"$file" && sync "$file"; then echo $i >>/tmp/written; else sleep 0.2; fi
done 2>/dev/null`

func (w *world) write(file string) *writer {
	w.t.Helper()
	r := &writer{w, file, make(chan struct{})}
	ctx, cancel := context.WithCancel(w.t.Context())
	go func() {
		defer close(r.done)
		w.Client.Run(ctx, host.Cmd{Args: []string{"sh", "-c", writerScript, "sh", file}}) // what it has written tells
	}()
	w.t.Cleanup(func() { cancel(); <-r.done })
	r.more()
	return r
}

func (r *writer) count() int {
	r.w.t.Helper()
	n, err := strconv.Atoi(r.w.run(r.w.Client, `wc -l </tmp/written || echo 0`))
	r.w.must(err)
	return n
}

// more waits until more has been written, and returns how long that took.
func (r *writer) more() time.Duration {
	r.w.t.Helper()
	began, had := time.Now(), 0
	r.w.until("the writer", func() error {
		is := r.count()
		if had == 0 {
			had = is + 3
		}
		if is < had {
			return errors.New("it writes nothing")
		}
		return nil
	})
	return time.Since(began)
}

// end stops it, and returns what it has said to be written and is not in the file.
func (r *writer) end() (written int, lost []string) {
	r.w.t.Helper()
	r.w.run(r.w.Client, `touch /tmp/stop`)
	<-r.done
	there := map[string]bool{}
	for line := range strings.Lines(r.w.run(r.w.Client, `cat "$1"`, r.file)) {
		there[strings.TrimSpace(line)] = true
	}
	for line := range strings.Lines(r.w.run(r.w.Client, `cat /tmp/written`)) {
		written++
		if n := strings.TrimSpace(line); !there[n] {
			lost = append(lost, n)
		}
	}
	return written, lost
}

// whole waits until a volume has nothing to heal, and returns how long that took.
func (w *world) whole(name string) time.Duration {
	w.t.Helper()
	began := time.Now()
	w.until(name+" to be whole", func() error {
		bricks, err := gluster.CLI{Host: w.Nodes[0]}.Heal(w.t.Context(), name)
		if why := gluster.Healed(bricks); err == nil && why != "" {
			err = errors.New(why)
		}
		return err
	})
	return time.Since(began)
}

// boot switches a node on as a Pi starts: its device is attached, and the daemon does
// the rest.
func (w *world) boot(n *lab.Node) (stop func()) {
	w.t.Helper()
	n.PowerOn()
	w.run(n, `losetup --find --show /srv/disk`)
	return w.keep(n)
}

// Somebody writes all the time while a node dies, a cable is cut, and the whole cluster
// loses its power. What was said to be written is there, on all three copies.
func TestEngine_losesNothingThatIsWritten(t *testing.T) {
	w := newWorld(t, 3, "2G")
	v, err := w.CreateVolume(t.Context(), Request{Name: "data", Bytes: 200 * mib, Replicas: 3})
	w.must(err)
	at := "/tmp/data"
	w.run(w.Client, `mkdir -p "$2"; mount -t glusterfs -o backup-volfile-servers=10.77.0.11:10.77.0.12 "$1" "$2"`, w.Nodes[0].Address+":/data", at)
	stops := map[*lab.Node]func(){}
	for _, n := range w.Nodes {
		stops[n] = func() {}
	}
	off := func(n *lab.Node) { n.PowerOff(); stops[n]() }
	report := func(what string, took time.Duration) { t.Logf("%-52s %v", what, took.Round(100*time.Millisecond)) }
	r := w.write(at + "/numbers")

	off(w.Nodes[2])
	report("a node is killed: the next three writes take", r.more())
	stops[w.Nodes[2]] = w.boot(w.Nodes[2])
	report("it is back: whole after", w.whole("data"))

	w.Nodes[1].Unplug()
	report("a cable is cut: the next three writes take", r.more())
	w.Nodes[1].Plug()
	report("it is plugged in: whole after", w.whole("data"))

	began := time.Now()
	for _, n := range w.Nodes {
		off(n)
	}
	for _, n := range w.Nodes {
		stops[n] = w.boot(n)
	}
	r.more()
	report("all lose their power: written again after", time.Since(began))
	report("whole after another", w.whole("data"))

	written, lost := r.end()
	if len(lost) > 0 || written < 20 {
		t.Errorf("of %d numbers that were written these are lost: %v", written, lost)
	}
	t.Logf("%d numbers were written and synced, %d are lost", written, len(lost))
	report("the writer has ended: whole after", w.whole("data"))
	want := w.run(w.Client, `sha256sum <"$1"`, r.file)
	for _, b := range v.Bricks() {
		for _, n := range w.Nodes {
			if n.Address == b.At.Host {
				if got := w.run(n, `sha256sum <"$1"`, b.At.Path+"/numbers"); got != want {
					t.Errorf("the copy on %s is another one", n)
				}
			}
		}
	}
	w.run(w.Client, `umount "$1"`, at)
}

// cut takes a node's cable out just before gluster is told to do something.
type cut struct {
	host.Host
	before string
	unplug func()
}

func (c cut) Run(ctx context.Context, cmd host.Cmd) ([]byte, error) {
	if cmd.Args[0] == "gluster" && strings.Contains(strings.Join(cmd.Args, " "), c.before) {
		c.unplug()
	}
	return c.Host.Run(ctx, cmd)
}

// A node goes while a volume is being made. Either nothing of it is left, and it can be
// made when the node is back; or it is there, and whole when the node is back.
func TestEngine_nodeGoesInTheMiddle(t *testing.T) {
	w := newWorld(t, 3, "2G")
	ctx := t.Context()
	reach := w.Engine.Reach
	stop := func() {}
	request := Request{Name: "data", Bytes: 100 * mib, Replicas: 3}
	for _, moment := range []string{"volume create", "volume set", "volume start"} {
		w.Engine.Reach = func(ctx context.Context, n Node) (host.Host, error) {
			h, err := reach(ctx, n)
			return cut{h, moment, func() { w.Nodes[2].PowerOff(); stop() }}, err
		}
		began := time.Now()
		_, failed := w.CreateVolume(ctx, request)
		t.Logf("a node goes before %s: after %v it says: %v", moment, time.Since(began).Round(100*time.Millisecond), failed)
		w.Engine.Reach = reach
		if failed != nil {
			if text := failed.Error(); !strings.Contains(text, "node2") && !strings.Contains(text, "10.77.0.12") {
				t.Errorf("it does not say which node: %v", failed)
			}
			if all, err := w.Volumes(ctx); err != nil || len(all) > 0 {
				t.Errorf("half a volume is shown: %v, %v", all, err)
			}
		} else if moment == "volume create" {
			t.Error("a volume of three copies is made on two nodes")
		}
		stop = w.boot(w.Nodes[2])
		w.until("the rest of it to go", func() error { return w.Recover(ctx) })
		if failed != nil {
			w.nothing("after a node went before " + moment)
			_, err := w.CreateVolume(ctx, request)
			w.must(err)
		}
		w.whole("data")
		w.must(w.DeleteVolume(ctx, "data"))
		w.nothing("in the end")
	}
}

// A volume that is full refuses, and its bricks do not notice; a device that something
// else has filled has no room for another one.
func TestEngine_whatIsFullSaysSo(t *testing.T) {
	w := newWorld(t, 3, "1500M")
	ctx := t.Context()
	v, err := w.CreateVolume(ctx, Request{Name: "data", Bytes: 100 * mib, Replicas: 3})
	w.must(err)
	at := w.mount(v)
	out := w.run(w.Client, `dd if=/dev/zero of="$1/file" bs=1M count=600 conv=fsync 2>&1 || true`, at)
	if !strings.Contains(out, "No space left on device") {
		t.Errorf("a full volume says %s", out)
	}
	if why, err := w.Condition(ctx, v); err != nil || why != "" {
		t.Errorf("with a full volume %s: %v", why, err)
	}
	w.run(w.Client, `rm "$1/file"`, at)
	w.until("the volume to have room", func() error { // a brick looks every few seconds how much is free
		_, err := w.Client.Run(ctx, host.Cmd{Args: []string{"sh", "-ec", `echo again >"$1/file"; sync "$1/file"`, "sh", at}})
		return err
	})
	w.run(w.Client, `[ "$(cat "$1/file")" = again ]; umount "$1"`, at)
	w.must(w.DeleteVolume(ctx, "data"))

	// What nobody has told the engine of takes the room on one of the devices.
	s, err := w.State(ctx)
	w.must(err)
	device := s.Clusters[0].Nodes[1].Devices[0].ID
	w.run(w.Nodes[1], `dd if=/dev/zero of="/var/lib/picluster/bricks/$1/rogue.img" bs=1M count=2000 2>/dev/null || true; sync`, device)
	_, err = w.CreateVolume(ctx, Request{Name: "late", Bytes: 100 * mib, Replicas: 3})
	if err == nil || !strings.Contains(err.Error(), "node1: ") || !strings.Contains(err.Error(), "No space left on device") {
		t.Errorf("on a full device: %v", err)
	}
	w.nothing("on a full device")
	w.run(w.Nodes[1], `rm "/var/lib/picluster/bricks/$1/rogue.img"`, device)
	_, err = w.CreateVolume(ctx, Request{Name: "late", Bytes: 100 * mib, Replicas: 3})
	w.must(err)
	w.must(w.DeleteVolume(ctx, "late"))
	w.nothing("in the end")
}
