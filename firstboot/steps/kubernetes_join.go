package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"picluster/firstboot/join"
	"picluster/firstboot/kubeadm"
	"picluster/internal/host"
	"picluster/internal/joinapi"
	"picluster/internal/node"
	"picluster/internal/step"
)

// Paths of a worker. What has a token in it is in memory only, and removed again.
const (
	kubeletConfig    = "/etc/kubernetes/kubelet.conf"
	bootstrapConfig  = "/etc/kubernetes/bootstrap-kubelet.conf"
	kubeletClient    = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	joinDir          = runDir + "/join"
	joinPath         = joinDir + "/join.json"
	discoveryPath    = joinDir + "/discovery.conf"
	bootstrapInRAM   = joinDir + "/bootstrap-kubelet.conf"
	memberMark       = "/var/lib/picluster/member" // node0 knows that this Pi has joined
	deviceDir        = "/var/lib/picluster/device" // the key that proves who this Pi is
	farApart         = 30 * time.Second            // clocks whose certificates do not fit together
	bootstrapTimeout = 10 * time.Minute
)

// joinSteps are a worker's.
func joinSteps(c *node.Config, e Env) []Step {
	if c.Kubernetes == nil || c.Role != node.Worker {
		return nil
	}
	return []Step{KubeadmFiles{config: c}, Membership{config: c, env: e}, syncService()}
}

// JoinClient asks node0 in the name of this Pi.
func JoinClient(ctx context.Context, h host.Host, c *node.Config, e Env) (*join.Client, error) {
	hardware, err := join.ReadHardware(ctx, h)
	if err != nil {
		return nil, err
	}
	client := &join.Client{Config: c, Hardware: hardware, Dir: deviceDir, Host: h,
		ServerTime: func(t time.Time) { takeTime(ctx, h, t) }}
	if e.Client != nil {
		e.Client(client)
	}
	return client, nil
}

// takeTime sets a clock that nobody else sets. node0 has proved who it is, and its
// certificates are only good by its own clock.
func takeTime(ctx context.Context, h host.Host, t time.Time) {
	if off := time.Until(t); off < farApart && off > -farApart {
		return
	}
	if synchronised, err := isSynchronised(ctx, h); err != nil || synchronised {
		return
	}
	// Without it the next certificate says what is wrong.
	h.Run(ctx, host.Cmd{Args: []string{"date", "-s", fmt.Sprintf("@%d", t.Unix())}})
}

// Membership wants this Pi to be a node of the cluster, and node0 to know that.
type Membership struct {
	config *node.Config
	env    Env
}

func (s Membership) Name() string   { return "membership" }
func (s Membership) String() string { return "{" + s.config.Name + "}" }

// Check implements Step.
func (s Membership) Check(ctx context.Context, h host.Host) (string, error) {
	state, err := credentials(ctx, h)
	if err != nil {
		return "", err
	}
	switch state {
	case noCredentials:
		return s.config.Name + " has not joined the cluster", nil
	case expiredCredentials:
		return s.config.Name + " was away for too long, and its certificate has run out", nil
	}
	told, err := exists(ctx, h, memberMark)
	if err != nil || told {
		return "", err
	}
	return "node0 does not know yet that " + s.config.Name + " has joined", nil
}

// state of the kubelet's way into the cluster.
type credentialState int

const (
	noCredentials credentialState = iota
	expiredCredentials
	goodCredentials
)

// credentials looks at what the kubelet has. It writes its kubeconfig when it has got
// the first certificate, and renews that by itself long before the end.
func credentials(ctx context.Context, h host.Host) (credentialState, error) {
	if there, err := exists(ctx, h, kubeletConfig); err != nil || !there {
		return noCredentials, err
	}
	data, err := h.ReadFile(ctx, kubeletClient)
	if errors.Is(err, fs.ErrNotExist) {
		return noCredentials, nil
	}
	if err != nil {
		return noCredentials, err
	}
	cert, err := firstCertificate(data) // its key comes after it
	switch {
	case err != nil: // what a power cut has left of it
		return noCredentials, nil
	case time.Now().After(cert.NotAfter):
		return expiredCredentials, nil
	}
	return goodCredentials, nil
}

// Apply implements Step. Each part of it can have been done before: the device key,
// the token, the join itself, and only then node0's knowing of it.
func (s Membership) Apply(ctx context.Context, h host.Host) error {
	client, err := JoinClient(ctx, h, s.config, s.env)
	if err != nil {
		return err
	}
	identity, err := client.Enroll(ctx)
	if err != nil {
		return err
	}
	if identity.Node != s.config.Name {
		return fmt.Errorf("join the cluster: node0 knows this card as %s, and node.json says %s", identity.Node, s.config.Name)
	}
	state, err := credentials(ctx, h)
	if err == nil && state != goodCredentials {
		err = s.join(ctx, h, client, state)
	}
	if err != nil {
		return err
	}
	if err := client.Joined(ctx, s.uid(ctx, h)); err != nil {
		return err
	}
	return h.Write(ctx, memberMark, host.File{Data: []byte(s.config.Name + "\n")})
}

