package csi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"picluster/internal/host"
)

// machine has a kernel's list of mounts, and clients that work, have died, or do not answer.
type machine struct {
	host.Local

	mu      sync.Mutex
	mounts  []mounted
	clients []string // "works", "dead", "stuck"
	refuses bool     // new clients
	calls   []string // what changes mounts
}

type mounted struct {
	mount
	client int
}

func newMachine(t *testing.T) (*machine, *Node) {
	t.Helper()
	m := &machine{Local: host.Local{Root: t.TempDir()}}
	if err := errors.Join(os.MkdirAll(filepath.Join(m.Root, "sbin"), 0o755), os.WriteFile(filepath.Join(m.Root, "sbin/mount.glusterfs"), nil, 0o755)); err != nil {
		t.Fatal(err)
	}
	n := &Node{ID: "node1", Host: m}
	_, err := n.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{VolumeId: "data", StagingTargetPath: "/staged",
		VolumeContext: map[string]string{contextHosts: "10.0.0.1,10.0.0.2"}, VolumeCapability: aMount(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)})
	if err == nil {
		err = publishAt(t, n, "/pod1")
	}
	if err != nil {
		t.Fatal(err)
	}
	m.calls = nil
	return m, n
}

func aMount(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}, AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode}}
}

func publishAt(t *testing.T, n *Node, target string) error {
	t.Helper()
	_, err := n.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{VolumeId: "data", StagingTargetPath: "/staged", TargetPath: target,
		VolumeCapability: aMount(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)})
	return err
}

// at is the index of the mount that is seen at a path, -1 if none is.
func (m *machine) at(path string) int {
	for i, is := range slices.Backward(m.mounts) {
		if is.Target == path {
			return i
		}
	}
	return -1
}

// Run implements host.Host.
func (m *machine) Run(ctx context.Context, c host.Cmd) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := c.Args[len(c.Args)-1]
	failed := func(why string) ([]byte, error) {
		return nil, &host.ExitError{Args: c.Args, Code: 1, Stderr: []byte(why)}
	}
	switch i := m.at(last); c.Args[0] {
	case "findmnt":
		if len(m.mounts) == 0 {
			return failed("")
		}
		return json.Marshal(map[string]any{"filesystems": m.mounts})
	case "stat":
		if i >= 0 && m.clients[m.mounts[i].client] == "dead" {
			return failed("Transport endpoint is not connected")
		}
		if i >= 0 && m.clients[m.mounts[i].client] == "stuck" {
			<-ctx.Done()
			return nil, fmt.Errorf("run stat: %w", context.Cause(ctx))
		}
	case "umount":
		m.calls = append(m.calls, strings.Join(c.Args, " "))
		if i < 0 {
			return failed("not mounted")
		}
		m.mounts = slices.Delete(m.mounts, i, i+1)
	case "mount":
		return m.mountAs(c.Args, failed)
	default:
		return nil, fmt.Errorf("run %s: there is no such program", c)
	}
	return nil, nil
}

func (m *machine) mountAs(args []string, failed func(string) ([]byte, error)) ([]byte, error) {
	source, target := args[len(args)-2], args[len(args)-1]
	m.calls = append(m.calls, "mount "+source+" "+target)
	if from := m.at(source); args[1] == "-o" && from >= 0 { // bind
		is := m.mounts[from]
		is.Target = target
		m.mounts = append(m.mounts, is)
		return nil, nil
	}
	if m.refuses || args[1] != "-t" {
		return failed("Mount failed. Check the log file for more details.")
	}
	m.clients = append(m.clients, "works")
	m.mounts = append(m.mounts, mounted{mount{Target: target, Source: source, Options: "rw"}, len(m.clients) - 1})
	return nil, nil
}

