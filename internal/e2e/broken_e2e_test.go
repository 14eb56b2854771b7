//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab"
)

// brokenCard is a card, or a network, that something is wrong with.
type brokenCard struct {
	name   string
	spoil  func(t *testing.T, fat string) // what mtools take for the FAT partition: "card.img@@offset"
	vm     lab.VM
	more   string // of cluster.yaml
	status string // STATUS.txt matches this, over several lines
	login  bool   // over ssh, and then STATUS.txt is read there
	after  func(t *testing.T, m *lab.Machine, login lab.Login)
	// stuck: nobody there listens to the power button.
	stuck bool
}

var brokenCards = []brokenCard{
	{name: "node.json is missing", vm: lab.VM{Online: true},
		spoil:  func(t *testing.T, fat string) { run(t, "mdel", "-i", fat, "::/picluster/node.json") },
		status: `NOT configured(?s:.*)node\.json: no such file(?s:.*)write the card again`},
	{name: "node.json is cut off", vm: lab.VM{Online: true},
		spoil: func(t *testing.T, fat string) {
			editOnFAT(t, fat, "picluster/node.json", func(data []byte) []byte { return data[:len(data)/2] })
		},
		status: `NOT configured(?s:.*)unexpected end of JSON input(?s:.*)write the card again`},
	{name: "node.json is of another version", vm: lab.VM{Online: true},
		spoil: func(t *testing.T, fat string) {
			editOnFAT(t, fat, "picluster/node.json", func(data []byte) []byte {
				return []byte(strings.Replace(string(data), `"version": 1`, `"version": 2`, 1))
			})
		},
		status: `NOT configured(?s:.*)it has version 2, this program reads version 1(?s:.*)write the card again`},
	{name: "the agent is another processor's", vm: lab.VM{Online: true},
		spoil: func(t *testing.T, fat string) {
			bin, err := filepath.Abs("../../bin/imagebuilder")
			if err != nil {
				t.Fatal(err)
			}
			run(t, "mcopy", "-o", "-i", fat, bin, "::/picluster/firstboot")
		},
		status: `NOT configured(?s:.*)exit code 12[67]\. It does not run on this Pi \(aarch64\)(?s:.*)write the card again`},
	{name: "the FAT is full", vm: lab.VM{Online: true}, login: true,
		spoil:  fillFAT,
		status: `^This Pi is configured: it is raspberrypi-node0`,
		after:  func(t *testing.T, m *lab.Machine, login lab.Login) { awaitSeal(t, m, login) }},
	{name: "a power cut has damaged the FAT", vm: lab.VM{Online: true}, login: true,
		spoil:  damageFAT,
		status: `^This Pi is configured: it is raspberrypi-node0`,
		after:  func(t *testing.T, m *lab.Machine, login lab.Login) { awaitSeal(t, m, login) }},
	{name: "the root file system cannot be written", vm: lab.VM{Online: true}, stuck: true,
		spoil:  func(t *testing.T, fat string) { forbidWrites(t, fat) },
		status: `NOT configured(?s:.*)make / writable(?s:.*)What to do`},
	{name: "no time and no packages", login: true, more: "  packages: [hello]\n",
		status: `(?s)packages.*What to do`,
		after: func(t *testing.T, m *lab.Machine, login lab.Login) {
			ask(t, m, login, "systemctl --failed --no-legend", "")
			ask(t, m, login, "systemctl is-active picluster-storage", "active")
		}},
	{name: "no cable", vm: lab.VM{Online: true, Unplugged: true},
		status: `(?s)cable.*What to do`},
}

// Whatever is wrong, the Pi boots to a login, and whoever pulls its card reads
// what is wrong and what to do.
func TestFirstBoot_saysWhatIsWrong(t *testing.T) {
	for _, b := range brokenCards {
		t.Run(b.name, func(t *testing.T) {
			lab.ServeTime(t)
			w := writeCard(t, "trixie", strings.Replace(cluster, "  keymap: ch\n", "  keymap: ch\n"+b.more, 1))
			if b.spoil != nil {
				b.spoil(t, fatOf(t, w.card))
			}
			vm := b.vm
			vm.Image, vm.NoClock = w.card, true
			m := lab.Boot(t, vm)
			m.Expect(`raspberrypi(-node0)? login:`, bootTime)
			if b.login {
				m.AwaitSSH(w.login, bootTime)
				awaitStatus(t, m, w.login, b.status)
			}
			if b.after != nil {
				b.after(t, m, w.login)
			}
			if b.vm.Unplugged {
				m.Expect(`picluster: [^\n]*cable`, bootTime)
			}
			if b.stuck {
				m.PowerCut()
			} else {
				m.PowerOff(3 * time.Minute)
			}
			status := strings.ReplaceAll(run(t, "mtype", "-i", fatOf(t, w.card), "::/STATUS.txt"), "\r\n", "\n")
			t.Logf("STATUS.txt:\n%s", status)
			if !regexp.MustCompile(b.status).MatchString(status) {
				t.Errorf("STATUS.txt does not say %s", b.status)
			}
		})
	}
}

