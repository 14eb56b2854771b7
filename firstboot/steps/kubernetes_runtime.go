package steps

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

	"picluster/firstboot/kubeadm"
	"picluster/internal/host"
	"picluster/internal/localregistry"
	"picluster/internal/node"
	"picluster/internal/step"
)

// runtimeSteps make the kernel and containerd ready for pods. kubeadm is there by
// now: it says which pause image goes with its version.
func runtimeSteps(c *node.Config, e Env) []Step {
	if c.Kubernetes == nil {
		return nil
	}
	steps := append(kernelSteps(c),
		KernelModule{"overlay", "/sys/module/overlay"},
		KernelModule{"br_netfilter", "/proc/sys/net/bridge/bridge-nf-call-iptables"},
		Forwarding{},
		// The cluster's own registry, should there be one. Read at each pull.
		Text{What: "registry", Path: localregistry.HostsPath, Content: localregistry.Hosts(c.Kubernetes.ServiceSubnet)},
	)
	steps = append(steps, mirrorSteps(c.Kubernetes)...)
	steps = append(steps, Containerd{Version: c.Kubernetes.Version})
	steps = append(steps, payloadImageSteps(c, e)...)
	return append(steps,
		Text{What: "resolver of pods", Path: resolverScript, Mode: 0o755, Content: resolver},
		Text{What: "kubelet's drop-in", Path: unitDir + "kubelet.service.d/20-picluster.conf",
			Content: "[Service]\nExecStartPre=" + resolverScript + " " + kubeadm.ResolvConf + "\n"},
		ServiceRunning{Unit: "kubelet.service", Enabled: true})
}

const resolverScript = "/usr/local/sbin/picluster-pod-resolver"

//go:embed resolver.sh
var resolver string

// Forwarding wants the kernel to pass on packets of pods, and to show those on
// bridges to its filter. systemd sets the same at each boot, from a file.
type Forwarding struct{}

func (s Forwarding) Name() string { return "forwarding" }

var forwarding = []string{"net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"}

func (s Forwarding) off(ctx context.Context, h host.Host) ([]string, error) {
	var off []string
	for _, name := range forwarding {
		value, err := h.ReadFile(ctx, "/proc/sys/"+strings.ReplaceAll(name, ".", "/"))
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(string(value)) != "1" {
			off = append(off, name)
		}
	}
	return off, nil
}

// Check implements Step.
func (s Forwarding) Check(ctx context.Context, h host.Host) (string, error) {
	off, err := s.off(ctx, h)
	if err != nil || len(off) == 0 {
		return "", err
	}
	return strings.Join(off, ", ") + " is off", nil
}

// Apply implements Step.
func (s Forwarding) Apply(ctx context.Context, h host.Host) error {
	off, err := s.off(ctx, h)
	for _, name := range off {
		if err == nil {
			_, err = h.Run(ctx, host.Cmd{Args: []string{"sysctl", "-q", "-w", name + "=1"}})
		}
	}
	return err
}

// Containerd wants containerd to run with our configuration.
type Containerd struct{ Version string } // of Kubernetes

func (s Containerd) Name() string { return "containerd" }

const (
	containerdConfig = "/etc/containerd/config.toml"
	containerdUnit   = "containerd.service"
)

// containerdText is the configuration of containerd 1.6 and 1.7, which bookworm and
// trixie have. Debian's own has another directory for network plugins, where no pod
// network puts any, and no cgroups by systemd.
const containerdText = `# Written by picluster. Your own settings go into /etc/containerd/conf.d/. A table of the
# same name there takes the place of the whole table here: copy what you do not change.
version = 2
imports = ["/etc/containerd/conf.d/*.toml"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "SANDBOX_IMAGE"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"

  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true

  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
`

func (s Containerd) configured(ctx context.Context, h host.Host) (Configured, error) {
	pause, err := s.pauseImage(ctx, h)
	return Configured{Unit: containerdUnit, Files: []Text{
		{Path: containerdConfig, Content: strings.Replace(containerdText, "SANDBOX_IMAGE", pause, 1)}}}, err
}

// pauseImage is the one that kubeadm of this version wants. Another one would be
// fetched from the internet, also where all images were brought along.
func (s Containerd) pauseImage(ctx context.Context, h host.Host) (string, error) {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"kubeadm", "config", "images", "list", "--kubernetes-version", s.Version}})
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if image := strings.TrimSpace(line); strings.Contains(image, "/pause:") {
			return image, nil
		}
	}
	return "", fmt.Errorf("find pause image: kubeadm names none for %s", s.Version)
}

// Check implements Step.
func (s Containerd) Check(ctx context.Context, h host.Host) (string, error) {
	c, err := s.configured(ctx, h)
	if err != nil {
		return "", err
	}
	return c.Check(ctx, h)
}

// Apply implements Step.
func (s Containerd) Apply(ctx context.Context, h host.Host) error {
	c, err := s.configured(ctx, h)
	if err == nil {
		err = c.Apply(ctx, h)
	}
	if err != nil {
		return err
	}
	return step.Wait{For: "containerd", Limit: 2 * time.Minute}.Until(ctx, func(ctx context.Context) error {
		_, err := ctr(ctx, h, nil, "version")
		return err
	})
}
