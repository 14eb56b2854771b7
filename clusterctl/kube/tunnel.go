package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"picluster/internal/step"
)

// Tunnel is a port on loopback that leads through the API server to a port of one
// of a Service's pods; one that listens only on the pod's own loopback will do. While
// a connection is lost or the pod moves, the port is closed; it opens again at the
// same number.
type Tunnel struct {
	// Address is "127.0.0.1:40123".
	Address string

	done chan error
}

// Wait returns when ctx, which the tunnel was opened with, ends, or the tunnel can
// not be opened again; the error is nil in the first case.
func (t *Tunnel) Wait() error { return <-t.done }

// reopenTime bounds how long a lost tunnel is tried again: a pod that was evicted
// from a dead node comes back within six minutes (Kubernetes: tolerationSeconds 300).
const reopenTime = 10 * time.Minute

// Forward opens a tunnel to a port of a Service's pods. local is the port on loopback,
// 0 for any that is free. It lasts as long as ctx.
func (c *Client) Forward(ctx context.Context, namespace, service string, port, local int) (*Tunnel, error) {
	var f *forwarder
	var hopeless error
	err := step.Wait{For: "Service " + namespace + "/" + service, Limit: endpointTime, Every: time.Second / 2}.Until(ctx, func(context.Context) (err error) {
		f, err = c.open(ctx, namespace, service, port, local)
		var unready *unreadyError
		if err != nil && !errors.As(err, &unready) {
			hopeless, err = err, nil
		}
		return err
	})
	if err = cmp.Or(hopeless, err); err != nil {
		return nil, err
	}
	ports, err := f.GetPorts()
	if err != nil {
		return nil, fmt.Errorf("open tunnel: %w", err)
	}
	local = int(ports[0].Local)
	t := &Tunnel{net.JoinHostPort("127.0.0.1", strconv.Itoa(local)), make(chan error, 1)}
	go func() { t.done <- c.keepOpen(ctx, f, namespace, service, port, local) }()
	return t, nil
}

// endpointTime bounds the wait for a pod that has just become ready, or is about to: a
// Service hears of it a moment later than its Deployment.
const endpointTime = 30 * time.Second

// unreadyError is why there is no pod to reach yet.
type unreadyError struct{ service string }

func (e *unreadyError) Error() string { return "find a pod of " + e.service + ": none is ready" }

// keepOpen opens a lost tunnel again.
func (c *Client) keepOpen(ctx context.Context, f *forwarder, namespace, service string, port, local int) error {
	for {
		<-f.ended
		if ctx.Err() != nil {
			return nil
		}
		err := step.Wait{For: "Service " + namespace + "/" + service, Limit: reopenTime, Every: time.Second}.Until(ctx, func(context.Context) (err error) {
			f, err = c.open(ctx, namespace, service, port, local) // which outlives the wait
			return err
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// forwarder is one connection.
type forwarder struct {
	*portforward.PortForwarder
	ended chan struct{}
}

func (c *Client) open(ctx context.Context, namespace, service string, port, local int) (*forwarder, error) {
	pod, err := c.endpoint(ctx, namespace, service)
	if err != nil {
		return nil, err
	}
	dialer, err := c.dialer(namespace, pod)
	if err != nil {
		return nil, fmt.Errorf("open tunnel: %w", err)
	}
	ready := make(chan struct{})
	stop := make(chan struct{})
	forward, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:%d", local, port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return nil, fmt.Errorf("open tunnel: %w", err)
	}
	f := &forwarder{forward, make(chan struct{})}
	failed := make(chan error, 1)
	go func() {
		err := forward.ForwardPorts()
		if err == nil {
			err = errors.New("the connection ended")
		}
		failed <- err
		close(f.ended)
	}()
	context.AfterFunc(ctx, func() { close(stop) })
	select {
	case <-ready:
		return f, nil
	case err := <-failed:
		return nil, fmt.Errorf("open tunnel to pod %s/%s: %w", namespace, pod, err)
	}
}

// dialer speaks SPDY over a WebSocket, and SPDY alone to an API server or a proxy
// that does not know that (KEP-4006; WebSockets are tried first since 1.31).
func (c *Client) dialer(namespace, pod string) (httpstream.Dialer, error) {
	address := c.raw.Post().AbsPath("/api/v1/namespaces", namespace, "pods", pod, "portforward").URL()
	config := *c.config
	config.Timeout = 0 // it is one long call
	transport, upgrader, err := spdy.RoundTripperFor(&config)
	if err != nil {
		return nil, err
	}
	plain := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", address)
	socket, err := portforward.NewSPDYOverWebsocketDialer(address, &config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialer(socket, plain, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// endpoint finds a pod behind a Service that is ready.
func (c *Client) endpoint(ctx context.Context, namespace, service string) (pod string, err error) {
	slices, err := c.List(ctx, Ref{"discovery.k8s.io/v1", "EndpointSlice", namespace, ""}, "kubernetes.io/service-name="+service)
	if err != nil {
		return "", err
	}
	for _, s := range slices {
		endpoints, _, _ := unstructured.NestedSlice(s.Object, "endpoints")
		for _, e := range endpoints {
			m, _ := e.(map[string]any)
			ready, _, _ := unstructured.NestedBool(m, "conditions", "ready")
			pod, _, _ := unstructured.NestedString(m, "targetRef", "name")
			if ready && pod != "" {
				return pod, nil
			}
		}
	}
	if len(slices) == 0 {
		return "", fmt.Errorf("find Service %s/%s: there is none", namespace, service)
	}
	return "", &unreadyError{"Service " + namespace + "/" + service}
}
