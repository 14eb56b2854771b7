package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"picluster/clusterctl/gluster/pods"
	"picluster/clusterctl/heketi"
	"picluster/clusterctl/keys"
	"picluster/clusterctl/kube"
	"picluster/clusterctl/observe"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/joinapi"
	"picluster/internal/spec"
)

// nodeRef is a node in Kubernetes.
func nodeRef(name string) kube.Ref { return kube.Ref{APIVersion: "v1", Kind: "Node", Name: name} }

// workerOnly refuses what would take the control plane away.
func (d *site) workerOnly(what, node string) error {
	if node != d.node0() {
		return nil
	}
	return cli.Exit(cli.Refused, fmt.Errorf("%s %s: it is the control plane, without which there is no cluster", what, node))
}

// confirm asks for the node's name, unless a script has said yes.
func confirm(ctx context.Context, env cli.Env, yes bool, node, loss string) error {
	if yes {
		return nil
	}
	answer, err := cli.Ask(ctx, env, loss+"\nType "+node+" to go on: ")
	if err != nil {
		return err
	}
	if answer != node {
		return cli.Exit(cli.Refused, fmt.Errorf("go on with %s: the answer is %q", node, answer))
	}
	return nil
}

func nodeAddCommand() cli.Command {
	var flags siteFlags
	var limit time.Duration
	return cli.Command{
		Name: "add", Complete: completeNodes, Args: "[NODE...]", Summary: "let the new nodes of cluster.yaml in, and wait for them",
		Details: "First raise nodes in cluster.yaml, run `imagebuilder init` and `imagebuilder write`, and\n" +
			"switch the Pi on. node0 does not know the new card and lets it wait; this command\n" +
			"approves it if it is one of those that were made here, and no other. A spare needs\n" +
			"none of this.",
		Examples: []string{"clusterctl node add", "clusterctl node add raspberrypi-node3"},
		Flags: func(f *pflag.FlagSet) {
			flags.register(f)
			f.DurationVar(&limit, "timeout", waitTime, "how long to wait; 0 is for ever")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.open(env.Log)
			if err != nil {
				return err
			}
			if d.join == nil {
				return noSecrets("add nodes")
			}
			if unknown := slices.IndexFunc(args, func(n string) bool { return !slices.Contains(d.cluster.NodeNames(), n) }); unknown >= 0 {
				return cli.Exit(cli.Usage, cli.Hint(fmt.Errorf("add %s: cluster.yaml has no such node, but %s", args[unknown], list(d.cluster.NodeNames())),
					"add it to nodes, then imagebuilder init and imagebuilder write"))
			}
			return d.admit(ctx, env, limit, args, "")
		},
	}
}

// admit waits until nodes are ready and approves their cards, if they were made here.
// not is the id of a card that does not count: the one that is replaced.
func (d *site) admit(ctx context.Context, env cli.Env, limit time.Duration, nodes []string, not string) error {
	cards, err := d.keys.Cards()
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		nodes = d.cluster.NodeNames()
	}
	approved := map[string]bool{}
	w := newWaiter(env, limit, nodes)
	w.each = func(ctx context.Context, s *observe.Snapshot) error {
		for _, name := range nodes {
			n := s.Node(name)
			if n == nil || n.CardState != joinapi.Waiting || approved[n.Card] || !newest(cards, name, n.Card) {
				continue
			}
			if err := d.approve(ctx, name, n.Card, joinapi.Approve); err != nil {
				return err
			}
			approved[n.Card] = true
			fmt.Fprintf(env.Stderr, "%s: card %s was made here, and is approved\n", name, n.Card)
		}
		return nil
	}
	if not != "" {
		w.holds = func(s *observe.Snapshot) string {
			if n := s.Node(nodes[0]); n != nil && n.Card == not {
				return "its new card was not seen yet"
			}
			return ""
		}
	}
	return w.run(ctx, d.sources(patientTime))
}

// newest reports whether a card is the last one that was made for a name.
func newest(cards []keys.Card, name, id string) bool {
	last := ""
	for _, c := range cards {
		if c.Node == name {
			last = c.ID
		}
	}
	return last == id
}

// approve lets a card in, and its name, which a revocation has locked.
func (d *site) approve(ctx context.Context, name, card, action string) error {
	if err := d.join.Act(ctx, card, action); err != nil {
		return joinError(err)
	}
	client, err := d.connect(ctx)
	if err != nil {
		return nil // no cluster yet, so nothing is locked
	}
	return unlockName(ctx, client, name)
}

