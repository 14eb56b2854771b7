package steps_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"picluster/firstboot/steps"
	"picluster/internal/host"
	"picluster/internal/node"
)

func TestJoin_makesANode(t *testing.T) {
	p := newCluster(t, 0).newPi("pi-node1")
	got, err := events(t, p.Local, p.stages("join"))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got,
		"applying kubeadm's files: /etc/picluster/kubeadm/patches/kubeletconfiguration+merge.json is missing", "done kubeadm's files",
		"applying membership: pi-node1 has not joined the cluster", "done membership",
		"applying sync: /etc/systemd/system/picluster-sync.service is missing", "done sync")
	p.judge()
	got, err = events(t, p.Local, p.stages("join"))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got)
}

// visible are the moments from which on another run sees something else. Before a
// file's name is there, nobody does: package hosttest cuts in between.
func visible(fault func(op, path string)) func(op, path string) {
	return func(op, path string) {
		looks := op == "run" && path == "kubectl" || op == "run" && path == "systemctl"
		if (op == "run" || op == "rename" || op == "remove") && !looks {
			fault(op, path)
		}
	}
}

// The power goes before each thing that leaves a trace; what is in memory is gone
// then. The next boot makes a node of it, and no token is ever on the disk.
func TestJoin_survivesAPowerCutAnywhere(t *testing.T) {
	cuts := 0
	for n := 1; ; n++ {
		c := newCluster(t, 0)
		p := c.newPi("pi-node1")
		reached := cutRun(t, func(fault func(op, path string)) host.Host {
			h := p.Local
			h.Fault = visible(fault)
			return h
		}, p.stages("join"), n)
		c.locked(func() { p.noTokens("run") })
		if !reached {
			break
		}
		cuts++
		if err := os.RemoveAll(filepath.Join(p.Root, "run")); err != nil {
			t.Fatal(err)
		}
		if _, err := events(t, p.Local, p.stages("join")); err != nil {
			t.Fatalf("after cut %d: %v", n, err)
		}
		p.judge()
	}
	if cuts < 12 {
		t.Errorf("there were %d places to cut", cuts)
	}
}

// kubeadm itself is cut off in the middle: what it has left is taken back first.
func TestJoin_clearsWhatAHalfJoinHasLeft(t *testing.T) {
	p := newCluster(t, 0).newPi("pi-node1")
	p.Put("/etc/kubernetes/pki/ca.crt", "")
	p.Put("/var/lib/kubelet/config.yaml", "")
	if _, err := events(t, p.Local, p.stages("join")); err != nil {
		t.Fatal(err)
	}
	p.judge()
}

func TestJoin_againWhenTheCertificateHasRunOut(t *testing.T) {
	p := newCluster(t, 0).newPi("pi-node1")
	if _, err := events(t, p.Local, p.stages("join")); err != nil {
		t.Fatal(err)
	}
	p.Put("/var/lib/kubelet/pki/kubelet-client-current.pem", string(certificate(t, time.Now().Add(-time.Minute))))
	p.Put("/var/lib/kubelet/pods/volume", "data of a pod")
	got, err := events(t, p.Local, p.stages("join"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(got, "applying membership: pi-node1 was away for too long, and its certificate has run out") || p.Text("/var/lib/kubelet/pods/volume") != "data of a pod" {
		t.Errorf("got events %q", got)
	}
	p.judge()
}

// node0 knows the node, and its card has lost what the kubelet had.
func TestJoin_againWhenTheKubeletsFilesAreGone(t *testing.T) {
	p := newCluster(t, 0).newPi("pi-node1")
	if _, err := events(t, p.Local, p.stages("join")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(p.Root, "etc/kubernetes")); err != nil {
		t.Fatal(err)
	}
	if _, err := events(t, p.Local, p.stages("join")); err != nil {
		t.Fatal(err)
	}
	p.judge()
}

func TestJoin_saysWhatKubeadmSays(t *testing.T) {
	p := newCluster(t, 0).newPi("pi-node1")
	p.Fake("kubeadm", `printf 'W1127 warning\nerror execution phase preflight: [preflight] Some fatal errors occurred:\n\t[ERROR CRI]: container runtime is not running\n\t[ERROR NumCPU]: one is too few\n[preflight] If you know what you are doing\nTo see the stack trace of this error execute with --v=5 or higher\n' >&2; exit 1`)
	_, err := events(t, p.Local, p.stages("join"))
	if want := "run kubeadm join: CRI: container runtime is not running; NumCPU: one is too few"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v\nwant … %s", err, want)
	}
	p.noTokens("")
}

func TestEnroll_makesANodeOfASpare(t *testing.T) {
	c := newCluster(t, 1)
	p := c.newPi("spare-1")
	data, err := p.config.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p.Put(steps.ConfigPath, string(data))
	p.Put("/sys/class/net/eth0/carrier", "1\n")
	p.Put("/sys/class/net/eth0/address", "b8:27:eb:00:00:01\n")
	// The first address that it tries is in use.
	p.Fake("busybox", `if [ ! -e "$ROOT/tried" ]; then touch "$ROOT/tried"; echo "Unicast reply from 10.77.0.250 [b8:27:eb:00:00:02] 1ms"; exit 1; fi`)
	p.Fake("ip", `case "$*" in
		"-4 -o address show dev eth0") echo "2: eth0    inet 192.168.1.7/24 brd 192.168.1.255 scope global eth0" ;;
		"address replace 10.77.0."*"/24 dev eth0") echo "$3" >"$ROOT/borrowed" ;;
		"address del 10.77.0."*"/24 dev eth0") test "$3" = "$(cat "$ROOT/borrowed")"; rm "$ROOT/borrowed" ;;
		*) unexpected "$@" ;;
	esac`)
	got, err := events(t, p.Local, p.stages("enroll", "join"))
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, got, "applying name: spare-1 has no node's name yet", "done name")
	if p.there("/borrowed") {
		t.Error("the borrowed address is still there")
	}
	if p.config, err = node.Parse([]byte(p.Text(steps.ConfigPath))); err != nil {
		t.Fatal(err)
	}
	if n := p.config; n.Name != "pi-node2" || n.Role != node.Worker || n.Network.ClusterAddress.String() != "10.77.0.12/24" || n.Network.ClusterSubnet.IsValid() || steps.Nameless(n) {
		t.Errorf("node.json is of %s, %s, %s", n.Name, n.Role, n.Network.ClusterAddress)
	}
	if info, err := p.Lstat(steps.ConfigPath); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("node.json: %v, %v", info, err)
	}
	// It goes on as the node that it is now.
	p.Fake("kubectl", `printf uid-1`)
	if _, err := events(t, p.Local, p.stages("enroll", "join")); err != nil {
		t.Fatal(err)
	}
	p.judge()
}

// Lists of a spare end where it gets its name: nothing is done in a name that it is
// going to lose, and the node is not sealed.
func TestRun_ofASpareEndsAtItsName(t *testing.T) {
	p := newCluster(t, 1).newPi("spare-1")
	past := false
	for _, s := range steps.Run(p.config, p.env()) {
		if past && len(s.Steps) > 0 {
			t.Errorf("stage %s has steps: %s", s.Name, fmt.Sprint(s.Steps))
		}
		past = past || s.Name == steps.EnrollStage
	}
}
