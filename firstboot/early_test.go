package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/node"
	"picluster/internal/secret"
	"picluster/internal/step"
)

func plainPi() *node.Config {
	return &node.Config{
		Version: node.Version, Name: "node1", Role: node.Worker,
		Cluster: node.Cluster{Name: "home", ID: "6f9619ff"},
		Build:   node.Build{Time: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Release: "trixie", Arch: "arm64"},
		System: node.System{Timezone: "Etc/UTC", Locale: "C.UTF-8", Keymap: "us", Swap: "keep",
			User: node.User{Name: "pi", AuthorizedKeys: []string{"ssh-ed25519 AAAA me"}, Sudo: "nopasswd", PasswordHash: secret.NewWire("$6$planted")}},
		Network: node.Network{Interface: "auto", ClusterAddress: netip.MustParsePrefix("10.77.0.11/24")},
		SSH:     node.SSH{HostKey: secret.NewWire("planted-host-key\n"), HostPublicKey: "ssh-ed25519 AAAA"},
		Peers:   []node.Peer{{Name: "node1", Address: netip.MustParseAddr("10.77.0.11")}},
	}
}

const bootDir = "/boot/firmware"

// card is the least of a root file system with a card's FAT in it.
func card(t *testing.T, document string) early {
	t.Helper()
	root, commands := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"etc/os-release":                    "VERSION_CODENAME=trixie\n",
		"etc/passwd":                        "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000::/home/pi:/bin/bash\n",
		"etc/shadow":                        "pi:*:19000:0:99999:7:::\n",
		"etc/group":                         "root:x:0:\npi:x:1000:\n",
		"etc/fstab":                         "PARTUUID=1-02 / ext4 defaults,noatime 0 1\n",
		"etc/ssh/sshd_config":               "Include /etc/ssh/sshd_config.d/*.conf\n",
		"usr/share/zoneinfo/Etc/UTC":        "TZif",
		"usr/lib/locale/C.utf8/LC_CTYPE":    "",
		"proc/sys/kernel/random/boot_id":    "11111111-2222-3333-4444-555555555555\n",
		"boot/firmware/picluster/firstboot": "the agent",
		"boot/firmware/picluster/node.json": document,
		"boot/firmware/cmdline.txt":         `console=tty1 root=PARTUUID=1-02 init=/bin/sh -- -c "sh /boot/firmware/picluster/start.sh; exec /sbin/init"` + "\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shred := "#!/bin/sh\nexec /usr/bin/shred \"$1\" \"$2\" \"$3\" \"$ROOT$4\"\n"
	if err := hosttest.WriteProgram(filepath.Join(commands, "shred"), shred); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	return early{agent{host: host.Local{Root: root, Commands: commands, Log: log}, boot: bootDir, log: log, console: new(bytes.Buffer)}}
}

