package steps

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"picluster/internal/host"
)

const (
	kubernetesDir = "/etc/kubernetes"

	// What was before the renewal is kept until what is new is in use everywhere. The
	// mark says that all of it is there.
	renewalDir  = "/var/lib/picluster/renewal"
	renewalMark = renewalDir + "/begun"

	// renewBefore is how long before the end of its certificates a control plane gets
	// new ones: long enough for a node0 that is switched on now and then.
	renewBefore = 60 * 24 * time.Hour
)

// Certificates wants those of the control plane to be good for a while yet. kubeadm
// makes them for a year and makes new ones when Kubernetes is upgraded
// (kubernetes.io, "Certificate Management with kubeadm"); where nobody upgrades, the
// cluster would end with them. Those of authorities, good for ten years, are left alone.
type Certificates struct{}

func (Certificates) Name() string { return "control plane's certificates" }

// Check implements Step.
func (Certificates) Check(ctx context.Context, h host.Host) (string, error) {
	if begun, err := exists(ctx, h, renewalMark); err != nil {
		return "", err
	} else if begun {
		return "their renewal was cut off", nil
	}
	names, err := renewable(ctx, h)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		c, err := certificateIn(ctx, h, name)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", name, err)
		}
		if c != nil && !c.IsCA && time.Until(c.NotAfter) < renewBefore {
			return fmt.Sprintf("%s ends on %s", name, c.NotAfter.Format(time.DateOnly)), nil
		}
	}
	return "", nil
}

// renewable are the files that kubeadm changes, and the authorities in the same
// directories. The kubelet renews its own by itself.
func renewable(ctx context.Context, h host.Host) (files []string, err error) {
	for _, name := range []string{"admin", "super-admin", "controller-manager", "scheduler"} {
		name = path.Join(kubernetesDir, name+".conf")
		there, err := exists(ctx, h, name)
		if err != nil {
			return nil, err
		}
		if there {
			files = append(files, name)
		}
	}
	for _, dir := range []string{kubernetesDir + "/pki", kubernetesDir + "/pki/etcd"} {
		names, err := h.ReadDir(ctx, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, name := range names {
			if ext := path.Ext(name); ext == ".crt" || ext == ".key" {
				files = append(files, path.Join(dir, name))
			}
		}
	}
	return files, nil
}

// certificateIn is the one in a file of its own, or of the client in a kubeconfig; nil
// in a key's, and where a kubeconfig names another file.
func certificateIn(ctx context.Context, h host.Host, name string) (*x509.Certificate, error) {
	if path.Ext(name) == ".key" {
		return nil, nil
	}
	data, err := h.ReadFile(ctx, name)
	if err != nil {
		return nil, err
	}
	if path.Ext(name) == ".crt" {
		return firstCertificate(data)
	}
	for line := range strings.Lines(string(data)) {
		if encoded, found := strings.CutPrefix(strings.TrimSpace(line), "client-certificate-data:"); found {
			text, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
			if err != nil {
				return nil, err
			}
			return firstCertificate(text)
		}
	}
	return nil, nil
}

func firstCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("there is no certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}

// Apply implements Step. kubeadm needs the old certificates to make new ones like them,
// and a power cut can leave it neither. Some parts read theirs only when they start.
func (Certificates) Apply(ctx context.Context, h host.Host) error {
	if err := keepRenewable(ctx, h); err != nil {
		return fmt.Errorf("keep the old certificates: %w", err)
	}
	if err := runKubeadm(ctx, h, "kubeadm renews the control plane's certificates", "certs", "renew", "all"); err != nil {
		return err
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if err := endContainers(ctx, h, name); err != nil {
			return fmt.Errorf("start %s anew: %w", name, err)
		}
	}
	if err := (APIServer{Limit: 10 * time.Minute}).Apply(ctx, h); err != nil {
		return err
	}
	return forgetRenewable(ctx, h)
}

// keepRenewable keeps all files as they are, or gives them back as they were kept by a
// renewal that was cut off.
func keepRenewable(ctx context.Context, h host.Host) error {
	begun, err := exists(ctx, h, renewalMark)
	if err != nil {
		return err
	}
	from, to := "", renewalDir
	if begun {
		from, to = to, from
	}
	names, err := renewable(ctx, h)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := h.Stat(ctx, from+name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was not there before
		}
		if err != nil {
			return err
		}
		data, err := h.ReadFile(ctx, from+name)
		if err == nil {
			err = h.Write(ctx, to+name, host.File{Data: data, Mode: info.Mode.Perm()})
		}
		if err != nil {
			return err
		}
	}
	return h.Write(ctx, renewalMark, host.File{Mode: 0o600})
}

// forgetRenewable removes the mark, and then the keys that nobody needs any more.
func forgetRenewable(ctx context.Context, h host.Host) error {
	names, err := renewable(ctx, h)
	if err != nil {
		return err
	}
	if err := h.Remove(ctx, renewalMark); err != nil {
		return err
	}
	for _, name := range names {
		if err := h.Remove(ctx, renewalDir+name); err != nil {
			return err
		}
	}
	return nil
}

// endContainers ends the containers of that name, which the kubelet starts again.
func endContainers(ctx context.Context, h host.Host, name string) error {
	ctr := func(args ...string) ([]string, error) {
		out, err := h.Run(ctx, host.Cmd{Args: append([]string{"ctr", "--namespace", "k8s.io"}, args...)})
		return strings.Fields(string(out)), err
	}
	running, err := ctr("tasks", "list", "--quiet")
	if err != nil {
		return err
	}
	named, err := ctr("containers", "list", "--quiet", `labels."io.kubernetes.container.name"==`+name)
	if err != nil {
		return err
	}
	for _, id := range named {
		if slices.Contains(running, id) {
			if _, err := ctr("tasks", "kill", id); err != nil {
				return err
			}
		}
	}
	return nil
}
