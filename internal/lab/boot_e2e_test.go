//go:build e2e

package lab_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab"
)

// Generous: the emulator shares the machine with other tests.
const bootTime = 10 * time.Minute

func TestBoot_unpatchedImageReachesLogin(t *testing.T) {
	for _, release := range []string{"trixie", "bookworm"} {
		t.Run(release, func(t *testing.T) {
			card := lab.Card(t, lab.Bootable(t, release), 4<<30)
			start := time.Now()
			m := lab.Boot(t, lab.VM{Image: card})
			m.Expect(`raspberrypi login:`, bootTime)
			t.Logf("login prompt %s after power-on, %d reboots", time.Since(start).Round(time.Second), m.Reboots())
			// bookworm's hook is an init of its own, which ends in a reboot.
			if want := map[string]int{"trixie": 0, "bookworm": 1}[release]; m.Reboots() != want {
				t.Errorf("the guest rebooted %d times, want %d", m.Reboots(), want)
			}
			m.PowerOff(3 * time.Minute)
			isClean(t, card)
		})
	}
}

// isClean has both file systems of a switched-off card checked.
func isClean(t *testing.T, card string) {
	t.Helper()
	run(t, "sfdisk", "--verify", card)
	p := partitions(t, card)
	run(t, "fsck.vfat", "-n", extract(t, card, p[0]))
	run(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", card, p[1].start))
}

// What a program on the FAT relies on that is started by the end of cmdline.txt,
// and what tests of it rely on: the arguments arrive, the FAT can be mounted
// before udev runs, the next power-on reads cmdline.txt anew.
func TestBoot_commandLineStartsAProgramOnTheFAT(t *testing.T) {
	for _, release := range []string{"trixie", "bookworm"} {
		t.Run(release, func(t *testing.T) {
			card := lab.Card(t, lab.Bootable(t, release), 0)
			login := hook(t, card)
			m := lab.Boot(t, lab.VM{Image: card})
			m.Expect(`hook: pid 1, arguments a b`, bootTime)
			m.AwaitSSH(login, bootTime)
			if got := ssh(t, m, login, "systemctl is-system-running --wait; systemctl --failed --no-legend"); got != "running\n" {
				t.Errorf("the system is %q:\n%s", got, ssh(t, m, login, "journalctl -b -p warning --no-pager | tail -40"))
			}
			for command, want := range map[string]string{
				"uname -m": "aarch64",
				"hostname": "raspberrypi",
				"findmnt -no FSTYPE,LABEL /boot/firmware": "vfat bootfs",
				"findmnt -no FSTYPE /":                    "ext4",
				"cat /sys/class/net/eth0/carrier":         "1",
				"id -un 1000":                             "pi",
				"passwd --status pi | cut -d' ' -f2":      "L",
				"cat /sys/fs/cgroup/cgroup.controllers":   "cpuset cpu io memory hugetlb pids rdma misc",
				"dpkg --audit; apt-get check -qq":         "",
				"nmcli -t -f WIFI radio":                  "disabled",
				"modprobe -a overlay br_netfilter vxlan dm_thin_pool zram mac80211_hwsim && echo ok": "ok",
			} {
				// Fields, because findmnt fills columns up with blanks, each version its own way.
				if got := strings.Join(strings.Fields(ssh(t, m, login, command)), " "); got != want {
					t.Errorf("%s: %q, want %q", command, got, want)
				}
			}
			_, err := net.DialTimeout("tcp", m.Addr(7390), time.Second)
			if err != nil {
				t.Errorf("the status page's port is not forwarded: %v", err)
			}

			ssh(t, m, login, "echo kept > /root/kept; sync; (sleep 1; systemctl reboot --force) > /dev/null 2>&1 &")
			m.Expect(`Run /init as init process`, bootTime)
			m.AwaitSSH(login, bootTime)
			if m.Reboots() != 1 {
				t.Errorf("the guest rebooted %d times, want once", m.Reboots())
			}
			ssh(t, m, login, "echo lost > /root/lost")
			m.PowerCut()
			m.PowerOn()
			m.AwaitSSH(login, bootTime)
			if got := ssh(t, m, login, "cat /root/kept; cat /root/lost 2>/dev/null || true"); got != "kept\n" {
				t.Errorf("after the power cut the files hold %q, want kept only", got)
			}
			if log, _ := os.ReadFile(m.ConsoleLog()); strings.Count(string(log), "hook: pid") != 1 {
				t.Error("the hook ran again after it had been taken off cmdline.txt")
			}
			m.PowerOff(3 * time.Minute)
			isClean(t, card)
		})
	}
}

// hook puts a hook at the end of the card's cmdline.txt, in place of the vendor's,
// and what it starts on the FAT, and returns the login that it makes possible.
func hook(t *testing.T, card string) lab.Login {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"key", "host_key"} {
		run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name))
	}
	public, err := os.ReadFile(filepath.Join(dir, "host_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(hosts, append([]byte("card "), public...), 0o644); err != nil {
		t.Fatal(err)
	}
	volume := fmt.Sprintf("%s@@%d", card, partitions(t, card)[0].start)
	words := strings.Fields(run(t, "mtype", "-i", volume, "::/cmdline.txt"))
	var kept []string
	for _, word := range words {
		if word != "resize" && word != "quiet" && !strings.HasPrefix(word, "init=") {
			kept = append(kept, word)
		}
	}
	plain := strings.Join(kept, " ")
	for name, content := range map[string]string{
		"restored": plain + "\n",
		"hooked":   plain + ` init=/bin/sh -- -c "mount /boot/firmware && exec /bin/sh /boot/firmware/hook/hook.sh a b; exec /sbin/init"` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "mmd", "-i", volume, "::/hook")
	for from, to := range map[string]string{
		"testdata/hook.sh":             "::/hook/hook.sh",
		filepath.Join(dir, "key.pub"):  "::/hook/authorized_keys",
		filepath.Join(dir, "host_key"): "::/hook/host_key",
		filepath.Join(dir, "restored"): "::/hook/cmdline.txt",
		filepath.Join(dir, "hooked"):   "::/cmdline.txt",
	} {
		run(t, "mcopy", "-o", "-i", volume, from, to)
	}
	return lab.Login{User: "root", Key: filepath.Join(dir, "key"), KnownHosts: hosts, Host: "card"}
}

func ssh(t *testing.T, m *lab.Machine, login lab.Login, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := m.SSH(ctx, login, command)
	if err != nil && !strings.HasPrefix(command, "systemctl is-system-running") {
		t.Errorf("%v", err)
	}
	return out
}
