//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab"
	"picluster/internal/node"
	"picluster/internal/secret"
)

// bootTime is generous: the emulator shares the machine with other tests.
const bootTime = 10 * time.Minute

// The emulated Pis have no internet and no payload: what makes a node of a Pi is
// tested on nodes without emulation (TestCluster_formsByItself), and left out here.
const (
	runStages  = "preconditions,disk,name,network,time,firmware,swap,locale,storage,packages,seal"
	onlyStages = " --stage install,identity,profiles,system,vendor,boot," + runStages
)

const cluster = `apiVersion: picluster/v1
kind: Cluster
name: home
nodes: 3
system:
  timezone: Europe/Zurich
  locale: en_US.UTF-8
  keymap: ch
  user:
    name: alice
    authorizedKeys: [secrets/operator/id_ed25519.pub]
  files:
    - path: /etc/systemd/system/picluster-firstboot.service.d/lab.conf
      content: |
        [Service]
        ExecStart=
        ExecStart=/usr/local/sbin/firstboot run --stage ` + runStages + `
network:
  country: CH
  wifi: [{ssid: "no such network", passphraseEnv: WIFI}]
  ntp: [` + lab.GatewayAddr + `]
storage:
  device: {loop: {path: /var/gluster.img, size: 1Gi}}
`

// cardSize is more than the image's 1.3 GB, so that there is something to grow.
const cardSize = 6 << 30

// answers are questions to a node that has just started for the first time.
var answers = map[string]string{
	"systemctl --failed --no-legend":       "",
	"hostname":                             "raspberrypi-node0",
	"sudo hostnamectl --static":            "raspberrypi-node0",
	"id -un 1000":                          "alice",
	"pwd":                                  "/home/alice",
	"sudo -n id -u":                        "0",
	"sudo -n -l | grep -c 'NOPASSWD: ALL'": "1",
	"sudo passwd --status alice | cut -d' ' -f2":                          "L",
	"sudo pwck -qr && sudo grpck -r && echo ok":                           "ok",
	"sudo visudo -cqf /etc/sudoers.d/010_picluster && echo ok":            "ok",
	"ip -4 -o address show eth0 | grep -cw 10.77.0.10/24":                 "1",
	"ip -4 -o address show eth0 | grep -cw 10.0.2.15/24":                  "1",
	"nmcli -t -f NAME connection show --active | grep -v ^lo$":            "picluster-eth0",
	"nmcli -t -f WIFI radio":                                              "enabled",
	"sudo nmcli -g 802-11-wireless.ssid connection show picluster-wifi-1": "no such network",
	"getent ahostsv4 raspberrypi-node1 | head -1 | cut -d' ' -f1":         "10.77.0.11",
	"date +%Z": "CET",
	"sudo sysctl -n net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables | xargs":              "1 1",
	"systemctl is-enabled userconfig":                                                            "masked",
	"systemctl is-enabled ssh":                                                                   "enabled",
	"sudo sshd -T | grep -E '^(passwordauthentication|permitrootlogin|hostkey) ' | sort | xargs": "hostkey /etc/ssh/ssh_host_ed25519_key passwordauthentication no permitrootlogin no",
	"findmnt -no OPTIONS / | grep -cw rw,noatime":                                                "1",
	"sudo stat -c '%a %U' /etc/picluster/node.json":                                              "600 root",
	"cat /etc/picluster/node.json 2>/dev/null || echo private":                                   "private",
	"ls /boot/firmware/picluster":                                                                "firstboot\nstart.sh",
	"grep -c init= /proc/cmdline":                                                                "1",
	"grep -c init= /boot/firmware/cmdline.txt || true":                                           "0",
	"cmp /usr/local/sbin/firstboot /boot/firmware/picluster/firstboot && echo same":              "same",
}

// sealedAnswers are those of a node that is done, also after any power cut.
var sealedAnswers = map[string]string{
	"sh -c '. /etc/default/locale; LC_ALL=$LANG locale charmap'":                                                                "UTF-8",
	"locale -a | grep -c en_US.utf8":                                                                                            "1",
	"systemctl --failed --no-legend":                                                                                            "",
	"systemctl is-enabled picluster-firstboot picluster-swap picluster-storage | xargs":                                         "enabled enabled enabled",
	"timedatectl show -p NTPSynchronized --value":                                                                               "yes",
	"lsblk -bno SIZE /dev/vda2 | awk '{ print ($1 > 5.3e9) }'":                                                                  "1",
	"findmnt -bno SIZE / | awk '{ print ($1 > 5e9) }'":                                                                          "1",
	"sudo swapon --noheadings --show=NAME,PRIO | xargs":                                                                         "/dev/zram0 100",
	"sudo losetup -j /var/gluster.img | wc -l":                                                                                  "1",
	"test $(readlink -f /dev/picluster/storage) = $(sudo losetup -nO NAME -j /var/gluster.img) && echo same":                    "same",
	"sudo stat -c '%s %a' /var/gluster.img":                                                                                     "1073741824 600",
	"test $(sudo stat -c %b /var/gluster.img) -ge 2097152 && echo allocated":                                                    "allocated",
	"for m in overlay br_netfilter dm_thin_pool dm_mirror dm_snapshot fuse loop; do test -d /sys/module/$m || echo no $m; done": "",
	"grep -cw memory /sys/fs/cgroup/cgroup.controllers":                                                                         "1",
	"ls /boot/firmware | grep -xE 'STATUS.txt|firstboot.log|NODE.txt' | xargs":                                                  "firstboot.log NODE.txt STATUS.txt",
	"sudo firstboot plan" + onlyStages:                                                                                          "Nothing to do: this Pi is as node.json wants it.",
	"sudo firstboot status | head -1":                                                                                           "This Pi is configured: it is raspberrypi-node0 of the cluster home.",
}

