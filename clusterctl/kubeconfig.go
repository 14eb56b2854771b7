package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"picluster/internal/cli"
)

const (
	adminConf = "/etc/kubernetes/admin.conf" // kubeadm's
	apiPort   = "6443"
)

func kubeconfigCommand() cli.Command {
	var flags siteFlags
	var output, contextName string
	var merge bool
	return cli.Command{
		Name: "kubeconfig", Summary: "fetch the administrator's access to Kubernetes from node0",
		Details: "Over ssh, to the host key that is on node0's card. It goes to secrets/kubeconfig, where\n" +
			"clusterctl finds it; with --merge also into kubectl's own file, beside what is there.\n" +
			"It opens the whole cluster: keep it like a password. After node0 has got another\n" +
			"address, fetch it again.",
		Examples: []string{"clusterctl kubeconfig", "clusterctl kubeconfig --merge && kubectl --context home get nodes", "clusterctl kubeconfig --output - | ssh friend 'cat > home.conf'"},
		Flags: func(f *pflag.FlagSet) {
			flags.register(f)
			f.StringVar(&output, "output", "", "`file` to write, - for standard output (default: secrets/kubeconfig)")
			f.BoolVar(&merge, "merge", false, "also add it to kubectl's file: the first of KUBECONFIG, or ~/.kube/config")
			f.StringVar(&contextName, "context", "", "`name` of the context (default: the cluster's)")
		},
		Run: func(ctx context.Context, env cli.Env, args []string) error {
			if merge && output == "-" {
				return cli.Exit(cli.Usage, errors.New("read flags of kubeconfig: --merge does not go with --output -"))
			}
			d, err := flags.open(env.Log)
			if err != nil {
				return err
			}
			config, err := d.adminConfig(ctx, contextName)
			if err != nil {
				return err
			}
			if output == "-" {
				data, err := clientcmd.Write(*config)
				if err != nil {
					return fmt.Errorf("write kubeconfig: %w", err)
				}
				_, err = env.Stdout.Write(data)
				return err
			}
			if output == "" {
				output = d.keys.Kubeconfig()
			}
			if err := writeKubeconfig(output, config); err != nil {
				return err
			}
			fmt.Fprintf(env.Stderr, "%s opens %s\n", output, config.Clusters[config.CurrentContext].Server)
			if merge {
				return mergeKubeconfig(env, config)
			}
			return nil
		},
	}
}

// fetchKubeconfig puts the access where clusterctl looks for it.
func (d *site) fetchKubeconfig(ctx context.Context) error {
	config, err := d.adminConfig(ctx, "")
	if err != nil {
		return err
	}
	return writeKubeconfig(d.keys.Kubeconfig(), config)
}

// adminConfig reads kubeadm's file on node0 and makes it one that works from here.
func (d *site) adminConfig(ctx context.Context, name string) (*api.Config, error) {
	if !d.cluster.Kubernetes.Enabled {
		return nil, cli.Exit(cli.Usage, errors.New("fetch kubeconfig: cluster.yaml has kubernetes.enabled: false"))
	}
	remote, err := d.openNode(ctx, d.node0())
	if err != nil {
		return nil, fmt.Errorf("fetch kubeconfig: %w", err)
	}
	defer remote.Close()
	data, err := remote.ReadFile(ctx, adminConf)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Exit(cli.Device, cli.Hint(fmt.Errorf("fetch kubeconfig: %s has no control plane yet", d.node0()), "clusterctl wait waits until it has"))
	}
	if err != nil {
		return nil, fmt.Errorf("fetch kubeconfig: %w", sudoHint(err))
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return nil, cli.Exit(cli.Integrity, fmt.Errorf("fetch kubeconfig: read %s of %s: %w", adminConf, d.node0(), err))
	}
	address, err := d.finder.Find(ctx, d.node0(), apiPort)
	if err != nil {
		return nil, cli.Exit(cli.Device, fmt.Errorf("fetch kubeconfig: the API server of %s: %w", d.node0(), err))
	}
	if name == "" {
		name = d.cluster.Name
	}
	return fromHere(ctx, config, name, d.node0(), address)
}