// What is missing at first may come: the cable is put in, and the Pi goes on.
func TestFirstBoot_goesOnOnceTheCableIsIn(t *testing.T) {
	lab.ServeTime(t)
	w := writeCard(t, "trixie", cluster)
	m := lab.Boot(t, lab.VM{Image: w.card, NoClock: true, Online: true, Unplugged: true})
	m.Expect(`picluster: [^\n]*cable`, bootTime)
	m.PlugIn()
	m.AwaitSSH(w.login, bootTime)
	awaitSeal(t, m, w.login)
}

func awaitStatus(t *testing.T, m *lab.Machine, login lab.Login, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(bootTime); ; time.Sleep(5 * time.Second) {
		status := strings.ReplaceAll(tell(t, m, login, "cat /boot/firmware/STATUS.txt"), "\r\n", "\n")
		if re.MatchString(status) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("STATUS.txt does not come to say %s:\n%s", pattern, status)
		}
	}
}

// damageFAT leaves what a power cut while STATUS.txt was being replaced can leave: its
// name with clusters that are free again, and the mark of a partition that is in use.
func damageFAT(t *testing.T, fat string) {
	t.Helper()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("status "), 10_000), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "mcopy", "-o", "-i", fat, text, "::/STATUS.txt")
	clusters := regexp.MustCompile(`<(\d+)-(\d+)>`).FindStringSubmatch(run(t, "mshowfat", "-i", fat, "::/STATUS.txt"))
	if clusters == nil {
		t.Fatal("mshowfat does not say where STATUS.txt is")
	}
	var first, last int64
	fmt.Sscan(clusters[1], &first)
	fmt.Sscan(clusters[2], &last)
	card, at, _ := strings.Cut(fat, "@@")
	var start int64
	fmt.Sscan(at, &start)
	f, err := os.OpenFile(card, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	boot := make([]byte, 512) // "FAT: General Overview of On-Disk Format" 1.03, FAT32
	if _, err := f.ReadAt(boot, start); err != nil {
		t.Fatal(err)
	}
	sector := int64(binary.LittleEndian.Uint16(boot[11:]))
	reserved, copies, length := int64(binary.LittleEndian.Uint16(boot[14:])), int64(boot[16]), int64(binary.LittleEndian.Uint32(boot[36:]))
	for i := range copies {
		table := start + (reserved+i*length)*sector
		if _, err := f.WriteAt(make([]byte, 4*(last-first+1)), table+4*first); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.WriteAt([]byte{boot[65] | 1}, start+65); err != nil { // Linux: FAT_STATE_DIRTY
		t.Fatal(err)
	}
}

// fatOf is the card's FAT partition for mtools.
func fatOf(t *testing.T, card string) string {
	t.Helper()
	for line := range strings.Lines(run(t, "sfdisk", "--dump", card)) {
		if strings.Contains(line, "start=") {
			return fmt.Sprintf("%s@@%d", card, startOf(t, line))
		}
	}
	t.Fatal("the card has no partition")
	return ""
}

func editOnFAT(t *testing.T, fat, name string, edit func([]byte) []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	run(t, "mcopy", "-i", fat, "::/"+name, file)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, edit(data), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "mcopy", "-o", "-i", fat, file, "::/"+name)
}

// fillFAT takes every free cluster.
func fillFAT(t *testing.T, fat string) {
	t.Helper()
	m := regexp.MustCompile(`([\d ]+) bytes free`).FindStringSubmatch(run(t, "mdir", "-i", fat, "::/"))
	if m == nil {
		t.Fatal("mdir says nothing of free bytes")
	}
	filler := filepath.Join(t.TempDir(), "filler")
	run(t, "truncate", "-s", strings.ReplaceAll(m[1], " ", ""), filler)
	run(t, "mcopy", "-i", fat, filler, "::/holiday.mp4")
	if left := run(t, "mdir", "-i", fat, "::/"); !regexp.MustCompile(`\s0 bytes free`).MatchString(left) {
		t.Fatalf("the FAT is not full:\n%s", left)
	}
}

// forbidWrites gives the root file system a feature of a later kernel, which this
// one can read past and must not write.
func forbidWrites(t *testing.T, fat string) {
	t.Helper()
	card, _, _ := strings.Cut(fat, "@@")
	var root int64
	for line := range strings.Lines(run(t, "sfdisk", "--dump", card)) {
		if strings.Contains(line, "start=") {
			root = startOf(t, line)
		}
	}
	run(t, "debugfs", "-w", "-R", "feature FEATURE_R30", fmt.Sprintf("%s?offset=%d", card, root))
}
