//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"picluster/internal/lab"
	"picluster/internal/step"
)

// slowly is how many writes a second the card does while the power is to be cut in
// the middle of a step: a step of early does about ten of them.
const slowly = 12

// cutsIn is for whoever works on a step: the whole takes three quarters of an hour.
var cutsIn = regexp.MustCompile("")

func init() {
	flag.Func("cuts", "cut the power only in steps whose stage/name match this `pattern`", func(pattern string) (err error) {
		cutsIn, err = regexp.Compile(pattern)
		return err
	})
}

// lines of the console that a cut waits for.
const (
	applying  = `picluster: raspberrypi-node0: running: (\w+/[^(\r\n]+) \(step|picluster: this Pi is configured as|(picluster: This Pi is configured: it is)`
	earlyDone = "picluster: this Pi is configured as"
)

// The power goes once in every step, from the first to the last, each time after
// the boot that followed the cut before. In the end the Pi is the node that an
// undisturbed one is, file by file.
func TestFirstBoot_survivesAPowerCutInEveryStep(t *testing.T) {
	lab.ServeTime(t)
	w := writeCard(t, "trixie", cluster)
	undisturbed := filepath.Join(t.TempDir(), "undisturbed.img")
	run(t, "cp", "--sparse=always", w.card, undisturbed)
	quiet := lab.Boot(t, lab.VM{Image: undisturbed, NoClock: true, Online: true})
	quiet.AwaitSSH(w.login, bootTime)
	awaitSeal(t, quiet, w.login)
	quiet.PowerOff(3 * time.Minute)

	m := lab.Boot(t, lab.VM{Image: w.card, NoClock: true, Online: true})
	cuts := cutInEveryStep(t, m)
	t.Logf("%d power cuts", cuts)
	m.AwaitSSH(w.login, bootTime)
	awaitSeal(t, m, w.login)
	ask(t, m, w.login, "systemctl is-system-running --wait", "running")
	for question, answer := range sealedAnswers {
		ask(t, m, w.login, question, answer)
	}
	m.PowerOff(3 * time.Minute)
	leavesNoSecret(t, w)

	want, got := extract(t, undisturbed), extract(t, w.card)
	a, b := mount(t, want.root, "ro,loop"), mount(t, got.root, "ro,loop")
	if diff := listingDifferences(listFiles(t, a), listFiles(t, b)); len(diff) > 0 {
		t.Errorf("after the cuts it is another system:\n%s", strings.Join(diff, "\n"))
	}
	if diff := differences(t, copyFAT(t, want.boot), copyFAT(t, got.boot)); !slices.Equal(withoutVolatile(diff), nil) {
		t.Errorf("on the boot partition %q differ", diff)
	}
	applied, cutIn := journalOf(t, a).applied(), journalOf(t, b).cutIn()
	t.Logf("steps that an undisturbed run applies: %d; cut in: %q", len(applied), slices.Sorted(maps.Keys(cutIn)))
	for name := range applied {
		if !cutIn[name] && cutsIn.MatchString(name) {
			t.Errorf("no cut was in %s", name)
		}
	}
}

// cutInEveryStep cuts the power in each step that says it is being applied and was
// not cut before, and returns when the agent says that all is done.
func cutInEveryStep(t *testing.T, m *lab.Machine) (cuts int) {
	t.Helper()
	seen := map[string]bool{}
	early := true
	for {
		if early {
			m.Expect(`picluster: configuring this Pi`, bootTime)
			m.SlowDown(slowly)
		}
		for {
			match := m.Expect(applying, bootTime)
			if match[2] != "" {
				m.SlowDown(0)
				return cuts
			}
			if match[0] == earlyDone {
				early = false
				m.SlowDown(0)
				continue
			}
			// At once: slowing down first waits for what is being written.
			if name := match[1]; !seen[name] && cutsIn.MatchString(name) {
				seen[name] = true
				break
			}
			m.SlowDown(slowly)
		}
		m.PowerCut()
		cuts++
		m.PowerOn()
	}
}

// volatile is what differs between any two runs of the same system: clocks,
// leases, logs, caches, random seeds.
var volatile = regexp.MustCompile(`^(/var/log/|/var/lib/systemd/|/var/lib/NetworkManager/|/var/lib/dhcpcd/|/var/cache/|/var/tmp/|/var/lib/private/|` +
	`/var/lib/apt/|/var/backups/|/var/lib/chrony/|/var/lib/dbus/machine-id |/etc/machine-id |/var/lib/picluster/journal.jsonl |/etc/fake-hwclock.data |/root/\.|/home/alice/\.)`)

// listFiles is every file of a tree in a line: path, mode, owner, digest or target.
func listFiles(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line, err := fileLine(dir, path, d)
		if !volatile.MatchString(line) {
			lines = append(lines, line)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

func fileLine(dir, path string, d fs.DirEntry) (string, error) {
	info, err := d.Info()
	if err != nil {
		return "", err
	}
	content := ""
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		content, err = os.Readlink(path)
	case 0:
		content, err = digest(path)
	}
	owner := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%s %s %d:%d %s", strings.TrimPrefix(path, dir), info.Mode(), owner.Uid, owner.Gid, content), err
}

// digest is the SHA-256 of a file.
func digest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	_, err = io.Copy(h, file)
	return hex.EncodeToString(h.Sum(nil)), err
}

func listingDifferences(want, got []string) (diff []string) {
	for _, line := range want {
		if _, found := slices.BinarySearch(got, line); !found {
			diff = append(diff, "- "+line)
		}
	}
	for _, line := range got {
		if _, found := slices.BinarySearch(want, line); !found {
			diff = append(diff, "+ "+line)
		}
	}
	return diff
}

// withoutVolatile leaves out the files of the FAT that tell times, and what systemd's own
// check of it has found without a name.
func withoutVolatile(names []string) (kept []string) {
	for _, name := range names {
		if name != "STATUS.txt" && name != "firstboot.log" && name != "cmdline.txt" && !strings.HasPrefix(name, "FSCK") {
			kept = append(kept, name)
		}
	}
	return kept
}

// journal is the agent's account of all its runs.
type journal []step.Event

func journalOf(t *testing.T, root string) journal {
	t.Helper()
	file, err := os.Open(filepath.Join(root, "var/lib/picluster/journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	events, err := step.ReadJournal(file)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// applied are the steps that had something to do.
func (j journal) applied() map[string]bool {
	names := map[string]bool{}
	for _, e := range j {
		if e.Kind == step.Applying {
			names[e.Stage+"/"+e.Step] = true
		}
	}
	return names
}

// cutIn are the steps that were under way at the end of a boot.
func (j journal) cutIn() map[string]bool {
	names := map[string]bool{}
	for i, e := range j {
		lastOfBoot := i+1 < len(j) && j[i+1].Boot != e.Boot
		if lastOfBoot && (e.Kind == step.Applying || e.Kind == step.Waiting) {
			names[e.Stage+"/"+e.Step] = true
		}
	}
	return names
}