// written is a card that imagebuilder has written for a cluster's first node.
type written struct {
	card    string
	secrets []string // that it has before its first boot
	login   lab.Login
}

// write makes the cluster's secrets and a card. The agent has not run yet, so all
// of them are on it.
func writeCard(t *testing.T, release, document string) written {
	t.Helper()
	d := newDesk(t)
	t.Setenv("WIFI", "planted-passphrase")
	if err := os.WriteFile(filepath.Join(d.dir, "cluster.yaml"), []byte(document), 0o644); err != nil {
		t.Fatal(err)
	}
	// The desk's own cluster has another name.
	if err := os.RemoveAll(filepath.Join(d.dir, "secrets")); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := d.run(t, "", "init"); code != 0 {
		t.Fatalf("init: %s", stderr)
	}
	card := filepath.Join(d.dir, "card.img")
	if stdout, stderr, code := d.run(t, "", "write", card, "--yes", "--image", lab.Bootable(t, release)); code != 0 {
		t.Fatalf("write: exit code %d\n%s%s", code, stdout, stderr)
	}
	secrets := secretsOf(t, card)
	if found := secretsOn(extract(t, card).boot, secrets); len(found) != len(secrets) {
		t.Fatalf("before its first boot the card has only %q", found)
	}
	if err := os.Truncate(card, cardSize); err != nil {
		t.Fatal(err)
	}
	return written{card, secrets, lab.Login{User: "alice", Key: filepath.Join(d.dir, "secrets/operator/id_ed25519"),
		KnownHosts: filepath.Join(d.dir, "secrets/known_hosts"), Host: "raspberrypi-node0"}}
}

// A card boots once and is the node: no reboot, no dialog, no key that was not
// made on the desk. What it is asked is answered by its own programs.
func TestFirstBoot_makesTheNode(t *testing.T) {
	for _, release := range []string{"trixie", "bookworm"} {
		t.Run(release, func(t *testing.T) {
			lab.ServeTime(t)
			w := writeCard(t, release, cluster)
			start := time.Now()
			since := func() time.Duration { return time.Since(start).Round(100 * time.Millisecond) }
			m := lab.Boot(t, lab.VM{Image: w.card, NoClock: true, Online: true})
			m.Expect(`picluster: configuring this Pi as raspberrypi-node0`, bootTime)
			began := since()
			m.Expect(`picluster: this Pi is configured as raspberrypi-node0`, bootTime)
			t.Logf("configured %s after power-on, which took %s", since(), since()-began)
			m.AwaitSSH(w.login, bootTime)
			t.Logf("ssh %s after power-on", since())
			t.Logf("resident memory of the agent: %s", tell(t, m, w.login, memoryUntilTheEnd))
			ask(t, m, w.login, "systemctl is-system-running --wait", "running")
			for question, answer := range answers {
				ask(t, m, w.login, question, answer)
			}
			awaitSeal(t, m, w.login)
			t.Logf("sealed at most %s after power-on", since())
			for question, answer := range sealedAnswers {
				ask(t, m, w.login, question, answer)
			}
			secondRunChangesNothing(t, m, w.login)
			if m.Reboots() != 0 {
				t.Errorf("the Pi rebooted %d times", m.Reboots())
			}

			// What was made stays.
			tell(t, m, w.login, "sudo systemctl reboot")
			m.Expect(`reboot: Restarting system`, bootTime)
			m.AwaitSSH(w.login, bootTime)
			ask(t, m, w.login, "systemctl is-system-running --wait", "running")
			tell(t, m, w.login, "for i in $(seq 60); do timedatectl | grep -q 'synchronized: yes' && exit; sleep 1; done")
			for question, answer := range sealedAnswers {
				ask(t, m, w.login, question, answer)
			}
			ask(t, m, w.login, "systemctl is-active picluster-firstboot", "inactive")
			m.PowerOff(3 * time.Minute)
			leavesNoSecret(t, w)
		})
	}
}