// sudoHint tells what a person can do about sudo's question for a password.
func sudoHint(err error) error {
	if strings.Contains(err.Error(), "password is required") {
		return cli.Hint(err, "system.user.sudo is password: on node0, as root, copy "+adminConf+" to where you can fetch it, or set it to nopasswd")
	}
	return err
}

// fromHere makes an entry of one name that reaches the API server from this computer.
// Its certificate is for node0's name, so that name is asked for whatever address is
// called: kubectl does not find NAME.local where the system's resolver does not.
func fromHere(ctx context.Context, in *api.Config, name, node0, address string) (*api.Config, error) {
	current := in.Contexts[in.CurrentContext]
	if current == nil || in.Clusters[current.Cluster] == nil || in.AuthInfos[current.AuthInfo] == nil {
		return nil, cli.Exit(cli.Integrity, fmt.Errorf("fetch kubeconfig: %s names no cluster and user", adminConf))
	}
	cluster, user := in.Clusters[current.Cluster].DeepCopy(), in.AuthInfos[current.AuthInfo].DeepCopy()
	cluster.Server, cluster.TLSServerName = "https://"+address, node0
	if host, port, err := net.SplitHostPort(address); err == nil && resolves(ctx, node0+".local", host) {
		cluster.Server, cluster.TLSServerName = "https://"+net.JoinHostPort(node0+".local", port), ""
	}
	out := api.NewConfig()
	out.Clusters[name], out.AuthInfos[name+"-admin"] = cluster, user
	out.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name + "-admin"}
	out.CurrentContext = name
	return out, nil
}

// resolves reports whether programs without cgo, as kubectl is, find a name by
// themselves. A name stays when a router gives node0 another address.
func resolves(ctx context.Context, name, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	found, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, name)
	if err != nil {
		return false
	}
	for _, a := range found {
		if a == address {
			return true
		}
	}
	return false
}

// writeKubeconfig replaces a file in one go. Nobody else may read it.
func writeKubeconfig(path string, config *api.Config) error {
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return os.Chmod(path, 0o600)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)) // 0600
	if err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// mergeKubeconfig adds the entry to kubectl's file and leaves everything else there
// as it is. An entry of the same name that is another cluster's is not replaced.
func mergeKubeconfig(env cli.Env, config *api.Config) error {
	path, err := kubectlFile()
	if err != nil {
		return err
	}
	have, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		have, err = api.NewConfig(), os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err != nil {
		return fmt.Errorf("merge kubeconfig into %s: %w", path, err)
	}
	name := config.CurrentContext
	if old := have.Clusters[name]; old != nil && !bytes.Equal(old.CertificateAuthorityData, config.Clusters[name].CertificateAuthorityData) {
		return cli.Exit(cli.Refused, cli.Hint(fmt.Errorf("merge kubeconfig into %s: its %q is another cluster", path, name), "--context chooses another name"))
	}
	for key, c := range config.Clusters {
		have.Clusters[key] = c
	}
	for key, u := range config.AuthInfos {
		have.AuthInfos[key] = u
	}
	for key, c := range config.Contexts {
		have.Contexts[key] = c
	}
	if have.CurrentContext == "" {
		have.CurrentContext = name
	}
	if err := writeKubeconfig(path, have); err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "%s has the context %s\n", path, name)
	return nil
}

// kubectlFile is the one that kubectl itself would change.
func kubectlFile() (string, error) {
	for _, file := range filepath.SplitList(os.Getenv("KUBECONFIG")) {
		if file != "" {
			return file, nil
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find kubectl's file: %w", err)
	}
	return filepath.Join(home, ".kube", "config"), nil
}
