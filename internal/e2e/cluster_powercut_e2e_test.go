//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab/nodes"
	"picluster/internal/step"
)

// oneOfEach is a cluster of a control plane, a worker and a spare.
var oneOfEach = wish{nodes: formed[:2], spare: formed[2], pis: strings.Replace(bare.pis, "nodes: 3", "nodes: 2", 1), spec: bare.spec}

// lasting is how long a step has been under way when the power goes: once as soon as it
// begins, and again in those that take longer.
var lasting = []time.Duration{0, 2 * time.Second, 8 * time.Second}

// The power of each node goes in each step in which it becomes part of a cluster, also
// while the others are at work or wait for it. In the end the cluster is the one that
// comes of undisturbed nodes.
func TestCluster_survivesAPowerCutInEveryStep(t *testing.T) {
	from := onlineDesk(t, oneOfEach, runtime.GOARCH)
	from.gather(t)
	var want, got []string
	var steps map[string]bool
	t.Run("undisturbed", func(t *testing.T) {
		b := newOfflineBox(t, oneOfEach, from)
		for _, n := range b.all() {
			n.PowerOn()
		}
		b.awaitReady(t, formed[:3]...)
		b.awaitFinished(t)
		want, steps = b.outcome(t), b.applied(t)
	})
	t.Run("cut", func(t *testing.T) {
		b := newOfflineBox(t, oneOfEach, from)
		watch := stopwatch{t, time.Now()}
		cuts := b.cutInEveryStep(t)
		watch.lap("all nodes have finished")
		b.awaitReady(t, formed[:3]...)
		watch.lap("all nodes are Ready")
		got = b.outcome(t)
		works(t, b.nodes[0], formed[:3]...)
		b.noSecretsOnWorkers(t)
		for i, after := range lasting {
			n := 0
			for _, times := range cuts {
				if times > i {
					n++
				}
			}
			t.Logf("%d power cuts %v after the start of a step", n, after)
		}
		// Some steps are over before they are seen.
		missed := slices.DeleteFunc(slices.Sorted(maps.Keys(steps)), func(name string) bool { return cuts[name] > 0 })
		t.Logf("no cut was in %q", missed)
		if len(missed) > len(steps)/4 {
			t.Errorf("%d of %d steps were not cut off", len(missed), len(steps))
		}
	})
	if diff := listingDifferences(want, got); len(diff) > 0 {
		t.Errorf("after the cuts it is another cluster:\n%s", strings.Join(diff, "\n"))
	}
}

// cutInEveryStep switches all nodes on, and each off and on again in its steps, until
// all have finished. It returns how often, by node and step: the first time after the
// first of lasting, and so on.
func (b *box) cutInEveryStep(t *testing.T) (cuts map[string]int) {
	t.Helper()
	cuts = map[string]int{}
	since := map[*nodes.Node]time.Time{}
	on := func(n *nodes.Node) {
		since[n] = time.Now()
		n.PowerOn()
	}
	for _, n := range b.all() {
		on(n)
	}
	for end := time.Now().Add(2 * clusterTime); !b.finished(t); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v not all nodes have finished: %v", 2*clusterTime, b.summaries(t))
		}
		for _, n := range b.all() {
			s := step.Summarize(b.journal(t, n))
			name := n.Name + " " + s.Stage + "/" + s.Step
			busy := s.Time.After(since[n]) && (s.State == step.Running || s.State == step.WaitingFor)
			if i := cuts[name]; busy && i < len(lasting) && time.Since(s.Time) >= lasting[i] {
				n.PowerCut()
				cuts[name]++
				on(n)
			}
		}
	}
	return cuts
}

// summaries say where each node stands. A node that is not up yet has no journal.
func (b *box) summaries(t *testing.T) map[*nodes.Node]step.Summary {
	t.Helper()
	all := map[*nodes.Node]step.Summary{}
	for _, n := range b.all() {
		if events := b.journal(t, n); events != nil {
			all[n] = step.Summarize(events)
		}
	}
	return all
}

func (b *box) journal(t *testing.T, n *nodes.Node) journal {
	t.Helper()
	dir := filepath.Join(n.Dir(), "upper")
	if found, err := filepath.Glob(filepath.Join(dir, "var/lib/picluster/journal.jsonl")); err != nil || found == nil {
		return nil
	}
	return journalOf(t, dir)
}

// finished reports whether all nodes have come to the end of what makes them part of the
// cluster, which early is not.
func (b *box) finished(t *testing.T) bool {
	t.Helper()
	all := b.summaries(t)
	for _, s := range all {
		if s.State != step.Finished || s.Stage != "control-plane" && s.Stage != "join" {
			return false
		}
	}
	return len(all) == len(b.all())
}

func (b *box) awaitFinished(t *testing.T) {
	t.Helper()
	eventually(t, "all nodes to finish", func() error {
		if b.finished(t) {
			return nil
		}
		return fmt.Errorf("they are at %v", b.summaries(t))
	})
}

// applied are the steps of the stages of a cluster that nodes had something to do in,
// as cutInEveryStep names them.
func (b *box) applied(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, n := range b.all() {
		for name := range maps.Keys(b.journal(t, n).applied()) {
			if stage, _, _ := strings.Cut(name, "/"); slices.Contains(strings.Split(stages, ","), stage) {
				all[n.Name+" "+name] = true
			}
		}
	}
	return all
}

// outcome is what has become of the nodes: their files with mode and owner, the packages
// that are installed, and what Kubernetes knows of.
func (b *box) outcome(t *testing.T) []string {
	t.Helper()
	lines := strings.Fields(kubectl(t, b.nodes[0], "get", "--all-namespaces", "-o", "name",
		"nodes,daemonsets,deployments,services,configmaps,clusterroles,clusterrolebindings,roles,rolebindings"))
	for _, n := range b.all() {
		out := on(t, n, "sh", "-c", `cd /; find etc usr/local opt boot/firmware var/lib/picluster -xdev -printf '%p %y %m %U:%G\n'; dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n'`)
		for line := range strings.Lines(out) {
			if !volatile.MatchString("/" + line) {
				lines = append(lines, n.Name+" "+strings.TrimSpace(line))
			}
		}
	}
	slices.Sort(lines)
	return lines
}
