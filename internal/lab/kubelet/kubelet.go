// Package kubelet plays the one part of a kubelet that `kubectl exec` needs, with the
// streaming code of the real one: the API server is real, and what runs in a container
// runs wherever the test says. So programs that go through pods/exec are tested where
// no container runtime is.
package kubelet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/exec"

	"picluster/internal/host"
)

// Programs runs a program as in a container of a pod, until it has ended.
type Programs func(ctx context.Context, pod string, s host.Streams) (code int, err error)

// Start starts one for all nodes; it ends with the test. Nodes have 127.0.0.1 as their
// address and its port as their kubelet's.
func Start(t testing.TB, run Programs) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := selfSigned()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remotecommand.ServeExec(w, r, run, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"], options,
			time.Hour, time.Minute, remotecommand.SupportedStreamingProtocols)
	})
	server := &http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}, ErrorLog: log.New(io.Discard, "", 0)}
	go server.ServeTLS(l, "", "")
	t.Cleanup(func() { server.Close() })
	return l.Addr().(*net.TCPAddr).Port
}

// ExecInContainer implements remotecommand.Executor.
func (p Programs) ExecInContainer(ctx context.Context, pod, _, _ string, command []string, in io.Reader, out, err io.WriteCloser, _ bool,
	_ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	code, failed := p(ctx, pod, host.Streams{Args: command, Stdin: in, Stdout: out, Stderr: err})
	if failed == nil && code != 0 {
		return exec.CodeExitError{Code: code, Err: fmt.Errorf("exit status %d", code)}
	}
	return failed
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Node is the Node object of a node whose kubelet this is.
func Node(name string, port int) string {
	return strings.NewReplacer("NAME", name, "PORT", fmt.Sprint(port)).Replace(`{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "NAME"},
		"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
			"conditions": [{"type": "Ready", "status": "True"}]}}`)
}
