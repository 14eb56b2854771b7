package kube

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"picluster/internal/host"
)

// Container is one of a pod's.
type Container struct{ Namespace, Pod, Name string }

func (c Container) String() string { return "pod " + c.Namespace + "/" + c.Pod }

// Exec runs a program in a container until it has ended, and returns its exit code.
// When the context ends it returns; the program goes on (kubernetes/kubernetes#61871),
// so its caller ends it, as host.Shell does.
func (c *Client) Exec(ctx context.Context, in Container, s host.Streams) (int, error) {
	config := rest.CopyConfig(c.config)
	config.Timeout = 0 // a program may take as long as it likes
	request := c.raw.Post().AbsPath("/api/v1/namespaces/"+in.Namespace+"/pods/"+in.Pod+"/exec").
		Param("container", in.Name).Param("stdout", "true").Param("stderr", "true")
	if s.Stdin != nil {
		request.Param("stdin", "true")
	}
	for _, arg := range s.Args {
		request.Param("command", arg)
	}
	// WebSockets are what API servers prefer; one before 1.30, and some proxies, know
	// SPDY only.
	socket, err := remotecommand.NewWebSocketExecutor(config, "GET", request.URL().String())
	if err != nil {
		return 0, fmt.Errorf("reach %v: %w", in, err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(config, "POST", request.URL())
	if err != nil {
		return 0, fmt.Errorf("reach %v: %w", in, err)
	}
	executor, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return 0, fmt.Errorf("reach %v: %w", in, err)
	}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr})
	var exit utilexec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitStatus(), nil
	}
	if err != nil {
		return 0, wrap(err, "reach %v", in)
	}
	return 0, nil
}
