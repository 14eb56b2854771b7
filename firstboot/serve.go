//go:build !arm

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"picluster/firstboot/join"
	"picluster/firstboot/join/kube"
	"picluster/firstboot/kubeadm"
	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/joinapi"
	"picluster/internal/node"
)

func serveCommand() cli.Command {
	var s serve
	return cli.Command{
		Name:    "serve",
		Summary: "admit the other Pis to the cluster (on the control plane)",
		Details: "The join service, started by " + join.UnitName + " as a user of its own. It answers the cards of\n" +
			"this cluster only, makes a bootstrap token for each that may join, and approves the\n" +
			"certificate of that one node. Without --kubeconfig's file cards are told to wait.",
		Examples: []string{"firstboot serve --state /var/lib/picluster/join"},
		Flags: func(f *pflag.FlagSet) {
			f.StringVar(&s.config, "config", steps.ConfigPath, "node.json of the control plane")
			f.StringVar(&s.kubeconfig, "kubeconfig", join.KubeconfigPath, "access of the service account to Kubernetes")
			f.StringVar(&s.state, "state", "/var/lib/picluster/join", "directory of the service's state")
			f.StringVar(&s.listen, "listen", net.JoinHostPort("", strconv.Itoa(joinapi.Port)), "address to answer at")
			f.StringVar(&s.endpoint, "endpoint", "", "the API server as nodes reach it; this node's name and port "+strconv.Itoa(kubeadm.APIPort)+" if empty")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if !filepath.IsAbs(s.state) || filepath.Clean(s.state) != s.state {
				return cli.Exit(cli.Usage, errors.New("read flags of serve: --state is no absolute, clean path"))
			}
			return s.run(ctx, env)
		},
	}
}

// serve is one run of the command.
type serve struct {
	config, kubeconfig, state, listen, endpoint string
}

func (s serve) run(ctx context.Context, env cli.Env) error {
	data, err := os.ReadFile(s.config)
	if err != nil {
		return err
	}
	c, err := node.Parse(data)
	if err != nil {
		return cli.Exit(cli.Integrity, err)
	}
	cluster, err := s.cluster()
	if err != nil {
		return err
	}
	if s.endpoint == "" {
		s.endpoint = kubeadm.Endpoint(c.Name)
	}
	o := join.Options{Config: c, Dir: s.state, Endpoint: s.endpoint, Log: env.Log}
	if cluster != nil {
		o.Cluster = cluster
	}
	service, err := join.Open(o)
	if err != nil {
		return err
	}
	defer service.Close()
	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return cli.Exit(cli.Device, fmt.Errorf("serve joins: %w", err))
	}
	fmt.Fprintf(env.Stderr, "firstboot: admitting nodes of the cluster %s at %s\n", c.Cluster.Name, l.Addr())
	if cluster == nil {
		fmt.Fprintln(env.Stderr, "firstboot: Kubernetes is not set up yet; cards are told to wait")
	} else {
		go cluster.Run(ctx, service, env.Log)
	}
	return service.Serve(ctx, l)
}

// cluster is nil as long as nobody has given the service access.
func (s serve) cluster() (*kube.Cluster, error) {
	data, err := os.ReadFile(s.kubeconfig)
	if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(data)) == "{}" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	access, err := join.ParseKubeconfig(data)
	if err != nil {
		return nil, err
	}
	return kube.New(access)
}
