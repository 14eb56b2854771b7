package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"picluster/firstboot/join"
	"picluster/firstboot/kubeadm"
	"picluster/internal/cni"
	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

// Paths of Kubernetes, and of what we tell kubeadm.
const (
	adminConfig   = "/etc/kubernetes/admin.conf"
	superConfig   = "/etc/kubernetes/super-admin.conf" // kubeadm's, since 1.29: needs no rights given
	authorityPath = "/etc/kubernetes/pki/ca.crt"
	etcdDir       = "/var/lib/etcd"
	kubeadmDir    = "/etc/picluster/kubeadm"
	patchesDir    = kubeadmDir + "/patches"
	initPath      = kubeadmDir + "/init.json"
	initMark      = "/var/lib/picluster/control-plane" // kubeadm init has been done
)

// controlPlaneSteps are node0's. The join service is there first, so that cards that
// come early are told what they wait for; it is started anew once it has access to
// Kubernetes.
func controlPlaneSteps(c *node.Config) []Step {
	if c.Kubernetes == nil || c.Role != node.ControlPlane {
		return nil
	}
	return []Step{
		joinService("join service"),
		step.Optional[host.Host](DiskSpeed{Dir: etcdDir}),
		KubeadmFiles{config: c},
		ControlPlane{Node: c.Name},
		APIServer{Limit: 10 * time.Minute},
		Applied{What: "cluster's name", Manifest: clusterManifest(c)},
		Applied{What: "pod network", Manifest: podNetwork(c.Kubernetes)},
		Applied{What: "join service's rights", Manifest: join.Manifest},
		JoinAccess{Server: "https://" + kubeadm.Endpoint(c.Network.ClusterAddress.Addr().String())},
		joinService("join service with access"),
		syncService(),
	}
}

func joinService(what string) Configured {
	return Configured{What: what, Unit: join.UnitName, Files: []Text{{Path: unitDir + join.UnitName, Content: join.Unit}}}
}

// clusterManifest says in the cluster which one it is, for those who administrate
// several of them from one place.
func clusterManifest(c *node.Config) string {
	return fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "picluster", "namespace": "kube-system"}, "data": {"clusterID": %q, "name": %q}}