func nodeRemoveCommand() cli.Command {
	var flags drainFlags
	var yes bool
	return cli.Command{
		Name: "remove", Complete: completeNodes, Args: "NODE", Summary: "take a node out of the cluster; its name is free then",
		Details: "Its pods are moved to other nodes, Kubernetes forgets it, and its card opens nothing any\n" +
			"more. One that has data of the shared storage is refused: `clusterctl disk evict`\n" +
			"moves that first, --force gives it up. A node that is dead is\n" +
			"removed as well; one whose card may be in wrong hands is revoked instead.",
		Examples: []string{"clusterctl node remove raspberrypi-node3", "clusterctl node remove --yes raspberrypi-node3"},
		Flags:    func(f *pflag.FlagSet) { flags.register(f); f.BoolVar(&yes, "yes", false, "do not ask") },
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.openFor(env, "node remove", args)
			if err != nil {
				return err
			}
			node := args[0]
			if err := d.workerOnly("remove", node); err != nil {
				return err
			}
			client, err := d.connect(ctx)
			if err != nil {
				return err
			}
			if err := confirm(ctx, env, yes, node, node+" leaves the cluster: what pods keep on its own disk is lost."); err != nil {
				return err
			}
			return flags.remove(ctx, env, d, client, node)
		},
	}
}

// remove can be run again wherever it was interrupted: each part looks whether it is
// done.
func (f *drainFlags) remove(ctx context.Context, env cli.Env, d *site, client *kube.Client, node string) error {
	if !f.force {
		if err := keepsNoBricks(ctx, client, node); err != nil {
			return err
		}
	}
	there, err := f.empty(ctx, env, client, node)
	if err != nil {
		return apiError(err)
	}
	known, err := d.dismiss(ctx, node)
	if err != nil {
		return err
	}
	if !there && !known {
		return cli.Exit(cli.Usage, cli.Hint(fmt.Errorf("remove %s: neither Kubernetes nor the join service has such a node", node), "clusterctl node list lists them"))
	}
	d.stopKubelet(ctx, env, node)
	if err := client.Delete(ctx, nodeRef(node)); err != nil {
		return apiError(err)
	}
	if err := unlockName(ctx, client, node); err != nil {
		return apiError(err)
	}
	fmt.Fprintf(env.Stderr, "%s is out of the cluster; switch it off\n", node)
	return nil
}

// keepsNoBricks refuses to take out a node that has data of volumes: where it has the
// last whole copy, that would be the end of it.
func keepsNoBricks(ctx context.Context, client *kube.Client, node string) error {
	there, err := client.Get(ctx, kube.Ref{APIVersion: "v1", Kind: "Secret", Namespace: pods.Namespace, Name: steps.StorageKeys})
	if err != nil || there == nil {
		return apiError(err) // no storage was deployed
	}
	ctx, cancel := context.WithCancel(ctx) // of the tunnel
	defer cancel()
	storage, err := controller(ctx, client)
	var nodes []heketi.Node
	if err == nil {
		nodes, err = storage.Nodes(ctx)
	}
	if err != nil {
		return cli.Hint(fmt.Errorf("ask the storage what %s has of it: %w", node, err), "--force removes the node all the same")
	}
	for _, n := range nodes {
		for _, disk := range n.Devices {
			if n.Name == node && disk.Bricks > 0 {
				return cli.Exit(cli.Refused, cli.Hint(fmt.Errorf("remove %s: it has %d bricks of volumes on %s", node, disk.Bricks, disk.Name),
					fmt.Sprintf("clusterctl disk evict %s %s moves them first; --force gives them up", node, disk.Name)))
			}
		}
	}
	return nil
}

// empty drains a node; one that is not ready cannot end its pods any more.
func (f *drainFlags) empty(ctx context.Context, env cli.Env, client *kube.Client, node string) (there bool, err error) {
	o, err := client.Get(ctx, nodeRef(node))
	if err != nil || o == nil {
		return false, err
	}
	if dead, err := kube.NotReady(o); err != nil {
		return true, err
	} else if dead != "" {
		return true, client.Drain(ctx, node, kube.DrainOptions{Force: true, Now: true})
	}
	return true, f.drain(ctx, env, client, node)
}

