package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/internal/cli"
	"picluster/internal/host/hosttest"
)

// A node's container runtime gets the archive as it is; one that is away is named, and
// keeps no other from it.
func TestLoadImage_reachesEveryNode(t *testing.T) {
	w := newWorld(t, 2, 0, "")
	n := newNode0(t, w)
	if err := hosttest.WriteProgram(filepath.Join(n.root, "usr/bin/ctr"), "#!/usr/bin/sh\necho \"$*\" >/arguments\nexec cat >/archive\n"); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("an image \x00"), 1<<20)
	w.write("image.tar", string(content))
	var stderr bytes.Buffer
	err := n.loadImage(t.Context(), cli.Env{Stderr: &stderr}, filepath.Join(w.dir, "image.tar"))
	if cli.CodeOf(err) != cli.Partial || !strings.Contains(err.Error(), "load image on pi-node1: ") || stderr.String() != "pi-node0 has the image\n" {
		t.Errorf("%d: %v\n%s", cli.CodeOf(err), err, stderr.String())
	}
	got, err := os.ReadFile(filepath.Join(n.root, "archive"))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("the node has %d bytes of %d: %v", len(got), len(content), err)
	}
	arguments, err := os.ReadFile(filepath.Join(n.root, "arguments"))
	if err != nil || string(arguments) != "--namespace=k8s.io images import -\n" {
		t.Errorf("it was called with %q: %v", arguments, err)
	}
}

// An image by itself needs no cluster.yaml; to bring it to a cluster does.
func TestImagesBuild_needsAClusterOnlyToReachIt(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(args ...string) (int, string) {
		var stderr bytes.Buffer
		code := cli.Run(t.Context(), program(), cli.Env{Stdin: strings.NewReader(""), Stdout: new(bytes.Buffer), Stderr: &stderr}, append([]string{"images", "build"}, args...))
		return code, stderr.String()
	}
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"--out image.tar", cli.Failed, "storaged belongs beside clusterctl"},
		{"--out image.tar -f cluster.yaml", cli.Usage, "clusterctl works where cluster.yaml is"},
		{"--load", cli.Usage, "clusterctl works where cluster.yaml is"},
		{"--push", cli.Usage, "clusterctl works where cluster.yaml is"},
		{"", cli.Usage, "--load, --push or --out says where the image goes"},
		{"--arch arm --out image.tar --programs .", cli.Failed, "there is no storage for arm: "},
	} {
		if code, stderr := run(strings.Fields(test.args)...); code != test.code || !strings.Contains(stderr, test.says) {
			t.Errorf("images build %s: exit %d, %s", test.args, code, stderr)
		}
	}
}
