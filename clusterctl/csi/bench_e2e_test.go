//go:build e2e && bench

package csi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"picluster/clusterctl/gluster"
	"picluster/internal/host"
	"picluster/internal/lab/tool"
	"picluster/internal/step"
)

// rounds is how often everything is measured. What is compared takes turns, so that
// what else the machine does meets both.
const rounds = 5

// spread is a number of measurements of one thing.
type spread []float64

func (s spread) String() string {
	sorted := slices.Sorted(slices.Values(s))
	return fmt.Sprintf("%.2f (%.2f to %.2f)", sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1])
}

// seconds measures something.
func (c cluster) seconds(do func() error) float64 {
	c.t.Helper()
	began := time.Now()
	if err := do(); err != nil {
		c.t.Fatal(err)
	}
	return time.Since(began).Seconds()
}

// ready is a cluster with the options that the product's pools have.
func ready(t *testing.T) cluster {
	c := newCluster(t)
	stages := []step.Stage[gluster.CLI]{{Name: "pool", Steps: []step.Step[gluster.CLI]{
		gluster.PoolOptions{Want: map[string]string{"cluster.brick-multiplex": "on"}}}}}
	if err := c.engine.EachPool(t.Context(), func(cli gluster.CLI) error { return step.Run(t.Context(), cli, stages, nil) }); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c cluster) create(name string, bytes int64) *csi.Volume {
	c.t.Helper()
	made, err := c.CreateVolume(c.t.Context(), &csi.CreateVolumeRequest{Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: bytes},
		VolumeCapabilities: []*csi.VolumeCapability{capability(many)}})
	if err != nil {
		c.t.Fatal(err)
	}
	return made.Volume
}

// How long a claim waits for its volume, a larger one, and its end, beside what gluster
// alone takes for a volume on directories that are there.
func TestBench_volumes(t *testing.T) {
	c := ready(t)
	ctx, cli := t.Context(), gluster.CLI{Host: c.Nodes[0]}
	var plain [3]gluster.Brick
	for i, n := range c.Nodes {
		c.run(n, `truncate -s 600M /srv/plain; mkfs.xfs -q /srv/plain; mkdir /srv/bricks; mount -o loop /srv/plain /srv/bricks`)
		plain[i] = gluster.Brick{Host: n.Address, Path: "/srv/bricks/brick"}
	}
	var create, expand, remove, plainCreate, plainRemove spread
	for range rounds {
		create = append(create, c.seconds(func() error { c.create("pvc-1", 1<<30); return nil }))
		expand = append(expand, c.seconds(func() error {
			_, err := c.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: "pvc-1", CapacityRange: &csi.CapacityRange{RequiredBytes: 2 << 30}})
			return err
		}))
		remove = append(remove, c.seconds(func() error {
			_, err := c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: "pvc-1"})
			return err
		}))
		for _, n := range c.Nodes {
			c.run(n, `rm -rf /srv/bricks/brick; mkdir /srv/bricks/brick`)
		}
		plainCreate = append(plainCreate, c.seconds(func() error {
			if err := cli.Create(ctx, "plain", [][]gluster.Brick{plain[:]}); err != nil {
				return err
			}
			return cli.Start(ctx, "plain", false)
		}))
		plainRemove = append(plainRemove, c.seconds(func() error {
			if err := cli.Stop(ctx, "plain", true); err != nil {
				return err
			}
			return cli.Delete(ctx, "plain")
		}))
	}
	t.Logf("seconds, median (least to most) of %d:\ncreate 1 GiB x 3  %v   gluster alone %v\nexpand to 2 GiB   %v\ndelete            %v   gluster alone %v",
		rounds, create, plainCreate, expand, remove, plainRemove)
}

