package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/payload"
)

var kubernetesPackages = payload.KubernetesPackages

const packagesLimit = 30 * time.Minute // 100 MB over a slow line

// kubernetesSteps install what a node runs. Who has a payload on the card has it all
// installed by then, and no repository is asked.
func kubernetesSteps(c *node.Config, e Env) []Step {
	if c.Kubernetes == nil {
		return nil
	}
	return append(payloadPackageSteps(c, e),
		RequiredPackages{What: "runtime packages", Names: slices.Concat(payload.DebianPackages, c.Kubernetes.Packages), Limit: packagesLimit},
		KubernetesPackages{Version: strings.TrimPrefix(c.Kubernetes.Version, "v"), Repository: Repository(c.Kubernetes.Repository), Limit: packagesLimit},
		HeldPackages{Names: kubernetesPackages},
	)
}

// RequiredPackages wants Debian packages installed, all of them.
type RequiredPackages struct {
	What  string
	Names []string
	Limit time.Duration
}

func (s RequiredPackages) Name() string { return s.What }

// Check implements Step.
func (s RequiredPackages) Check(ctx context.Context, h host.Host) (string, error) {
	missing, err := notInstalled(ctx, h, s.Names)
	if err != nil || len(missing) == 0 {
		return "", err
	}
	return "not installed: " + strings.Join(missing, ", "), nil
}

// Apply implements Step.
func (s RequiredPackages) Apply(ctx context.Context, h host.Host) error {
	missing, err := notInstalled(ctx, h, s.Names)
	if err != nil {
		return err
	}
	unknown, err := installPackages(ctx, h, missing, s.Limit)
	if err == nil && len(unknown) > 0 {
		err = errors.New(unknownText(unknown))
	}
	return err
}

// KubernetesPackages wants one version of kubelet, kubeadm and kubectl.
type KubernetesPackages struct {
	Version    string // "1.37.2"
	Repository Repository
	Limit      time.Duration
}

func (s KubernetesPackages) Name() string { return "kubernetes packages" }

// Check implements Step. The package's version is Kubernetes' and, after a hyphen,
// the packagers' own.
func (s KubernetesPackages) Check(ctx context.Context, h host.Host) (string, error) {
	have, err := versions(ctx, h, kubernetesPackages)
	if err != nil {
		return "", err
	}
	var drift []string
	for _, name := range kubernetesPackages {
		switch v := have[name]; {
		case v == "":
			drift = append(drift, name+" is not installed")
		case !strings.HasPrefix(v, s.Version+"-"):
			drift = append(drift, fmt.Sprintf("%s is %s, want %s", name, v, s.Version))
		}
	}
	return strings.Join(drift, ", "), nil
}

// versions are those of packages that are installed; others have none. dpkg-query
// exits with 1 if it has never heard of one.
func versions(ctx context.Context, h host.Host, names []string) (map[string]string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: append([]string{"dpkg-query", "--show", `--showformat=${Package} ${Version} ${db:Status-Status} ${db:Status-Eflag}\n`}, names...)})
	if err != nil && exitCode(err) != 1 {
		return nil, err
	}
	have := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 4 && f[2] == "installed" && f[3] == "ok" {
			have[f[0]] = f[1]
		}
	}
	return have, nil
}

// Apply implements Step.
func (s KubernetesPackages) Apply(ctx context.Context, h host.Host) error {
	a := apt{h}
	return patiently(ctx, s.Limit, func() error {
		if err := s.Repository.apply(ctx, h); err != nil {
			return err
		}
		if err := a.configure(ctx); err != nil {
			return err
		}
		if err := a.update(ctx); err != nil {
			return err
		}
		// The first two are for a node whose version is changed afterwards.
		args := []string{"--allow-change-held-packages", "--allow-downgrades"}
		for _, name := range kubernetesPackages {
			v, err := a.versionOf(ctx, name, s.Version)
			if err != nil {
				return err
			}
			args = append(args, name+"="+v)
		}
		return a.install(ctx, args)
	})
}

// versionOf is the newest package of one version of Kubernetes. apt-cache madison
// lists what there is, the newest first: "kubelet | 1.37.2-1.1 | https://… Packages".
func (a apt) versionOf(ctx context.Context, name, version string) (string, error) {
	out, err := a.host.Run(ctx, host.Cmd{Args: []string{"apt-cache", "madison", name}})
	if err != nil {
		return "", aptError(err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Split(line, "|"); len(f) == 3 && strings.HasPrefix(strings.TrimSpace(f[1]), version+"-") {
			return strings.TrimSpace(f[1]), nil
		}
	}
	return "", fmt.Errorf("install %s: no repository has its version %s", name, version)
}

// HeldPackages wants packages left alone by upgrades: a cluster's version is changed
// node by node, and by kubeadm.
type HeldPackages struct{ Names []string }

func (s HeldPackages) Name() string { return "held packages" }

// Check implements Step.
func (s HeldPackages) Check(ctx context.Context, h host.Host) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: append([]string{"apt-mark", "showhold"}, s.Names...)})
	if err != nil {
		return "", err
	}
	held := strings.Fields(string(out))
	for _, name := range s.Names {
		if !slices.Contains(held, name) {
			return name + " is not held back from upgrades", nil
		}
	}
	return "", nil
}

// Apply implements Step.
func (s HeldPackages) Apply(ctx context.Context, h host.Host) error {
	return apt{h}.run(ctx, "apt-mark", append([]string{"hold"}, s.Names...)...)
}
