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
)

// bootTime is generous: the emulator shares the machine with other tests.
const bootTime = 10 * time.Minute

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
network:
  country: CH
  wifi: [{ssid: "no such network", passphraseEnv: WIFI}]
`

// answers are questions to the running node and what a configured one says.
var answers = map[string]string{
	"systemctl --failed --no-legend": "",
	"hostname":                       "raspberrypi-node0",
	"sudo hostnamectl --static":      "raspberrypi-node0",
	"id -un 1000":                    "alice",
	"pwd":                            "/home/alice",
	"sudo -n id -u":                  "0",
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
	"sh -c '. /etc/default/locale; LC_ALL=$LANG locale charmap'":                                 "UTF-8",
	"locale -a | grep -c en_US.utf8":                                                             "1",
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

// A card boots once and is the node: no reboot, no dialog, no key that was not
// made on the desk. What it is asked is answered by its own programs.
func TestFirstBoot_makesTheNode(t *testing.T) {
	for _, release := range []string{"trixie", "bookworm"} {
		t.Run(release, func(t *testing.T) {
			d := newDesk(t)
			t.Setenv("WIFI", "planted-passphrase")
			if err := os.WriteFile(filepath.Join(d.dir, "cluster.yaml"), []byte(cluster), 0o644); err != nil {
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
			if found := secretsOn(extract(t, card).boot); len(found) != len(secrets) {
				t.Fatalf("before its first boot the card has only %q", found)
			}
			start := time.Now()
			m := lab.Boot(t, lab.VM{Image: card, NoClock: true})
			login := lab.Login{User: "alice", Key: filepath.Join(d.dir, "secrets/operator/id_ed25519"),
				KnownHosts: filepath.Join(d.dir, "secrets/known_hosts"), Host: "raspberrypi-node0"}
			m.Expect(`picluster: this Pi is configured as raspberrypi-node0`, bootTime)
			t.Logf("configured %s after power-on", time.Since(start).Round(time.Second))
			m.AwaitSSH(login, bootTime)
			t.Logf("ssh %s after power-on", time.Since(start).Round(time.Second))
			if m.Reboots() != 0 {
				t.Errorf("the Pi rebooted %d times", m.Reboots())
			}
			ask(t, m, login, "systemctl is-system-running --wait", "running")
			for question, answer := range answers {
				ask(t, m, login, question, answer)
			}
			m.PowerOff(3 * time.Minute)
			leavesNoSecret(t, card)
		})
	}
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

// secrets are in node.json and nowhere else on a new card.
var secrets = []string{"planted-passphrase", "PRIVATE KEY"}

// secretsOn looks at all bytes of a partition.
func secretsOn(partition string) (found []string) {
	for _, s := range secrets {
		if exec.Command("grep", "-qaF", s, partition).Run() == nil {
			found = append(found, s)
		}
	}
	return found
}

// leavesNoSecret looks at the bytes of the FAT partition, free clusters included,
// and has both file systems checked.
func leavesNoSecret(t *testing.T, card string) {
	t.Helper()
	parts := extract(t, card)
	if found := secretsOn(parts.boot); len(found) > 0 {
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
