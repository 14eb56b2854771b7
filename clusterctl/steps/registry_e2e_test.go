//go:build e2e

package steps

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	lab "picluster/internal/lab/kube"
)

// TestRegistry_writesOnLoopbackOnly runs the real program twice over one directory, with
// the configuration that is deployed: what is pushed to the one can be pulled from the
// other at once, and nothing can be pushed there.
func TestRegistry_writesOnLoopbackOnly(t *testing.T) {
	objects, err := registryObjects(env(t, "").Cluster)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	addresses := map[string]string{}
	for _, o := range objects {
		if o.GetKind() != "ConfigMap" {
			continue
		}
		for file, text := range o.Object["data"].(map[string]any) {
			addresses[file] = startRegistry(t, dir, file, text.(string))
		}
	}
	reader, writer := addresses["read.yml"], addresses["write.yml"]
	image, err := random.Image(1<<20, 3)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody has asked before it was there: that must not be remembered.
	if _, err := remote.Get(at(t, reader)); err == nil {
		t.Fatal("an image is there before it was pushed")
	}
	if err := remote.Write(at(t, writer), image); err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(at(t, reader))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := image.Digest()
	if got, err := pulled.Digest(); err != nil || got != want {
		t.Errorf("pulled %v, want %v: %v", got, want, err)
	}
	other, err := random.Image(1<<10, 1)
	if err != nil {
		t.Fatal(err)
	}
	var refused *transport.Error
	if err := remote.Write(at(t, reader), other); !errors.As(err, &refused) || refused.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("the side that only reads takes an image: %v", err)
	}
}

func at(t *testing.T, address string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(address+"/team/app:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// startRegistry runs the program with the deployed configuration; only where it listens
// and where its data is are the test's.
func startRegistry(t *testing.T, dir, file, text string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	for old, changed := range map[string]string{"/var/lib/registry": filepath.Join(dir, "data"), `":5000"`: address, `"127.0.0.1:5001"`: address} {
		text = strings.ReplaceAll(text, old, changed)
	}
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(lab.Program(t, "registry"), "serve", path)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		answer, err := http.Get("http://" + address + "/v2/")
		if err == nil {
			answer.Body.Close()
			return address
		}
		if time.Now().After(end) {
			t.Fatalf("wait for registry: %v", err)
		}
	}
}