// dismiss takes the node's card out; known is false if it has none.
func (d *site) dismiss(ctx context.Context, node string) (known bool, err error) {
	if d.join == nil {
		return false, noSecrets("remove the card of " + node)
	}
	err = d.join.Act(ctx, node, joinapi.Remove)
	var refusal *joinapi.Refusal
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &refusal) && refusal.Reason == joinapi.NoSuchCard:
		return false, nil
	case errors.As(err, &refusal) && (refusal.Reason == joinapi.Revoked || refusal.Reason == joinapi.Superseded):
		return true, nil // it is out already
	}
	return false, joinError(err)
}

// stopTime bounds a courtesy.
const stopTime = 20 * time.Second

// stopKubelet keeps a machine that is still on from registering its node again. One
// that is off does not matter: its card is out.
func (d *site) stopKubelet(ctx context.Context, env cli.Env, node string) {
	if d.login == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	remote, err := d.openNode(ctx, node)
	if err != nil {
		return
	}
	defer remote.Close()
	if err := systemctl(ctx, remote, "disable", "--now", "kubelet.service"); err != nil {
		fmt.Fprintf(env.Stderr, "%s: stop kubelet: %v\n", node, err)
	}
}

func nodeReplaceCommand() cli.Command {
	var flags drainFlags
	var yes bool
	return cli.Command{
		Name: "replace", Complete: completeNodes, Args: "NODE", Summary: "give a node a new card, or a new board",
		Details: "For a node whose card or board is broken. Its pods are moved, and it waits for the node's\n" +
			"new card, which `imagebuilder write --node NODE` makes before or meanwhile, in the old\n" +
			"Pi or in another one. The node comes back under its name, and what it had of volumes is\n" +
			"filled again from the other copies.",
		Examples: []string{"clusterctl node replace raspberrypi-node1"},
		Flags:    func(f *pflag.FlagSet) { flags.register(f); f.BoolVar(&yes, "yes", false, "do not ask") },
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			d, err := flags.openFor(env, "node replace", args)
			if err != nil {
				return err
			}
			node := args[0]
			if err := d.workerOnly("replace", node); err != nil {
				return err
			}
			if d.join == nil {
				return noSecrets("replace a node")
			}
			client, err := d.connect(ctx)
			if err != nil {
				return err
			}
			if err := confirm(ctx, env, yes, node, node+" is emptied: what pods keep on its own disk is lost."); err != nil {
				return err
			}
			return flags.replace(ctx, env, d, client, node)
		},
	}
}

func (f *drainFlags) replace(ctx context.Context, env cli.Env, d *site, client *kube.Client, node string) error {
	cards, err := d.join.Cards(ctx)
	if err != nil {
		return joinError(err)
	}
	old := observe.CardID(cards, node)
	was, err := client.Get(ctx, nodeRef(node))
	if err != nil {
		return apiError(err)
	}
	if _, err := f.empty(ctx, env, client, node); err != nil {
		return apiError(err)
	}
	if err := d.forget(ctx, env, client, node, was); err != nil {
		return apiError(err)
	}
	fmt.Fprintf(env.Stderr, "%s is empty. Write its new card (imagebuilder write --node %s DEVICE) and switch it on; this waits for it.\n", node, node)
	if err := d.admit(ctx, env, waitTime, []string{node}, old); err != nil {
		return err
	}
	if !d.holdsData(node) {
		return nil
	}
	return refill(ctx, env, client, node)
}

// forget takes a node out of Kubernetes, unless it is another one by now: its new card
// may have joined while the old one's pods were waited for.
func (d *site) forget(ctx context.Context, env cli.Env, client *kube.Client, node string, was *kube.Object) error {
	now, err := client.Get(ctx, nodeRef(node))
	if err != nil {
		return err
	}
	if was != nil && now != nil && was.GetUID() == now.GetUID() {
		d.stopKubelet(ctx, env, node)
		if err := client.Delete(ctx, nodeRef(node)); err != nil {
			return err
		}
	}
	return unlockName(ctx, client, node)
}

// holdsData reports whether cluster.yaml has the node give something to the storage. A
// spare that took a name over is not in it, and gives what all do.
func (d *site) holdsData(node string) bool {
	i := slices.IndexFunc(d.cluster.Nodes, func(n spec.Node) bool { return n.Name == node })
	if i < 0 {
		return d.cluster.Storage.OnNodes()
	}
	return d.cluster.Nodes[i].Storage.Enabled
}
