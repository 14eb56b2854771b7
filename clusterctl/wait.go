package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"picluster/clusterctl/observe"
	"picluster/internal/cli"
	"picluster/internal/spec"
)

// waitTime is enough for Pi 3s that install all packages over Wi-Fi.
const waitTime = time.Hour

// waitEvery is between the end of one look and the next. It is a variable for tests.
var waitEvery = 2 * time.Second

// condition is what is waited for: of each node, or of the cluster.
type condition struct {
	name  string
	phase observe.Phase                  // of each node
	holds func(*observe.Snapshot) string // "" if it does; nil: phase decides
}

var conditions = []condition{
	{name: "booted", phase: observe.Booted},
	{name: "provisioned", phase: observe.Provisioned},
	{name: "joined", phase: observe.Joined},
	{name: "ready", phase: observe.Ready},
	{name: "storage", phase: observe.Ready, holds: lacksStorage},
	{name: "addons", phase: observe.Ready, holds: lacksAddons},
}

func lacksStorage(s *observe.Snapshot) string {
	if st := s.Storage; st.State != observe.StateOK {
		return "storage is " + st.State
	}
	return ""
}

func lacksAddons(s *observe.Snapshot) string {
	if source := s.Source(observe.APISource); source == nil || !source.OK {
		return "the API server does not answer"
	}
	for _, a := range s.Addons {
		if a.State != observe.StateOK {
			return strings.TrimSuffix(a.Name+" is "+a.State+": "+a.Text, ": ")
		}
	}
	return ""
}

func waitCommand() cli.Command {
	var flags siteFlags
	var what string
	var limit time.Duration
	var all bool
	return cli.Command{
		Name: "wait", Complete: completeNodes, Args: "[NODE...]", Summary: "wait until nodes are ready, and show how far they are",
		Details: "Begin as soon as the Pis are switched on: until there is an API server their status\n" +
			"pages and the join service on node0 tell how far they are. Without names it waits for\n" +
			"all nodes of cluster.yaml.\n\n" +
			"  booted       it has been switched on and was heard of\n" +
			"  provisioned  its system is configured\n" +
			"  joined       Kubernetes knows it\n" +
			"  ready        and gives it work\n" +
			"  storage      ready, and shared storage runs on every node that has some\n" +
			"  addons       ready, and all that cluster.yaml wants deployed does its work\n\n" +
			"It ends with 0 when that is so, and with 6 when the time is over; then it says for each\n" +
			"node that is missing what it did last, why, and what is the likely cause.",
		Examples: []string{"clusterctl wait", "clusterctl wait --for booted raspberrypi-node2", "clusterctl wait --for addons --timeout 20m"},
		Flags: func(f *pflag.FlagSet) {
			flags.register(f)
			f.StringVar(&what, "for", "", "`what`: booted, provisioned, joined, ready, storage or addons (default: ready; provisioned without Kubernetes)")
			f.DurationVar(&limit, "timeout", waitTime, "how long; 0 is for ever")
			f.BoolVar(&all, "all", false, "all nodes of cluster.yaml, which is what no names mean too")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.open(env.Log)
			if err != nil {
				return err
			}
			w := newWaiter(env, limit, args)
			if err := w.choose(d.cluster, what, all); err != nil {
				return cli.Exit(cli.Usage, err)
			}
			return w.run(ctx, d.sources(patientTime))
		},
	}
}

// waiter waits for one condition.
type waiter struct {
	live  *cli.Live
	out   io.Writer
	names []string
	condition
	limit time.Duration
	lines map[string]string // the last line of each node, where nobody watches

	each func(context.Context, *observe.Snapshot) error // called after each look; may be nil
}

// newWaiter waits until the nodes are ready, unless choose says for something else.
func newWaiter(env cli.Env, limit time.Duration, nodes []string) *waiter {
	return &waiter{live: cli.NewLive(env.Stderr), out: env.Stderr, names: nodes, limit: limit, lines: map[string]string{},
		condition: condition{name: "ready", phase: observe.Ready}}
}

