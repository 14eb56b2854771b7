package heketi_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"picluster/clusterctl/gluster/brick"
	"picluster/clusterctl/gluster/engine"
	"picluster/clusterctl/heketi"
	"picluster/internal/golden"
	"picluster/internal/host"
	"picluster/internal/lab/gluster"
	"picluster/internal/secret"
)

var keys = heketi.Keys{Admin: secret.New("the admin's key"), User: secret.New("the user's key")}

// serve serves the API on loopback.
func serve(t *testing.T, e *engine.Engine) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	api, err := heketi.New(ctx, e, keys)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api)
	t.Cleanup(func() {
		server.Close()
		cancel()
		api.Close()
	})
	return server.URL
}

// Heketi's own client talks to us about three real nodes; the transcript is what it
// has understood.
func TestServer_speaksToHeketisClient(t *testing.T) {
	client := gluster.Judge(t, "heketi")
	c := gluster.Start(t, 3)
	url := serve(t, &engine.Engine{
		Store:  engine.File{Host: c.Client, Path: "/srv/state.json"},
		Bricks: brick.LoopFile{},
		Reach: func(_ context.Context, n engine.Node) (host.Host, error) {
			return c.Nodes[slices.IndexFunc(c.Nodes, func(is *gluster.Node) bool { return is.Name == n.Manage })], nil
		},
	})
	args := []string{url}
	for _, n := range c.Nodes {
		device, err := n.Run(t.Context(), host.Cmd{Args: []string{"sh", "-ec",
			`truncate -s 5G /srv/disk; mkfs.ext4 -q -L photos /srv/disk; losetup --find --show /srv/disk`}})
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, n.Name+"="+n.Address+"="+strings.TrimSpace(string(device)))
	}
	cmd := exec.Command(client, args...)
	cmd.Env = append(os.Environ(), "ADMIN_KEY="+keys.Admin.Reveal(), "USER_KEY="+keys.User.Reveal())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	golden.Equal(t, "testdata/client.golden", masked(out))
}

var (
	id     = regexp.MustCompile(`[0-9a-f]{32}`)
	device = regexp.MustCompile(`/dev/loop[0-9]+`)
)

// masked gives ids numbers in the order in which they come; the list of a cluster's
// bricks and nodes is in no order.
func masked(out []byte) []byte {
	seen := map[string]string{strings.Repeat("0", 32): "none"}
	out = id.ReplaceAllFunc(out, func(is []byte) []byte {
		if seen[string(is)] == "" {
			seen[string(is)] = fmt.Sprintf("id%d", len(seen))
		}
		return []byte(seen[string(is)])
	})
	return device.ReplaceAll(out, []byte("/dev/loopN"))
}
