package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/spf13/pflag"

	"picluster/clusterctl/keys"
	"picluster/clusterctl/kube"
	"picluster/internal/cli"
	"picluster/internal/spec"
)

// projectFlags are the flags of every command about a cluster.
type projectFlags struct {
	file       string
	kubeconfig string
}

func (f *projectFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&f.file, "file", "f", "cluster.yaml", "the cluster's `file`")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "`file` that opens the API server (default: KUBECONFIG, secrets/kubeconfig, ~/.kube/config)")
}

// project is what a command about a cluster starts from.
type project struct {
	cluster    *spec.Cluster
	keys       *keys.Keys // nil: none here
	id         string     // of keys; "" without them
	secrets    string     // directory of the keys
	kubeconfig string     // that a person has named
}

// load reads cluster.yaml and who the cluster is.
func (f *projectFlags) load() (*project, error) {
	cluster, err := spec.Load(f.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Exit(cli.Usage, cli.Hint(err, "clusterctl works where cluster.yaml is; -f names another"))
	}
	if err != nil {
		return nil, cli.Exit(cli.Usage, err)
	}
	p := &project{cluster: cluster, secrets: filepath.Join(filepath.Dir(f.file), "secrets"), kubeconfig: f.kubeconfig}
	p.keys, err = keys.Open(p.secrets)
	var unreadable *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, nil // another laptop's project, without its secrets
	case errors.As(err, &unreadable):
		return nil, err
	case err != nil:
		return nil, cli.Exit(cli.Integrity, err)
	}
	p.id = p.keys.ID
	return p, nil
}

// connect opens the API server and makes sure that it is this cluster's: a
// kubeconfig of another cluster is the mistake that nobody notices in time.
func (p *project) connect(ctx context.Context) (*kube.Client, error) {
	if !p.cluster.Kubernetes.Enabled {
		return nil, cli.Exit(cli.Usage, errors.New("reach Kubernetes: cluster.yaml has kubernetes.enabled: false"))
	}
	client, file, err := p.client()
	if err != nil {
		return nil, err
	}
	if err := p.sameCluster(ctx, client, file); err != nil {
		return nil, apiError(err)
	}
	return client, nil
}

// client is connect without a call to the API server.
func (p *project) client() (*kube.Client, string, error) {
	home, _ := os.UserHomeDir()
	config, file, err := kube.Kubeconfig{
		Named: p.kubeconfig, Env: os.Getenv("KUBECONFIG"), Context: p.cluster.Name,
		Project: filepath.Join(p.secrets, "kubeconfig"), Home: filepath.Join(home, ".kube", "config"),
	}.Load()
	var expired *kube.ExpiredError
	switch {
	case errors.Is(err, kube.ErrNoKubeconfig), errors.As(err, &expired):
		return nil, "", cli.Exit(cli.Usage, cli.Hint(err, "clusterctl kubeconfig fetches one"))
	case err != nil:
		return nil, "", cli.Exit(cli.Usage, err)
	}
	client, err := kube.New(config)
	return client, file, err
}

// sameCluster compares ids. A cluster that has none yet is known by its nodes.
func (p *project) sameCluster(ctx context.Context, client *kube.Client, file string) error {
	id, err := client.ClusterID(ctx)
	if err != nil {
		return err
	}
	var why string
	switch {
	case id != "" && (p.id == "" || p.id == id):
		return nil
	case id != "":
		why = fmt.Sprintf("it is cluster %s, and cluster.yaml's is %s", id, p.id)
	default:
		nodes, err := client.NodeNames(ctx)
		if err != nil {
			return err
		}
		first := p.cluster.NodeNames()[0]
		if slices.Contains(nodes, first) {
			return nil
		}
		why = fmt.Sprintf("it has no node %s, but %s", first, list(nodes))
	}
	return cli.Exit(cli.Refused, cli.Hint(fmt.Errorf("use %s: it opens another cluster than cluster.yaml's: %s", file, why),
		"--kubeconfig names another file"))
}

func list(names []string) string {
	switch n := len(names); {
	case n == 0:
		return "none at all"
	case n > 5:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), n-5)
	}
	return strings.Join(names, ", ")
}

// apiError gives what the API server said, or that it said nothing, its exit code
// and a hint.
func apiError(err error) error {
	var away *kube.Unreachable
	var untrusted *kube.UntrustedError
	switch {
	case errors.As(err, &untrusted):
		return cli.Exit(cli.Integrity, cli.Hint(err, "the kubeconfig is of another cluster, or of this one before it was made anew: clusterctl kubeconfig fetches a new one"))
	case errors.As(err, &away):
		return cli.Exit(cli.Device, cli.Hint(err, "clusterctl status tells which nodes are up"))
	case apierrors.IsUnauthorized(err):
		return cli.Hint(err, "the API server does not know this kubeconfig: clusterctl kubeconfig fetches a new one")
	case apierrors.IsForbidden(err):
		return cli.Hint(err, "this kubeconfig is not an administrator's")
	}
	return err
}
