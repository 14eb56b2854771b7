package steps

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"picluster/firstboot/join"
	"picluster/internal/host"
	"picluster/internal/secret"
	"picluster/internal/step"
)

// kubectl runs it as the administrator, which only node0 is.
func kubectl(ctx context.Context, h host.Host, stdin string, args ...string) ([]byte, error) {
	return kubectlAs(ctx, h, adminConfig, stdin, args...)
}

func kubectlAs(ctx context.Context, h host.Host, kubeconfig, stdin string, args ...string) ([]byte, error) {
	c := host.Cmd{Args: append([]string{"kubectl", "--kubeconfig", kubeconfig, "--request-timeout=30s"}, args...)}
	if stdin != "" {
		c.Stdin = strings.NewReader(stdin)
	}
	return h.Run(ctx, c)
}

// APIServer wants the API server to answer that it is ready.
type APIServer struct{ Limit time.Duration }

func (s APIServer) Name() string { return "API server" }

// Check implements Step.
func (s APIServer) Check(ctx context.Context, h host.Host) (string, error) {
	_, err := kubectl(ctx, h, "", "get", "--raw=/readyz")
	if exitCode(err) != 0 {
		return "the API server is not ready: " + apiProblem(err), nil
	}
	return "", err
}

// apiProblem is what kubectl says about it, in its last line.
func apiProblem(err error) string {
	var exit *host.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
	last := lines[len(lines)-1]
	if strings.Contains(last, "was refused") {
		return "nobody answers on its port"
	}
	return last
}

// Apply implements Step. The kubelet starts it, again and again if need be.
func (s APIServer) Apply(ctx context.Context, h host.Host) error {
	return step.Wait{For: "the API server", Limit: s.Limit, Every: 5 * time.Second}.Until(ctx, func(ctx context.Context) error {
		drift, err := s.Check(ctx, h)
		if err == nil && drift != "" {
			err = errors.New(drift)
		}
		return err
	})
}

// Applied wants objects in the cluster as a manifest has them, and leaves alone what
// the manifest does not speak of.
type Applied struct{ What, Manifest string }

func (s Applied) Name() string { return s.What }

// String leaves the manifest out: it is a page or more, and stands in a file of its
// own.
func (s Applied) String() string { return fmt.Sprintf("{%d bytes}", len(s.Manifest)) }

// ours is how the API server knows which fields are ours (server-side apply).
var ours = []string{"--server-side", "--field-manager=picluster", "--force-conflicts", "-f", "-"}

// Check implements Step. kubectl diff exits with 1 where there is a difference, and
// with more for an error (kubectl, CheckDiffErr): it has one where an object's
// namespace is not there either.
func (s Applied) Check(ctx context.Context, h host.Host) (string, error) {
	_, err := kubectl(ctx, h, s.Manifest, append([]string{"diff"}, ours...)...)
	var exit *host.ExitError
	switch {
	case !errors.As(err, &exit):
		return "", err
	case exit.Code == 1:
		return "the cluster does not have it as it should be", nil
	case strings.Contains(string(exit.Stderr), "(NotFound)"):
		return "the cluster does not have it", nil
	}
	return "", err
}

// Apply implements Step.
func (s Applied) Apply(ctx context.Context, h host.Host) error {
	_, err := kubectl(ctx, h, s.Manifest, append([]string{"apply"}, ours...)...)
	return err
}

// JoinAccess wants the join service's way into the cluster in a file of root's.
type JoinAccess struct{ Server string } // URL of the API server

func (s JoinAccess) Name() string { return "join service's access" }

// Check implements Step.
func (s JoinAccess) Check(ctx context.Context, h host.Host) (string, error) {
	data, err := read(ctx, h, join.KubeconfigPath)
	if err != nil {
		return "", err
	}
	ca, err := h.ReadFile(ctx, authorityPath)
	if err != nil {
		return "", err
	}
	if access, err := join.ParseKubeconfig(data); err != nil || access.Server != s.Server || access.CA != string(ca) {
		return "the join service has no access to the cluster", nil
	}
	return Private{Path: join.KubeconfigPath, Content: secret.New(string(data))}.Check(ctx, h)
}

// Apply implements Step. The token comes out of the cluster on standard output; it
// is in no argument and in no log.
func (s JoinAccess) Apply(ctx context.Context, h host.Host) error {
	ca, err := h.ReadFile(ctx, authorityPath)
	if err != nil {
		return err
	}
	var token string
	err = step.Wait{For: "the join service's token", Limit: 2 * time.Minute}.Until(ctx, func(ctx context.Context) error {
		out, err := kubectl(ctx, h, "", "-n", join.Namespace, "get", "secret", join.TokenSecret, "-o", "jsonpath={.data.token}")
		if err != nil {
			return err
		}
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(out)))
		if token = string(decoded); err == nil && token == "" {
			err = errors.New("the controller manager has not made it yet")
		}
		return err
	})
	if err != nil {
		return err
	}
	data, err := join.Access{Server: s.Server, CA: string(ca), Token: secret.New(token)}.Kubeconfig()
	if err != nil {
		return err
	}
	// Before the file: the service reads it when it is started.
	if err := leaveMark(ctx, h, joinService("").restartMark()); err != nil {
		return err
	}
	return privateFile("", join.KubeconfigPath, data).Apply(ctx, h)
}