func marshal(t *testing.T, c *node.Config) string {
	t.Helper()
	data, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (e early) read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(e.host.Root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// status reads STATUS.txt as Notepad does.
func (e early) status(t *testing.T) string {
	t.Helper()
	text := e.read(t, bootDir+"/STATUS.txt")
	if strings.Count(text, "\n") != strings.Count(text, "\r\n") {
		t.Errorf("STATUS.txt has lines without CR: %q", text)
	}
	if strings.Contains(text, "planted") {
		t.Errorf("STATUS.txt shows a secret: %q", text)
	}
	return since.ReplaceAllString(strings.ReplaceAll(text, "\r\n", "\n"), "")
}

// since is a line with the time of day.
var since = regexp.MustCompile(`(?m)^Since: .*\n`)

func TestEarly_configuresAndSaysSo(t *testing.T) {
	e := card(t, marshal(t, plainPi()))
	if err := e.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "This Pi is becoming node1 of the cluster home.\n" +
		"Now: its name, user and keys are set up; the rest follows\n" +
		"Log in with: ssh pi@node1.local\nWatch it: http://node1.local:7390/\nWhat to do: wait. It goes on by itself.\n"
	if got := e.status(t); got != want {
		t.Errorf("STATUS.txt is %q, want %q", got, want)
	}
	if got := e.read(t, bootDir+"/cmdline.txt"); got != "console=tty1 root=PARTUUID=1-02\n" {
		t.Errorf("cmdline.txt is %q", got)
	}
	if _, err := os.Stat(filepath.Join(e.host.Root, bootDir, "picluster/node.json")); err == nil {
		t.Error("node.json is still on the card")
	}
	if got := e.read(t, steps.ConfigPath); got != marshal(t, plainPi()) {
		t.Errorf("node.json is installed as %s", got)
	}
	journal, err := os.Open(filepath.Join(e.host.Root, steps.JournalPath))
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	events, err := step.ReadJournal(journal)
	if err != nil || len(events) == 0 || events[len(events)-1].Kind == step.Failed || events[0].Boot != "11111111-2222-3333-4444-555555555555" {
		t.Errorf("the journal is %v, %v", events, err)
	}
}

// Erasing node.json on the card may be cut off at any byte.
func TestEarly_goesOnFromTheInstalledDocument(t *testing.T) {
	document := marshal(t, plainPi())
	for name, left := range map[string]string{
		"half overwritten": strings.Repeat("\x9c", 200) + document[200:],
		"zeroes":           strings.Repeat("\x00", len(document)),
		"empty":            "",
	} {
		t.Run(name, func(t *testing.T) {
			e := card(t, left)
			if err := e.host.Write(t.Context(), steps.ConfigPath, host.File{Mode: 0o600, Data: []byte(document)}); err != nil {
				t.Fatal(err)
			}
			if err := e.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := e.read(t, "etc/hostname"); got != "node1\n" {
				t.Errorf("the host name is %q", got)
			}
		})
	}
}

func TestEarly_saysWhatIsWrong(t *testing.T) {
	other := plainPi()
	other.Build.Release = "bookworm"
	var future map[string]any
	if err := json.Unmarshal([]byte(marshal(t, plainPi())), &future); err != nil {
		t.Fatal(err)
	}
	future["version"] = 2
	newer, err := json.Marshal(future)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		document string
		status   string
	}{
		"a torn document": {"{", "This Pi was NOT configured.\nWhy: read node.json: unexpected end of JSON input\n" +
			"What to do: write the card again with imagebuilder.\n"},
		"a document of another release": {string(newer), "This Pi was NOT configured.\nWhy: read node.json: it has version 2, this program reads version 1\n" +
			"What to do: write the card again with imagebuilder.\n"},
		"a step that fails": {marshal(t, other), "This Pi was configured in part only. It should be node1 of the cluster home.\n" +
			"What failed: install/release\nWhy: the card was prepared for bookworm, but its system is trixie\n" +
			"What to do: this card's two partitions are of different images: write the card\nagain with imagebuilder.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			e := card(t, tc.document)
			if err := e.run(t.Context()); err == nil {
				t.Error("no error")
			}
			if got := e.status(t); got != tc.status {
				t.Errorf("STATUS.txt is\n%s\nwant\n%s", got, tc.status)
			}
			if got := e.read(t, bootDir+"/cmdline.txt"); !strings.Contains(got, "start.sh") {
				t.Error("the hook is gone, so nothing will try again")
			}
		})
	}
}

// What is optional is left out, said, and no reason to stop.
func TestEarly_saysWhatWasLeftOut(t *testing.T) {
	c := plainPi()
	c.System.Timezone = "Mars/Olympus_Mons"
	e := card(t, marshal(t, c))
	if err := e.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := e.status(t); !strings.Contains(got, "\nLeft out: system/timezone: check: find timezone Mars/Olympus_Mons: this system\ndoes not know it\n") {
		t.Errorf("STATUS.txt is\n%s", got)
	}
}

// PID 1 waits for the agent, so a mistake in it must not end in a trace on the
// console and nothing else.
func TestEarly_survivesItsOwnMistakes(t *testing.T) {
	e := card(t, marshal(t, plainPi()))
	once := false
	e.host.Fault = func(_, path string) {
		if path == "/etc/hosts" && !once {
			once = true
			panic("index out of range")
		}
	}
	if err := e.run(t.Context()); err == nil || !strings.Contains(err.Error(), "crashed: index out of range") {
		t.Errorf("got error %v", err)
	}
	if got := e.status(t); !strings.Contains(got, "What failed: identity/hosts file\nWhy: crashed: index out of range\nWhat to do: switch the Pi off and on, it tries again.") {
		t.Errorf("STATUS.txt is\n%s", got)
	}
	e.host.Fault = nil
	if err := e.run(t.Context()); err != nil {
		t.Errorf("the next boot: %v", err)
	}
}

func TestEarly_wantsToKnowTheBootPartition(t *testing.T) {
	for _, args := range [][]string{{"early"}, {"early", "--boot", "boot"}, {"early", "--boot", "/boot/"}} {
		var stderr bytes.Buffer
		env := cli.Env{Stdin: strings.NewReader(""), Stdout: &stderr, Stderr: &stderr}
		if code := cli.Run(t.Context(), program(), env, args); code != cli.Usage {
			t.Errorf("%v: exit code %d\n%s", args, code, stderr.String())
		}
	}
}
