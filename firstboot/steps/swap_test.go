package steps_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"picluster/firstboot/steps"
	"picluster/internal/golden"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/node"
	"picluster/internal/step"
)

const titles = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

// swapMachine is a machine with swaps in use, on which systemctl and swapoff do
// what they do to files.
func swapMachine(t *testing.T, swaps ...string) *hosttest.Machine {
	m := hosttest.NewMachine(t)
	lines := titles
	for _, name := range swaps {
		lines += name + "                               file\t\t524284\t\t0\t\t-2\n"
	}
	m.Put("/proc/swaps", lines)
	m.Put("/sys/class/zram-control/hot_add", "")
	m.Put("/run/state", "inactive\n")
	m.Fake("systemctl", `case "$*" in
		"show --property=ActiveState,NeedDaemonReload picluster-swap.service")
			echo "NeedDaemonReload=no"; echo "ActiveState=$(cat $ROOT/run/state)" ;;
		daemon-reload) ;;
		"start picluster-swap.service"|"restart picluster-swap.service")
			echo active >$ROOT/run/state
			name=/var/swap
			if grep -q picluster-swap $ROOT/etc/systemd/system/picluster-swap.service; then
				name=/dev/zram3; echo $name >$ROOT/run/picluster-swap
			fi
			echo "$name partition 1 0 100" >>$ROOT/proc/swaps ;;
		"stop picluster-swap.service")
			echo inactive >$ROOT/run/state
			sed -i "\|^/dev/zram3 |d" $ROOT/proc/swaps ;;
		*) unexpected "$@" ;;
	esac`)
	m.Fake("swapoff", `sed -i "\|^$(echo "$1" | sed 's/ /.040/g') |d" $ROOT/proc/swaps`) // a blank is \040 there
	return m
}

const swapState = "systemctl show '--property=ActiveState,NeedDaemonReload' picluster-swap.service"

func TestSwap_inMemory(t *testing.T) {
	m := swapMachine(t)
	if _, err := events(t, m, swap(t, "zram")); err != nil {
		t.Fatal(err)
	}
	m.WantCalls("systemctl daemon-reload", "systemctl start picluster-swap.service", swapState)
	if got, err := events(t, m, swap(t, "zram")); err != nil || len(got) > 0 {
		t.Errorf("the second run: %v %q", err, got)
	}
	m.WantCalls(swapState)

	// Somebody else's, and ours gone.
	m.Put("/proc/swaps", titles+"/var/old\\040swap file 1 0 -2\n")
	got, err := events(t, m, swap(t, "zram"))
	if want := []string{"applying active swap: /var/old swap is in use as swap", "done active swap"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nwant %q", got, err, want)
	}
	m.WantCalls(swapState, "swapoff '/var/old swap'", "systemctl restart picluster-swap.service")
}

