package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	lab "picluster/internal/lab/kube"
	"picluster/internal/lab/relay"
)

// pods are what a controller would have made: one that is ready, behind a Service.
const pods = `
{apiVersion: v1, kind: Node, metadata: {name: pi}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: default}, spec: {nodeName: pi, containers: [{name: c, image: c}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s-1, namespace: default, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
endpoints:
- {addresses: [10.244.0.8], conditions: {ready: false}, targetRef: {kind: Pod, name: gone, namespace: default}}
- {addresses: [10.244.0.9], conditions: {ready: true}, targetRef: {kind: Pod, name: p, namespace: default}}
`

// The API server's part of a tunnel is the real one; kwok plays the kubelet's.
func TestForward(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "inside ", r.URL.Path) }))
	defer server.Close()
	plane := lab.Start(t, lab.Options{Kwok: true, PodPorts: map[int]string{8080: strings.TrimPrefix(server.URL, "http://")}})
	direct := client(t, plane, "admin", "system:masters")
	for _, text := range strings.Split(pods, "---") {
		if _, err := direct.Apply(t.Context(), object(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	line := relay.New(t, strings.TrimPrefix(plane.URL, "https://"))
	config := *direct.config
	config.Host = "https://" + line.Address
	c, err := New(&config)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod runs", func() error { return Ready{Ref: Ref{"v1", "Pod", "default", "p"}}.Apply(t.Context(), c) })

	ctx, cancel := context.WithCancel(t.Context())
	tunnel, err := c.Forward(ctx, "default", "s", 8080, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/first", "/after-a-cut"} {
		eventually(t, "the tunnel is open", func() error {
			answer, err := http.Get("http://" + tunnel.Address + path)
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			if body, err := io.ReadAll(answer.Body); err != nil || string(body) != "inside "+path {
				return fmt.Errorf("it says %q, %v", body, err)
			}
			return nil
		})
		http.DefaultClient.CloseIdleConnections()
		line.Cut()
	}
	cancel()
	if err := tunnel.Wait(); err != nil {
		t.Errorf("a tunnel that was closed: %v", err)
	}
	eventually(t, "the port is closed", func() error {
		if _, err := http.Get("http://" + tunnel.Address); err == nil {
			return fmt.Errorf("it answers")
		}
		return nil
	})
}

// eventually tries again for as long as a busy machine may take.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("gave up waiting until %s: %v", what, err)
}