// looks is what is mounted where, and how its client is.
func (m *machine) looks() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, is := range m.mounts {
		all = append(all, fmt.Sprintf("%s: %d %s", is.Target, is.client, m.clients[is.client]))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func (m *machine) wants(t *testing.T, when, want string) {
	t.Helper()
	if got := m.looks(); got != want {
		t.Errorf("%s: mounted is %s\nwant %s", when, got, want)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// In place of the client that has died comes one that works already; nobody sees the
// directory below meanwhile for longer than it takes to bind.
func TestRepair_mountsTheNewClientBeforeTheOldOneGoes(t *testing.T) {
	m, n := newMachine(t)
	m.clients[0] = "dead"
	m.refuses = true
	if err := n.Repair(t.Context(), quiet()); err == nil || !strings.Contains(err.Error(), "mount volume data anew: ") {
		t.Errorf("without a new client: %v", err)
	}
	m.wants(t, "without a new client", "/pod1: 0 dead, /staged: 0 dead")
	m.refuses, m.calls = false, nil
	if err := n.Repair(t.Context(), quiet()); err != nil {
		t.Fatal(err)
	}
	m.wants(t, "with a new client", "/pod1: 1 works, /staged: 1 works")
	want := "mount 10.0.0.1:/data /staged.new; umount --lazy /staged; mount /staged.new /staged; umount /staged.new; umount --lazy /pod1; mount /staged /pod1"
	if got := strings.Join(m.calls, "; "); got != want {
		t.Errorf("it did %s\nwant %s", got, want)
	}
	m.calls = nil
	if err := n.Repair(t.Context(), quiet()); err != nil || m.calls != nil {
		t.Errorf("with nothing to do it did %q: %v", m.calls, err)
	}
	if _, err := m.Stat(t.Context(), "/staged.new"); err == nil {
		t.Error("the spare directory stays")
	}
}

// A client that does not answer may wait for a node, with what pods have written.
func TestRepair_leavesAClientThatOnlyKeepsItWaiting(t *testing.T) {
	defer func(was time.Duration) { aliveTime = was }(aliveTime)
	aliveTime = 50 * time.Millisecond
	m, n := newMachine(t)
	m.clients[0] = "stuck"
	if err := n.Repair(t.Context(), quiet()); !errors.Is(err, errStuck) {
		t.Errorf("repair: %v", err)
	}
	if err := publishAt(t, n, "/pod2"); err == nil {
		t.Error("a pod is given a mount that does not answer")
	}
	m.wants(t, "afterwards", "/pod1: 0 stuck, /staged: 0 stuck")
}

// A pod that starts, or is mounted again, after the client has died gets one that works.
func TestPublish_repairsTheStagedMountFirst(t *testing.T) {
	m, n := newMachine(t)
	m.clients[0] = "dead"
	if err := publishAt(t, n, "/pod2"); err != nil {
		t.Fatal(err)
	}
	m.wants(t, "a new pod", "/pod1: 0 dead, /pod2: 1 works, /staged: 1 works")
	if err := publishAt(t, n, "/pod1"); err != nil {
		t.Fatal(err)
	}
	m.wants(t, "the old pod", "/pod1: 1 works, /pod2: 1 works, /staged: 1 works")
	m.clients[1] = "dead"
	m.refuses = true
	if err := publishAt(t, n, "/pod3"); err == nil {
		t.Error("a pod is given a dead mount")
	}
	m.wants(t, "without a new client", "/pod1: 1 dead, /pod2: 1 dead, /staged: 1 dead")
}

// What was staged and is not mounted any more is mounted again for a pod, and nothing else.
func TestPublish_mountsWhatIsStagedAndGone(t *testing.T) {
	m, n := newMachine(t)
	m.mounts = nil
	if err := publishAt(t, n, "/pod1"); err != nil {
		t.Fatal(err)
	}
	m.wants(t, "staged", "/pod1: 1 works, /staged: 1 works")
	_, err := n.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "data", TargetPath: "/pod1"})
	if err == nil {
		_, err = n.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: "data", StagingTargetPath: "/staged"})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := publishAt(t, n, "/pod1"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("what is not staged is mounted for a pod: %v", err)
	}
	m.wants(t, "unstaged", "")
}

// Clients die at any time, not only before the driver starts.
func TestKeepRepairing_repairsWhatDiesLater(t *testing.T) {
	m, n := newMachine(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		defer close(ended)
		n.KeepRepairing(ctx, quiet(), 10*time.Millisecond)
	}()
	for client, want := range []string{"/pod1: 1 works, /staged: 1 works", "/pod1: 2 works, /staged: 2 works"} {
		m.mu.Lock()
		m.clients[client] = "dead"
		m.mu.Unlock()
		for end := time.Now().Add(time.Minute); m.looks() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("client %d has died, and mounted is %s", client, m.looks())
			}
		}
	}
	cancel()
	<-ended
}