func (s Membership) join(ctx context.Context, h host.Host, client *join.Client, state credentialState) error {
	bundle, err := client.Join(ctx, state == expiredCredentials)
	var refusal *joinapi.Refusal
	if errors.As(err, &refusal) && refusal.Reason == joinapi.AlreadyJoined {
		// node0 knows it as a member, but what the kubelet had is gone.
		bundle, err = client.Join(ctx, true)
	}
	if err != nil {
		return err
	}
	defer forgetToken(context.WithoutCancel(ctx), h)
	if state == expiredCredentials {
		return s.bootstrap(ctx, h, bundle)
	}
	return s.kubeadm(ctx, h, bundle)
}

// kubeadm joins for the first time, or from the beginning.
func (s Membership) kubeadm(ctx context.Context, h host.Host, b *joinapi.Bundle) error {
	if err := resetWorker(ctx, h); err != nil {
		return err
	}
	discovery, err := join.Discovery(b)
	if err != nil {
		return err
	}
	document, err := kubeadm.Join(s.config, kubeadm.Joining{Discovery: discoveryPath, Token: b.Token.Text, Labels: b.Identity.Labels}, patchesDir)
	if err != nil {
		return err
	}
	if err := inMemory(ctx, h, privateFile("", discoveryPath, discovery), privateFile("", joinPath, document)); err != nil {
		return err
	}
	return runKubeadm(ctx, h, "kubeadm joins the cluster", "join", "--config", joinPath)
}

// bootstrap gives a kubelet that is configured a token for one more first
// certificate; its pods are left alone.
func (s Membership) bootstrap(ctx context.Context, h host.Host, b *joinapi.Bundle) error {
	access := join.Access{Server: "https://" + b.Endpoint, CA: b.CA, Token: b.Token.Text}
	data, err := access.Kubeconfig()
	if err != nil {
		return err
	}
	if err := inMemory(ctx, h, privateFile("", bootstrapInRAM, data)); err != nil {
		return err
	}
	if _, err := h.Run(ctx, host.Cmd{Args: []string{"systemctl", "restart", "kubelet.service"}}); err != nil {
		return err
	}
	return step.Wait{For: "the kubelet's new certificate", Limit: bootstrapTimeout, Every: 5 * time.Second}.Until(ctx, func(ctx context.Context) error {
		state, err := credentials(ctx, h)
		if err == nil && state != goodCredentials {
			err = errors.New("node0 has not given it yet")
		}
		return err
	})
}

// resetWorker takes away what a join that was cut off has left, over which kubeadm
// would stumble.
func resetWorker(ctx context.Context, h host.Host) error {
	for _, name := range []string{kubeletConfig, bootstrapConfig, authorityPath, "/var/lib/kubelet/config.yaml"} {
		there, err := exists(ctx, h, name)
		if err != nil {
			return err
		}
		if there {
			_, err := h.Run(ctx, host.Cmd{Args: []string{"kubeadm", "reset", "--force", "--cri-socket", kubeadm.CRISocket}})
			return kubeadmError(err)
		}
	}
	return nil
}

// inMemory writes files where no token survives, and has the kubelet's own file with
// the token, which kubeadm writes to the disk, end up there too: it follows the link.
func inMemory(ctx context.Context, h host.Host, files ...Private) error {
	for _, dir := range []string{runDir, joinDir} {
		if err := h.Write(ctx, dir, host.File{Mode: 0o700 | fs.ModeDir}); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := f.Apply(ctx, h); err != nil {
			return err
		}
	}
	return h.Write(ctx, bootstrapConfig, host.File{Target: bootstrapInRAM})
}

// forgetToken leaves no token behind, however the join went: the next try gets the
// same one again, or another.
func forgetToken(ctx context.Context, h host.Host) error {
	var all []error
	for _, name := range []string{bootstrapConfig, bootstrapInRAM, joinPath, discoveryPath, joinDir} {
		all = append(all, h.Remove(ctx, name))
	}
	return errors.Join(all...)
}

// uid is the node's in Kubernetes; "" where it is not known, which only node0's
// protection against a name that was given twice suffers from.
func (s Membership) uid(ctx context.Context, h host.Host) string {
	out, err := h.Run(ctx, host.Cmd{Args: []string{"kubectl", "--kubeconfig", kubeletConfig, "--request-timeout=30s", "get", "node", s.config.Name, "-o", "jsonpath={.metadata.uid}"}})
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
