//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"picluster/internal/lab"
)

// An image is built by a user without rights, where there is nothing but the
// program and its inputs: no mount, no other program, not even /proc.
func TestBuild_needsNothingElse(t *testing.T) {
	root := t.TempDir()
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"imagebuilder", "firstboot-linux-arm64"} {
		run(t, "cp", filepath.Join(bin, name), root)
	}
	run(t, "cp", "--sparse=always", lab.Image(t, lab.Layout{Release: "trixie"}), filepath.Join(root, "os.img"))
	inside := func(args ...string) {
		t.Helper()
		args = append([]string{"--userspec=65534:65534", root, "/imagebuilder"}, args...)
		cmd := exec.Command("chroot", args...)
		cmd.Env = []string{"HOME=/home"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	for _, dir := range []string{"home", "cluster"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(root, dir), 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	inside("init", "/cluster")
	inside("build", "-f", "/cluster/cluster.yaml", "--image", "/os.img", "--agents", "/", "--all", "--out", "/cluster/one")
	inside("build", "-f", "/cluster/cluster.yaml", "--image", "/os.img", "--agents", "/", "--all", "--out", "/cluster/two")
	run(t, "diff", "-r", filepath.Join(root, "cluster/one"), filepath.Join(root, "cluster/two"))
	run(t, "chroot", "--userspec=65534:65534", root, "/imagebuilder", "inspect", "/cluster/one/raspberrypi-node2.img")
}
