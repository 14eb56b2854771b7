//go:build e2e

package kube_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/firstboot/join"
	"picluster/firstboot/join/kube"
	"picluster/internal/host"
	"picluster/internal/joinapi"
	"picluster/internal/lab/desk"
	lab "picluster/internal/lab/kube"
	"picluster/internal/secret"
)

func TestMain(m *testing.M) { os.Exit(desk.Main(m)) }

// world is a real control plane with a join service that has nothing but its
// service account.
type world struct {
	*desk.Desk
	t       *testing.T
	plane   *lab.ControlPlane
	admin   string // kubeconfig
	access  join.Access
	service *join.Service
	address string
}

// start runs the service too.
func start(t *testing.T, nodes, spares int) *world {
	w := newWorld(t, nodes, spares)
	w.serve()
	return w
}

func newWorld(t *testing.T, nodes, spares int) *world {
	w := &world{Desk: desk.New(t, time.Now(), nodes, spares), t: t, plane: lab.Start(t, lab.Options{Controllers: true})}
	w.admin = w.plane.Kubeconfig("admin", "system:masters")
	w.must(w.kubectl(w.admin, join.Manifest, "apply", "-f", "-"))
	w.access = join.Access{Server: w.plane.URL, CA: w.read(w.plane.CAFile()), Token: w.serviceToken()}
	return w
}

// serviceToken waits for the controller that fills the service account's secret.
func (w *world) serviceToken() secret.Text {
	w.t.Helper()
	var token string
	w.until("the service account has a token", func() bool {
		out, err := w.kubectl(w.admin, "", "-n", join.Namespace, "get", "secret", join.TokenSecret, "-o", "jsonpath={.data.token}")
		data, decodeErr := base64.StdEncoding.DecodeString(out)
		token = string(data)
		return err == nil && decodeErr == nil && token != ""
	})
	return secret.New(token)
}

// serve runs the service as node0 does, by way of the file that it reads.
func (w *world) serve() {
	w.t.Helper()
	file, err := w.access.Kubeconfig()
	if err != nil {
		w.t.Fatal(err)
	}
	access, err := join.ParseKubeconfig(file)
	if err != nil {
		w.t.Fatal(err)
	}
	cluster, err := kube.New(access)
	if err != nil {
		w.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	w.service, err = join.Open(join.Options{Config: w.Config("pi-node0"), Dir: filepath.Join(w.t.TempDir(), "join"),
		Endpoint: strings.TrimPrefix(w.plane.URL, "https://"), Cluster: cluster, Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { cluster.Run(ctx, w.service, log); done <- struct{}{} }()
	go func() {
		if err := w.service.Serve(ctx, l); err != nil {
			w.t.Error(err)
		}
		done <- struct{}{}
	}()
	w.t.Cleanup(func() { cancel(); <-done; <-done; w.service.Close() })
}

// newPi is a board with a card in it.
func (w *world) newPi(name string, n int) *join.Client {
	id := strings.Repeat("0", 60) + string([]byte{hex(n >> 12), hex(n >> 8), hex(n >> 4), hex(n)})
	return &join.Client{Config: w.Config(name), Hardware: joinapi.Hardware{Serial: id[48:], MachineID: id},
		Dir: filepath.Join(w.t.TempDir(), "device"), Address: w.address,
		Sleep: func(ctx context.Context, _ time.Duration) error {
			select {
			case <-time.After(200 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
}

func hex(n int) byte { return "0123456789abcdef"[n&15] }

// patience bounds what a busy machine may take.
const patience = 2 * time.Minute

func (w *world) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for ctx := w.context(); !ok(); time.Sleep(200 * time.Millisecond) {
		if ctx.Err() != nil {
			w.t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// bundle lets a Pi enroll and ask for what it joins with.
func (w *world) bundle(p *join.Client) *joinapi.Bundle {
	w.t.Helper()
	if _, err := p.Enroll(w.context()); err != nil {
		w.t.Fatal(err)
	}
	b, err := p.Join(w.context(), false)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// tokenConfig is a kubeconfig with a bundle's token.
func (w *world) tokenConfig(name string, b *joinapi.Bundle) string {
	return w.plane.TokenKubeconfig(name, b.Token.Reveal())
}

func (w *world) kubectl(config, stdin string, args ...string) (string, error) {
	cmd := exec.Command(lab.Program(w.t, "kubectl"), append([]string{"--kubeconfig=" + config}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+w.t.TempDir())
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	return stdout.String() + stderr.String(), err
}

func (w *world) must(out string, err error) string {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	return out
}

func (w *world) read(path string) string {
	w.t.Helper()
	data, err := host.Local{}.ReadFile(context.Background(), path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}