// What goes through a mount of the driver's, beside what goes through one that a person
// makes. The programs and the volume are the same; the options need not be.
func TestBench_throughput(t *testing.T) {
	c := ready(t)
	v := c.create("pvc-1", 2<<30)
	if err := c.stage(v, many); err != nil {
		t.Fatal(err)
	}
	if err := c.publish(v, "/srv/pod", many, false); err != nil {
		t.Fatal(err)
	}
	c.run(c.Client, `mkdir /srv/plain; mount -t glusterfs "$1:/pvc-1" /srv/plain`, c.Nodes[0].Address)
	const mib = 128
	write := func(at string) float64 {
		return mib / c.seconds(func() error {
			c.run(c.Client, `dd if=/dev/zero of="$1/file" bs=1M count="$2" conv=fsync status=none`, at, strconv.Itoa(mib))
			return nil
		})
	}
	read := func(at string) float64 {
		return mib / c.seconds(func() error {
			c.run(c.Client, `dd if="$1/file" of=/dev/null bs=1M iflag=direct status=none`, at)
			return nil
		})
	}
	var writes, reads, plainWrites, plainReads, writeRatios, readRatios spread
	for range rounds {
		ours, theirs := write("/srv/pod"), write("/srv/plain")
		writes, plainWrites, writeRatios = append(writes, ours), append(plainWrites, theirs), append(writeRatios, ours/theirs)
		ours, theirs = read("/srv/pod"), read("/srv/plain")
		reads, plainReads, readRatios = append(reads, ours), append(plainReads, theirs), append(readRatios, ours/theirs)
	}
	t.Logf("MiB/s through the driver's mount, a plain one, and the ratio, median (least to most) of %d:\nwrite and sync  %v   %v   %v\nread            %v   %v   %v",
		rounds, writes, plainWrites, writeRatios, reads, plainReads, readRatios)
	c.run(c.Client, `umount /srv/plain`)
	c.unstage(v)
}

// unstage takes the driver's mounts away: the cluster's end would wait for them.
func (c cluster) unstage(v *csi.Volume) {
	c.t.Helper()
	ctx := c.t.Context()
	if _, err := c.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.VolumeId, TargetPath: "/srv/pod"}); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: v.VolumeId, StagingTargetPath: "/srv/staged"}); err != nil {
		c.t.Fatal(err)
	}
}

// How much memory the storage takes of a node: Gluster's programs with no, one and ten
// volumes, and the driver's node part.
func TestBench_memory(t *testing.T) {
	c := ready(t)
	report := func(volumes int) {
		var all spread
		for _, n := range c.Nodes {
			all = append(all, resident(t, n, "glusterd", "glusterfsd", "glusterfs"))
		}
		t.Logf("MiB on a node with %2d volumes, median (least to most) of %d nodes: %v", volumes, len(c.Nodes), all)
	}
	report(0)
	for i := 1; i <= 10; i++ {
		c.create(fmt.Sprintf("pvc-%d", i), 1<<30)
		if i == 1 {
			report(i)
		}
	}
	report(10)
	t.Logf("MiB of the driver's node part: %.1f", c.nodePart())
}

// resident is the memory of programs on a node, in MiB (RSS, so what they share is
// counted for each).
func resident(t *testing.T, n host.Host, names ...string) float64 {
	t.Helper()
	out, err := n.Run(t.Context(), host.Cmd{Args: []string{"ps", "-e", "-o", "comm=,rss="}})
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) == 2 && slices.Contains(names, f[0]) {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			sum += kib
		}
	}
	return float64(sum) / 1024
}

// nodePart starts the program that a node runs, and tells how much memory it takes.
func (c cluster) nodePart() float64 {
	c.t.Helper()
	path := filepath.Join(c.t.TempDir(), "storaged")
	build := tool.Cmd{Env: []string{"CGO_ENABLED=0"}, Args: []string{"go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "picluster/clusterctl/storaged"}}
	if _, err := build.Output(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = c.Client.Write(c.t.Context(), "/tmp/storaged", host.File{Mode: 0o755, Data: data})
	}
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Client.Run(ctx, host.Cmd{Args: []string{"/tmp/storaged", "node", "--node=client", "--kubelet=/srv/kubelet"}})
	}()
	defer func() { cancel(); <-ended }()
	c.run(c.Client, `until [ -S /srv/kubelet/plugins_registry/*.sock ]; do sleep 0.1; done; sleep 2`)
	return resident(c.t, c.Client, "storaged")
}