// memoryUntilTheEnd prints the last that was seen of the agent's memory.
const memoryUntilTheEnd = "p=$(systemctl show -p MainPID --value picluster-firstboot); " +
	"while now=$(sudo grep -sE '^(VmHWM|RssAnon|RssFile)' /proc/$p/status); do last=$now; sleep 1; done; echo $last"

// secondRunChangesNothing runs all steps once more, and plans before: neither
// touches a file of the configured system.
func secondRunChangesNothing(t *testing.T, m *lab.Machine, login lab.Login) {
	t.Helper()
	const digests = "sudo find /etc /usr/local /boot/firmware /home -xdev -type f ! -name STATUS.txt ! -name firstboot.log ! -name .bash_history " +
		"-printf '%p %m %u %g %T@ ' -exec sha256sum {} ';' | sort | sha256sum"
	before := tell(t, m, login, digests)
	ask(t, m, login, "sudo firstboot plan"+onlyStages, "Nothing to do: this Pi is as node.json wants it.")
	ask(t, m, login, digests, before)
	// The service still shows its page, and leaves the journal to others.
	ask(t, m, login, "sudo firstboot reapply"+onlyStages+" | grep -v seal/seal", "Nothing to do: this Pi is as node.json wants it.")
	ask(t, m, login, digests, before)
	ask(t, m, login, "test -e /var/lib/picluster/sealed && echo sealed", "sealed")
}

// awaitSeal waits for the agent to be done.
func awaitSeal(t *testing.T, m *lab.Machine, login lab.Login) {
	t.Helper()
	const done = "for i in $(seq 600); do test -e /var/lib/picluster/sealed && echo sealed && exit; sleep 0.5; done; sudo tail -3 /var/lib/picluster/journal.jsonl"
	if got := tell(t, m, login, done); got != "sealed" {
		t.Fatalf("the node is not done:\n%s", got)
	}
}

// tell runs a command on the Pi and returns what it said.
func tell(t *testing.T, m *lab.Machine, login lab.Login, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	out, err := m.SSH(ctx, login, command)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return strings.TrimSpace(out)
}

func ask(t *testing.T, m *lab.Machine, login lab.Login, question, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := m.SSH(ctx, login, question)
	if got := strings.TrimSpace(out); got != want {
		t.Errorf("%s: %q (%v), want %q", question, got, err, want)
	}
}

// secretsOf are the secrets in the node.json of a new card, those of several lines
// line by line.
func secretsOf(t *testing.T, card string) (found []string) {
	t.Helper()
	c, err := node.Parse([]byte(run(t, "mtype", "-i", fatOf(t, card), "::/picluster/node.json")))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []secret.Wire{c.SSH.HostKey}
	if c.Join != nil { // a card for a cluster
		secrets = append(secrets, c.Join.Key)
		if c.Join.Service != nil { // node0's
			secrets = append(secrets, c.Join.Service.Key, c.Join.Service.DeviceCAKey)
		}
	}
	for _, w := range c.Network.WiFi {
		secrets = append(secrets, w.Key)
	}
	for _, s := range secrets {
		for line := range strings.Lines(s.Reveal()) {
			if line = strings.TrimSpace(line); len(line) >= 8 && !strings.HasPrefix(line, "-----") {
				found = append(found, line)
			}
		}
	}
	if len(found) < 6 { // the lines of one key
		t.Fatalf("node.json has only %d lines of secrets", len(found))
	}
	return found
}

// secretsOn are those that stand anywhere in the bytes of a partition.
func secretsOn(partition string, secrets []string) (found []string) {
	for _, s := range secrets {
		if exec.Command("grep", "-qaF", "--", s, partition).Run() == nil {
			found = append(found, s)
		}
	}
	return found
}

// leavesNoSecret looks at the bytes of the FAT partition, free clusters included,
// and has both file systems checked.
func leavesNoSecret(t *testing.T, w written) {
	t.Helper()
	parts := extract(t, w.card)
	if found := secretsOn(parts.boot, w.secrets); len(found) > 0 {
		t.Errorf("the FAT partition still has %q somewhere", found)
	}
	if out, err := exec.Command("fsck.vfat", "-n", parts.boot).CombinedOutput(); err != nil {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
	if out, err := exec.Command("e2fsck", "-fn", parts.root).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	status, err := exec.Command("mtype", "-i", parts.boot, "::/STATUS.txt").Output()
	if err != nil || !strings.HasPrefix(string(status), "This Pi is configured: it is raspberrypi-node0 of the cluster home.\r\n") {
		t.Errorf("STATUS.txt: %v\n%s", err, status)
	}
	t.Logf("STATUS.txt:\n%s", status)
}