func (w *waiter) choose(c *spec.Cluster, what string, all bool) error {
	if what == "" {
		what = "ready"
		if !c.Kubernetes.Enabled {
			what = "provisioned"
		}
	}
	i := slices.IndexFunc(conditions, func(c condition) bool { return c.name == what })
	switch {
	case i < 0:
		return fmt.Errorf("read flag --for: it is %q, want booted, provisioned, joined, ready, storage or addons", what)
	case all && len(w.names) > 0:
		return errors.New("read operands of wait: names of nodes, or --all")
	case w.limit < 0:
		return fmt.Errorf("read flag --timeout: it is %v, want 0 or more", w.limit)
	case i > 1 && !c.Kubernetes.Enabled:
		return fmt.Errorf("wait for %s: cluster.yaml has kubernetes.enabled: false", what)
	case what == "storage" && c.Storage.Backend == "none":
		return errors.New("wait for storage: cluster.yaml has storage.backend: none")
	}
	for _, name := range w.names {
		// A node that was a spare, or becomes one, is in no list here.
		if !slices.Contains(c.NodeNames(), name) && !strings.HasPrefix(name, c.NodePrefix) && !strings.HasPrefix(name, "spare-") {
			return fmt.Errorf("wait for %s: cluster.yaml has no such node, but %s", name, list(c.NodeNames()))
		}
	}
	w.condition = conditions[i]
	if len(w.names) == 0 {
		w.names = c.NodeNames()
	}
	return nil
}

// missing are the nodes that are not there yet, and what the cluster lacks.
func (w *waiter) missing(s *observe.Snapshot) (nodes []string, cluster string) {
	for _, name := range w.names {
		if n := s.Node(name); n == nil || !n.Phase.AtLeast(w.phase) {
			nodes = append(nodes, name)
		}
	}
	if w.holds != nil {
		cluster = w.holds(s)
	}
	return nodes, cluster
}

var errWaitOver = errors.New("the time is over")

func (w *waiter) run(ctx context.Context, sources observe.Sources) error {
	began := time.Now()
	if w.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, w.limit, errWaitOver)
		defer cancel()
	}
	var last *observe.Snapshot
	for {
		s := sources.Look(ctx)
		if ctx.Err() == nil || last == nil && context.Cause(ctx) == errWaitOver {
			last = s // a look that was cut short knows less than the one before
		}
		nodes, cluster := w.missing(last)
		if ctx.Err() == nil {
			w.show(last, nodes, cluster, time.Since(began))
		}
		if len(nodes) == 0 && cluster == "" {
			return nil
		}
		if w.each != nil && ctx.Err() == nil {
			if err := w.each(ctx, last); err != nil {
				return err
			}
		}
		select {
		case <-time.After(waitEvery):
		case <-ctx.Done():
			if context.Cause(ctx) == errWaitOver {
				return cli.Exit(cli.Timeout, w.timeout(last, nodes, cluster))
			}
			return context.Cause(ctx)
		}
	}
}

// show draws the table or, where nobody watches, prints the nodes that have changed.
func (w *waiter) show(s *observe.Snapshot, missing []string, cluster string, since time.Duration) {
	if w.live.Terminal() {
		text := renderNodes(s) + fmt.Sprintf("\n%d of %d nodes are %s", len(w.names)-len(missing), len(w.names), w.phase)
		if cluster != "" {
			text += "; " + plain(cluster)
		}
		w.live.Draw(text + fmt.Sprintf("   %v", since.Round(time.Second)))
		return
	}
	for _, n := range s.Nodes {
		if line := plain(n.String()); slices.Contains(w.names, n.Name) && line != w.lines[n.Name] {
			w.lines[n.Name] = line
			fmt.Fprintln(w.out, line)
		}
	}
	if len(missing) == 0 && cluster != "" && cluster != w.lines[""] {
		w.lines[""] = cluster
		fmt.Fprintln(w.out, plain(cluster))
	}
}

// timeout says what is missing, and why.
func (w *waiter) timeout(s *observe.Snapshot, nodes []string, cluster string) error {
	var lines []string
	line := func(format string, args ...any) { lines = append(lines, plain(fmt.Sprintf(format, args...))) }
	line("wait for %s: not so after %v", w.name, w.limit)
	for _, name := range nodes {
		n := s.Node(name)
		if n == nil {
			line("%s: there is no such node", name)
			continue
		}
		at := n.State
		if place := n.Place(); place != "" {
			at += " at " + place
		}
		if n.Problem != "" {
			at += ": " + n.Problem
		}
		line("%s: %s", name, at)
		line("%s: likely cause: %s", name, s.LikelyCause(n))
	}
	if cluster != "" {
		line("%s", cluster)
	}
	return errors.New(strings.Join(lines, "\n"))
}