// A new document may ask for another kind. The old service ends by its own command.
func TestSwap_changes(t *testing.T) {
	m := swapMachine(t)
	m.Real("stat")
	if _, err := events(t, m, swap(t, "zram")); err != nil {
		t.Fatal(err)
	}
	m.WantCalls("systemctl daemon-reload", "systemctl start picluster-swap.service", swapState)
	m.Put("/var/swap", "")
	if err := os.Chmod(filepath.Join(m.Root, "var/swap"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.Fake("blkid", "echo swap")
	if _, err := events(t, m, swap(t, "file")); err != nil {
		t.Fatal(err)
	}
	m.WantCalls("blkid -p -s TYPE -o value /var/swap", "systemctl stop picluster-swap.service",
		"systemctl daemon-reload", "systemctl start picluster-swap.service", swapState)
	if got := m.Text("/proc/swaps"); strings.Count(got, "\n") != 2 || !strings.Contains(got, "\n/var/swap ") {
		t.Errorf("in use is\n%s", got)
	}
	if _, err := events(t, m, swap(t, "off")); err != nil {
		t.Fatal(err)
	}
	m.WantCalls("swapoff /var/swap")
	if got := m.Text("/proc/swaps"); got != titles {
		t.Errorf("in use is\n%s", got)
	}
	if names, err := m.ReadDir(t.Context(), "/etc/systemd/system/multi-user.target.wants"); err != nil || len(names) > 0 {
		t.Errorf("enabled is %q (%v)", names, err)
	}
}

func TestSwap_keepTouchesNothing(t *testing.T) {
	m := swapMachine(t, "/var/swap")
	before := listing(t, m.Root)
	if got, err := events(t, m, swap(t, "keep")); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	if diff := differences(listing(t, m.Root), before); len(diff) > 0 {
		t.Errorf("changed %q", diff)
	}
}

func TestSwap_saysThatTheKernelHasNoZram(t *testing.T) {
	m := swapMachine(t)
	for _, name := range []string{"/sys/class/zram-control/hot_add", "/sys/class/zram-control"} {
		if err := m.Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	m.Fake("modprobe", "echo \"modprobe: FATAL: Module $1 not found in directory /lib/modules/6.12\" >&2; exit 1")
	_, err := events(t, m, swap(t, "zram"))
	want := "swap/kernel module zram: load kernel module zram: run modprobe zram: exit status 1: modprobe: FATAL: Module zram not found in directory /lib/modules/6.12"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v\nwant %s", err, want)
	}
}

// The vendor's swap is masked before systemd starts, unless it is wanted.
func TestSwap_masksTheVendors(t *testing.T) {
	for kind, want := range map[string]bool{"zram": true, "file": true, "off": true, "keep": false} {
		c := worker(t, "trixie")
		c.System.Swap = kind
		if got := strings.Contains(step.Describe(early(t, c)), "dphys-swapfile"); got != want {
			t.Errorf("%s: masked %v, want %v", kind, got, want)
		}
	}
}

// The script makes real swap of a real device. It needs root and zram.
func TestSwapScript_makesSwapInMemory(t *testing.T) {
	if _, err := os.Stat("/sys/class/zram-control"); err != nil {
		output(t, "modprobe", "zram")
	}
	if used, err := os.ReadFile("/run/picluster-swap"); err == nil {
		t.Fatalf("this machine has such swap already: %s", used)
	}
	clusterBefore := readFile(t, "/proc/sys/vm", "page-cluster")
	before := readFile(t, "/proc", "swaps")
	t.Cleanup(func() {
		output(t, "sh", "swap.sh", "stop")
		if after := readFile(t, "/proc", "swaps"); after != before {
			t.Errorf("after stop there is\n%s", after)
		}
		if err := os.WriteFile("/proc/sys/vm/page-cluster", []byte(clusterBefore), 0); err != nil {
			t.Error(err)
		}
	})
	output(t, "sh", "swap.sh", "start")
	output(t, "sh", "swap.sh", "start") // as systemd does after a crash of ours
	swaps := strings.Split(strings.TrimSpace(strings.TrimPrefix(readFile(t, "/proc", "swaps"), before)), "\n")
	f := strings.Fields(swaps[0])
	if len(swaps) != 1 || len(f) != 5 || !strings.HasPrefix(f[0], "/dev/zram") || f[4] != "100" {
		t.Fatalf("new swaps are %q", swaps)
	}
	// Zram's first page is mkswap's.
	memory := regexp.MustCompile(`MemTotal: *(\d+) kB`).FindStringSubmatch(readFile(t, "/proc", "meminfo"))
	want := strings.TrimSpace(output(t, "sh", "-c", "kb="+memory[1]+"; [ $kb -lt 2097152 ] || kb=2097152; echo $((kb / 4 * 4 - 4))"))
	if f[2] != want {
		t.Errorf("it has %s KiB, want %s", f[2], want)
	}
	if got := readFile(t, "/proc/sys/vm", "page-cluster"); got != "0\n" {
		t.Errorf("page-cluster is %s", got)
	}
}

// What a start has left that did not come to its end is used again.
func TestSwapScript_cleansUpAfterItself(t *testing.T) {
	output(t, "sh", "swap.sh", "start")
	name := strings.TrimSpace(readFile(t, "/run", "picluster-swap"))
	output(t, "swapoff", name)
	output(t, "sh", "swap.sh", "start")
	again := strings.TrimSpace(readFile(t, "/run", "picluster-swap"))
	output(t, "sh", "swap.sh", "stop")
	if again != name {
		t.Errorf("the second start took %s, the first %s", again, name)
	}
	if got := strings.TrimSpace(readFile(t, "/sys/block", filepath.Base(name)+"/disksize")); got != "0" {
		t.Errorf("%s still has %s bytes", name, got)
	}
}

func swapFileStages() []steps.Stage {
	return []steps.Stage{{Name: "swap", Steps: []steps.Step{steps.SwapFile{Path: "/var/swap"}}}}
}

func TestSwapFile_isUsable(t *testing.T) {
	n := newNode(t, 1000)
	wantRun(t, n, swapFileStages(), "applying swap file: /var/swap is missing", "done swap file")
	n.judgeSwap(t)
	if got, err := os.Stat(n.path("/var/swap")); err != nil || got.Size() > 100<<20 || got.Size() < 64<<20 || got.Size()%(1<<20) != 0 {
		t.Errorf("it has %d bytes (%v), want at most a tenth of what is free", got.Size(), err)
	}
	if err := os.Chmod(n.path("/var/swap"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantRun(t, n, swapFileStages(), "applying swap file: /var/swap can be used by others", "done swap file")
}

// judgeSwap lets the kernel use the file.
func (n pinode) judgeSwap(t *testing.T) {
	t.Helper()
	output(t, "swapon", n.path("/var/swap"))
	output(t, "swapoff", n.path("/var/swap"))
	if got := strings.TrimSpace(output(t, "stat", "--format=%a %u %g", n.path("/var/swap"))); got != "600 0 0" {
		t.Errorf("mode and owner are %s", got)
	}
}

func TestSwapFile_survivesAPowerCutAnywhere(t *testing.T) {
	cuts := eachCut(t, 1000, swapFileStages(), func(t *testing.T, n pinode) {
		if _, err := events(t, n, swapFileStages()); err != nil {
			t.Fatal(err)
		}
		n.judgeSwap(t)
		if names, err := n.ReadDir(t.Context(), "/var"); err != nil || !slices.Equal(names, []string{"lost+found", "swap"}) {
			t.Errorf("/var has %q (%v)", names, err)
		}
	})
	if cuts < 10 {
		t.Errorf("only %d cuts", cuts)
	}
}

func TestSwapFile_refuses(t *testing.T) {
	for name, tc := range map[string]struct {
		size    int
		prepare func(n pinode)
		want    string
	}{
		"a small disk": {256, func(n pinode) {}, `^swap/swap file: make swap file: a tenth of the 2\d\d\.\d MiB that are free in /var is too little$`},
		"a link":       {64, func(n pinode) { n.link("/var/swap", "/etc/shadow") }, `^swap/swap file: check: make swap file: /var/swap is there and is no regular file$`},
		"another file": {64, func(n pinode) { n.put("/var/swap", 0o600, "no swap") }, `^swap/swap file: check: make swap file: /var/swap is there and is no swap file$`},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tc.size)
			tc.prepare(n)
			before := listing(t, n.path("/var"))
			if _, err := events(t, n, swapFileStages()); err == nil || !regexp.MustCompile(tc.want).MatchString(err.Error()) {
				t.Errorf("got error %v\nwant %s", err, tc.want)
			}
			if diff := differences(listing(t, n.path("/var")), before); len(diff) > 0 {
				t.Errorf("changed all the same: %q", diff)
			}
		})
	}
}

// What reviewers read: each kind of swap and of storage.
func TestRun_diskSwapAndStorageAreWhatReviewersRead(t *testing.T) {
	var b strings.Builder
	c := worker(t, "trixie")
	b.WriteString(step.Describe(stage(t, c, "disk")))
	for _, kind := range []string{"zram", "file", "off", "keep"} {
		b.WriteString("\n" + kind + ": " + step.Describe(swap(t, kind)))
	}
	for _, s := range []node.Storage{*c.Storage, {Disk: "/dev/sda", Wipe: true}} {
		b.WriteString("\n" + step.Describe(storage(t, s)))
	}
	golden.Equal(t, "testdata/run-storage.golden", []byte(b.String()))
}

// systemd itself reads the units. It wants to find the programs.
func TestServices_areReadAsMeant(t *testing.T) {
	all := append(append(swap(t, "zram"), swap(t, "file")...), storage(t, node.Storage{LoopPath: "/var/a@b+c.img", LoopSize: 1})...)
	found := 0
	for _, st := range all {
		for _, s := range st.Steps {
			unit, ok := s.(steps.Service)
			if !ok {
				continue
			}
			found++
			dir := t.TempDir()
			moved := strings.ReplaceAll(unit.Content, "/usr/local/sbin/picluster-", dir+"/picluster-")
			for _, name := range []string{"picluster-swap", "picluster-storage"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, unit.Unit), []byte(moved), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(dir, unit.Unit)).CombinedOutput()
			if err != nil || strings.Contains(string(out), unit.Unit) {
				t.Errorf("systemd-analyze verify %s: %v\n%s", unit.Unit, err, out)
			}
		}
	}
	if found != 3 {
		t.Errorf("there are %d services, want 3", found)
	}
}

// An unchanged running service is left alone, whatever it is for; a changed one of
// storage too, until the next boot.
func TestServices_doNotTakeAwayARunningDevice(t *testing.T) {
	m := hosttest.NewMachine(t)
	m.Fake("systemctl", `[ "$1" != show ] || { echo ActiveState=active; echo NeedDaemonReload=no; }`)
	m.Put("/etc/systemd/system/picluster-storage.service", "an older one\n")
	s := steps.Service{What: "storage", Unit: "picluster-storage.service", Content: "[Unit]\n"}
	if err := s.Apply(t.Context(), host.Host(m)); err != nil {
		t.Fatal(err)
	}
	m.WantCalls("systemctl daemon-reload", "systemctl start picluster-storage.service")
}
