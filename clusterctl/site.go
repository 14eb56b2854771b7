package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"picluster/clusterctl/kube"
	"picluster/clusterctl/observe"
	"picluster/clusterctl/operator"
	"picluster/clusterctl/reach"
	"picluster/clusterctl/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/joinapi"
)

// siteFlags are those of the commands that reach nodes, too.
type siteFlags struct {
	projectFlags
	at []string
}

func (f *siteFlags) register(flags *pflag.FlagSet) {
	f.projectFlags.register(flags)
	flags.StringArrayVar(&f.at, "at", nil, "`NODE[:PORT]=ADDRESS[:PORT]` of a node that is not found by itself; may be repeated")
}

// site is the project with the ways to its nodes. Without the secrets there is only
// Kubernetes.
type site struct {
	*project
	finder *reach.Finder
	login  *reach.Login     // nil without keys
	join   *operator.Client // nil without keys
}

func (f *siteFlags) open(log *slog.Logger) (*site, error) {
	p, err := f.load()
	if err != nil {
		return nil, err
	}
	d := &site{project: p, finder: &reach.Finder{Fixed: map[string][]netip.Addr{}, At: map[string]string{}}}
	for _, at := range f.at {
		node, address, ok := strings.Cut(at, "=")
		if !ok || node == "" || address == "" {
			return nil, cli.Exit(cli.Usage, fmt.Errorf("read flag --at: it is %q, want NODE=ADDRESS", at))
		}
		d.finder.At[node] = address
	}
	for i, n := range p.cluster.Nodes {
		for _, a := range []netip.Prefix{n.Address, p.cluster.ClusterAddress(i)} {
			if a.IsValid() {
				d.finder.Fixed[n.Name] = append(d.finder.Fixed[n.Name], a.Addr())
			}
		}
	}
	if p.keys == nil {
		return d, nil
	}
	return d, d.openWays(log)
}

// openWays are those that need keys.
func (d *site) openWays(log *slog.Logger) (err error) {
	d.login = &reach.Login{Finder: d.finder, Keys: d.keys, User: d.cluster.System.User.Name, Agent: reach.AgentSocket(), Log: log}
	if !d.cluster.Kubernetes.Enabled {
		return nil
	}
	d.join, err = operator.New(d.keys, func(ctx context.Context) (net.Conn, error) {
		return d.finder.Dial(ctx, d.node0(), strconv.Itoa(joinapi.Port))
	})
	return err
}

// node0 is the control plane's name.
func (d *site) node0() string { return d.cluster.Nodes[0].Name }

// sourceTime is how long each source may take, unless a person says otherwise.
const sourceTime = 10 * time.Second

// patientTime is that for who waits anyhow: a Pi that is just becoming a control plane
// takes long to let anybody log in, and what was cut short begins anew at each look.
const patientTime = 45 * time.Second

// sources are all that can be asked from here.
func (d *site) sources(limit time.Duration) observe.Sources {
	s := observe.Sources{Cluster: d.cluster, ID: d.id, Dial: d.finder.Dial, Limit: limit}
	if d.cluster.Kubernetes.Enabled {
		s.API, s.Addons = d.api, d.addons
	}
	if d.join != nil {
		s.Cards = d.join.Cards
	}
	if d.login != nil {
		s.Login = d.login.Open
	}
	return s
}

// api is connect for a cluster that may only be coming into being: where there is no
// kubeconfig yet it is fetched from node0.
func (d *site) api(ctx context.Context) (*kube.Client, error) {
	client, file, err := d.client()
	if errors.Is(err, kube.ErrNoKubeconfig) && d.login != nil {
		if fetchErr := d.fetchKubeconfig(ctx); fetchErr != nil {
			return nil, &observe.NotYetError{Err: fetchErr}
		}
		client, file, err = d.client()
	}
	if err != nil {
		return nil, err
	}
	if err := d.sameCluster(ctx, client, file); err != nil {
		if cli.CodeOf(err) == cli.Refused {
			err = &observe.WrongClusterError{Err: err}
		}
		return nil, err
	}
	return client, nil
}

// addons asks whether those that cluster.yaml wants do their work.
func (d *site) addons(ctx context.Context, on *kube.Client) ([]observe.Addon, error) {
	env := steps.Env{Cluster: d.cluster, ID: d.id}
	var all []observe.Addon
	for _, a := range steps.Wanted(d.cluster) {
		wanted, err := a.Deploy(env)
		if err != nil {
			return nil, err
		}
		addon := observe.Addon{Name: a.Name, State: observe.StateOK}
		for _, s := range wanted {
			ready, ok := s.(kube.Ready)
			if !ok {
				continue
			}
			missing, err := ready.Check(ctx, on)
			var away *kube.Unreachable
			switch {
			case errors.As(err, &away):
				return nil, err
			case err != nil:
				missing = err.Error()
			}
			if missing == "is not there" {
				addon.State = observe.StateNotDeployed
				break
			}
			if missing != "" {
				addon.State, addon.Text = observe.StateDegraded, ready.Ref.String()+" "+missing
				break
			}
		}
		all = append(all, addon)
	}
	return all, nil
}

// openNode logs in to a node by its name in the cluster, whatever its card is called.
func (d *site) openNode(ctx context.Context, name string) (*host.Remote, error) {
	if d.login == nil {
		return nil, cli.Exit(cli.Usage, cli.Hint(errors.New("log in to "+name+": there are no secrets of this cluster beside cluster.yaml"),
			"clusterctl works on the computer where `imagebuilder init` has made secrets/"))
	}
	remote, err := d.login.Open(ctx, name, d.cardName(ctx, name))
	if err != nil {
		return nil, loginError(err)
	}
	return remote, nil
}

// cardName is what the card of a node is called: another name only for one that was
// a spare, and only then node0 is asked.
func (d *site) cardName(ctx context.Context, name string) string {
	for _, known := range d.cluster.NodeNames() {
		if known == name {
			return name
		}
	}
	if d.join == nil {
		return name
	}
	cards, err := d.join.Cards(ctx)
	if err != nil {
		return name // the host key decides
	}
	return observe.CardName(cards, name)
}

// loginError gives what keeps one from a node its exit code and a hint.
func loginError(err error) error {
	var noKey *reach.NoKeyError
	var lost *reach.NotFoundError
	switch text := err.Error(); {
	case errors.As(err, &noKey):
		return cli.Exit(cli.Usage, cli.Hint(err, "ssh-add a key that system.user.authorizedKeys names"))
	case errors.As(err, &lost):
		return cli.Exit(cli.Device, cli.Hint(err, "is it switched on and in the same network? --at NODE=ADDRESS names an address"))
	case strings.Contains(text, "check host key"):
		return cli.Exit(cli.Integrity, cli.Hint(err, "another machine answers there, or its card was not made here: nothing was sent to it"))
	case strings.Contains(text, "unable to authenticate"):
		return cli.Exit(cli.Failed, cli.Hint(err, "the node does not know this key: it has those of system.user.authorizedKeys when its card was written"))
	}
	return cli.Exit(cli.Device, err)
}