`, c.Cluster.ID, c.Cluster.Name)
}

// podNetwork is empty for a name that cluster.yaml has no word for; applying nothing
// is an error of kubectl's.
func podNetwork(k *node.Kubernetes) string {
	manifest, err := cni.Manifest(k.CNI, k.PodSubnet)
	if err != nil {
		return ""
	}
	return manifest
}

// KubeadmFiles wants the documents in place that kubeadm reads, as they are for this
// board.
type KubeadmFiles struct{ config *node.Config }

func (s KubeadmFiles) Name() string   { return "kubeadm's files" }
func (s KubeadmFiles) String() string { return "{" + kubeadmDir + "}" }

func (s KubeadmFiles) files(ctx context.Context, h host.Host) ([]Step, error) {
	memory, err := totalMemory(ctx, h)
	if err != nil {
		return nil, err
	}
	board := kubeadm.Board{Memory: memory}
	patch, err := kubeadm.KubeletPatch(s.config, board)
	if err != nil {
		return nil, err
	}
	files := []Step{Text{Path: path.Join(patchesDir, kubeadm.PatchName), Mode: 0o600, Content: string(patch)}}
	if s.config.Role != node.ControlPlane {
		return files, nil
	}
	init, err := kubeadm.Init(s.config, board, patchesDir)
	return append(files, Text{Path: initPath, Mode: 0o600, Content: string(init)}), err
}

// Check implements Step.
func (s KubeadmFiles) Check(ctx context.Context, h host.Host) (string, error) {
	files, err := s.files(ctx, h)
	if err != nil {
		return "", err
	}
	return firstDrift(ctx, h, files)
}

// Apply implements Step.
func (s KubeadmFiles) Apply(ctx context.Context, h host.Host) error {
	files, err := s.files(ctx, h)
	if err != nil {
		return err
	}
	return applyAll(ctx, h, files)
}

// ControlPlane wants kubeadm init to have been done, once.
type ControlPlane struct{ Node string }

func (s ControlPlane) Name() string { return "control plane" }

// Check implements Step.
func (s ControlPlane) Check(ctx context.Context, h host.Host) (string, error) {
	there, err := exists(ctx, h, initMark)
	if err != nil || there {
		return "", err
	}
	return "there is no control plane", nil
}

// Apply implements Step. After a power cut the mark does not tell how far kubeadm was,
// so what is there is looked at. What was begun is begun anew: nobody has joined it
// yet, because the join service gets its access only after the mark.
func (s ControlPlane) Apply(ctx context.Context, h host.Host) error {
	begun, err := s.begun(ctx, h)
	if err != nil {
		return err
	}
	if begun {
		whole, err := s.whole(ctx, h)
		if err != nil {
			return err
		}
		if whole {
			return h.Write(ctx, initMark, host.File{})
		}
		if err := s.reset(ctx, h); err != nil {
			return err
		}
	}
	if err := runKubeadm(ctx, h, "kubeadm sets the control plane up, which takes minutes on a Pi", "init", "--config", initPath); err != nil {
		return err
	}
	return h.Write(ctx, initMark, host.File{})
}

// begun reports whether there is anything that kubeadm init would stumble over.
func (s ControlPlane) begun(ctx context.Context, h host.Host) (bool, error) {
	for _, name := range []string{adminConfig, etcdDir + "/member", authorityPath} {
		if there, err := exists(ctx, h, name); err != nil || there {
			return there, err
		}
	}
	names, err := h.ReadDir(ctx, "/etc/kubernetes/manifests")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return len(names) > 0, err
}

// whole reports whether init came to its end before the power went. A cluster that
// has members is never begun anew, whatever is wrong with it.
func (s ControlPlane) whole(ctx context.Context, h host.Host) (bool, error) {
	if used, err := exists(ctx, h, join.KubeconfigPath); err != nil || used {
		return used, err
	}
	if there, err := exists(ctx, h, adminConfig); err != nil || !there {
		return false, err
	}
	err := APIServer{Limit: 2 * time.Minute}.Apply(ctx, h)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err != nil {
		return false, nil
	}
	// The administrator has no rights before init is nearly done.
	mightiest := adminConfig
	if there, err := exists(ctx, h, superConfig); err != nil {
		return false, err
	} else if there {
		mightiest = superConfig
	}
	out, err := kubectlAs(ctx, h, mightiest, "", "get", "nodes", "-o", "name")
	if err != nil {
		return false, err
	}
	if nodes := strings.Fields(string(out)); len(nodes) > 1 {
		return false, fmt.Errorf("set up control plane: there is one already, with the nodes %s, and %s is missing", strings.Join(nodes, " "), initMark)
	}
	// The last things that init makes, in all versions.
	_, err = kubectl(ctx, h, "", "-n", "kube-system", "get", "configmap/kubeadm-config", "configmap/kubelet-config", "deployment/coredns", "daemonset/kube-proxy", "-o", "name")
	if exitCode(err) != 0 {
		return false, nil
	}
	return err == nil, err
}

// reset takes away what a half-made init has left. kubeadm empties etcd's directory
// only if it finds etcd's manifest.
func (s ControlPlane) reset(ctx context.Context, h host.Host) error {
	if err := runKubeadm(ctx, h, "kubeadm takes back what a power cut has left half made", "reset", "--force", "--cri-socket", kubeadm.CRISocket); err != nil {
		return err
	}
	if there, err := exists(ctx, h, etcdDir); err != nil || !there {
		return err
	}
	_, err := h.Run(ctx, host.Cmd{Args: []string{"find", etcdDir, "-mindepth", "1", "-delete"}})
	return err
}
