package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/heketi"
	"picluster/internal/host"
	"picluster/internal/lab/kube"
	"picluster/internal/secret"
)

// A Heketi elsewhere makes the volumes, and answers to whoever asks the storage's
// Service; that it is away is what the readiness probe sees.
func TestController_asksTheHeketiThatIsThere(t *testing.T) {
	keys := heketi.Keys{Admin: secret.New("the admin's key")}
	api, err := heketi.New(t.Context(), &engine.Engine{Store: engine.File{Host: host.Local{Root: t.TempDir()}, Path: "/state.json"}}, keys)
	if err != nil {
		t.Fatal(err)
	}
	there := httptest.NewServer(api)
	t.Cleanup(func() { there.Close(); api.Close() })
	dir := t.TempDir()
	for name, key := range map[string]string{"admin": keys.Admin.Reveal() + "\n", "user": "unused"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := settings{socket: filepath.Join(dir, "csi.sock"), listen: kube.FreeAddress(t), keys: dir, heketi: there.URL}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.run(ctx, slog.New(slog.DiscardHandler)) }()

	connection, err := grpc.NewClient("unix:"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	driver := spec.NewControllerClient(connection)
	if _, err := driver.ListVolumes(ctx, &spec.ListVolumesRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Errorf("list its volumes: %v", err)
	}
	mount := &spec.VolumeCapability{AccessType: &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{}},
		AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER}}
	_, err = driver.CreateVolume(ctx, &spec.CreateVolumeRequest{Name: "pvc-1", VolumeCapabilities: []*spec.VolumeCapability{mount}})
	if err == nil || !strings.Contains(err.Error(), "Heketi says: No clusters configured") {
		t.Errorf("a volume where there is no node: %v", err)
	}
	client := heketi.Client{URL: "http://" + s.listen, User: "admin", Key: keys.Admin}
	if nodes, err := client.Nodes(ctx); err != nil || len(nodes) != 0 {
		t.Errorf("by the Service there are nodes %v: %v", nodes, err)
	}
	probe := func() int {
		answer, err := http.Get(client.URL + "/hello")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if code := probe(); code != http.StatusOK {
		t.Errorf("the probe gets %d", code)
	}
	there.Close()
	if code := probe(); code != http.StatusBadGateway {
		t.Errorf("with the Heketi away the probe gets %d", code)
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}
