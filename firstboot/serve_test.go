//go:build !arm

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/firstboot/join"
	"picluster/internal/cli"
	"picluster/internal/joinapi"
	"picluster/internal/lab/desk"
)

// serving runs `firstboot serve` with a card's node.json until the test ends, and
// returns what it has said once it says anything.
func serving(t *testing.T, config []byte, kubeconfig string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{"node.json": string(config), "kubeconfig": kubeconfig} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		code := cli.Run(ctx, program(), cli.Env{Stdout: w, Stderr: w}, append([]string{"serve", "--config", filepath.Join(dir, "node.json"),
			"--kubeconfig", filepath.Join(dir, "kubeconfig"), "--state", filepath.Join(dir, "state"), "--listen", "127.0.0.1:0"}, more...))
		w.Close()
		done <- code
	}()
	t.Cleanup(func() { cancel(); <-done; r.Close() })
	said := make([]byte, 4096)
	n, _ := r.Read(said)
	return string(said[:n])
}

func cardOf(t *testing.T, d *desk.Desk, name string) []byte {
	t.Helper()
	c := d.Config(name)
	desk.Complete(c)
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The command reads the documents as they are on a card, and a card of the cluster
// is answered before there is a Kubernetes.
func TestServe_answersCardsFromTheBeginning(t *testing.T) {
	d := desk.New(t, time.Now(), 2, 0)
	said := serving(t, cardOf(t, d, "pi-node0"), "{}\n")
	_, address, ok := strings.Cut(strings.TrimSpace(said), "at ")
	if !ok {
		t.Fatalf("it says %q", said)
	}
	address, _, _ = strings.Cut(address, "\n")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := &join.Client{Config: d.Config("pi-node1"), Hardware: joinapi.Hardware{MachineID: "1"}, Dir: filepath.Join(t.TempDir(), "device"), Address: address,
		Sleep: func(context.Context, time.Duration) error { cancel(); return ctx.Err() }}
	id, err := p.Enroll(ctx)
	if err != nil || id.Node != "pi-node1" {
		t.Fatalf("it becomes %+v, %v", id, err)
	}
	if _, err := p.Join(ctx, false); err == nil || !strings.Contains(err.Error(), "the control plane on pi-node0 is not ready yet") {
		t.Errorf("error is %v", err)
	}
}

func TestServe_refuses(t *testing.T) {
	d := desk.New(t, time.Now(), 2, 0)
	for name, tc := range map[string]struct {
		config     []byte
		kubeconfig string
		want       string
	}{
		"a worker's card":     {cardOf(t, d, "pi-node1"), "{}", "node.json has no keys of the join service"},
		"half a document":     {cardOf(t, d, "pi-node0")[:500], "{}", "read node.json: unexpected end"},
		"half an access":      {cardOf(t, d, "pi-node0"), `{"clusters":[{}]}`, "read kubeconfig: it does not have one cluster"},
		"an access in YAML":   {cardOf(t, d, "pi-node0"), "kind: Config\n", "read kubeconfig: invalid character"},
		"a state that is not": {cardOf(t, d, "pi-node0"), "{}", "--state is no absolute, clean path"},
	} {
		var more []string
		if strings.Contains(tc.want, "--state") {
			more = []string{"--state", "join"}
		}
		said := serving(t, tc.config, tc.kubeconfig, more...)
		if !strings.Contains(said, tc.want) {
			t.Errorf("%s: it says %q, want %q", name, said, tc.want)
		}
		if bytes.Contains([]byte(said), []byte("PRIVATE KEY")) {
			t.Errorf("%s: it shows a key", name)
		}
	}
}
