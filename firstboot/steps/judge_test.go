package steps_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"picluster/internal/node"
	"picluster/internal/secret"
)

// judge runs a program that says whether what the steps wrote is right.
func judge(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The programs that will read the files read them as meant.
func TestEarly_isReadAsMeant(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			c := worker(t, release)
			dir := pi(t, release, c)
			if err := os.WriteFile(filepath.Join(dir, "etc/ssh/ssh_host_rsa_key"), []byte("the image's"), 0o600); err != nil {
				t.Fatal(err)
			}
			stock := "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n"
			if err := os.WriteFile(filepath.Join(dir, "etc/ssh/sshd_config"), []byte(stock), 0o644); err != nil {
				t.Fatal(err)
			}
			run(t, machine(t, dir), c)

			judge(t, "visudo", "-c", "-f", filepath.Join(dir, "etc/sudoers.d/010_picluster"))
			judge(t, "pwck", "-q", "-r", filepath.Join(dir, "etc/passwd"), filepath.Join(dir, "etc/shadow"))
			judge(t, "systemd-analyze", "cat-config", "--root="+dir, "systemd/journald.conf")
			key := filepath.Join(dir, "etc/ssh/ssh_host_ed25519_key")
			if got := judge(t, "ssh-keygen", "-y", "-f", key); strings.Fields(got)[1] != strings.Fields(c.SSH.HostPublicKey)[1] {
				t.Errorf("the host key's public half is %s, want %s", got, c.SSH.HostPublicKey)
			}
			judge(t, "ssh-keygen", "-l", "-f", filepath.Join(dir, "home/alice/.ssh/authorized_keys"))
			sshd(t, dir)
			for path, want := range map[string]string{
				"home/alice/.netrc": "600 1000 1000", "etc/motd": "2640 0 27", "home/alice/.ssh/authorized_keys": "600 1000 1000",
				"etc/picluster/node.json": "600 0 0", "etc/sudoers.d/010_picluster": "440 0 0",
			} {
				if got := strings.TrimSpace(judge(t, "stat", "-c", "%a %u %g", filepath.Join(dir, path))); got != want {
					t.Errorf("%s: mode and owner %s, want %s", path, got, want)
				}
			}
		})
	}
}

// sshd asks sshd for the settings in effect. It does not know the tree, so paths
// in the files get it in front.
func sshd(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"etc/ssh/sshd_config", "etc/ssh/sshd_config.d/010_picluster.conf"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		moved := strings.ReplaceAll(string(data), "/etc/", dir+"/etc/")
		if err := os.WriteFile(filepath.Join(dir, name), []byte(moved), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	settings := strings.Split(judge(t, "sshd", "-T", "-f", filepath.Join(dir, "etc/ssh/sshd_config")), "\n")
	for _, want := range []string{"passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin no",
		"pubkeyauthentication yes", "hostkey " + dir + "/etc/ssh/ssh_host_ed25519_key"} {
		if !slices.Contains(settings, want) {
			t.Errorf("sshd -T: no %q in\n%s", want, strings.Join(settings, "\n"))
		}
	}
	if got := len(slices.DeleteFunc(settings, func(s string) bool { return !strings.HasPrefix(s, "hostkey ") })); got != 1 {
		t.Errorf("sshd offers %d host keys, want one", got)
	}
}

// wpa_supplicant's own tool derives the same key from the passphrase.
func TestEarly_oldReleasesKeepTheDerivedKey(t *testing.T) {
	c := worker(t, "buster")
	dir := pi(t, "buster", c)
	run(t, machine(t, dir), c)
	got := readFile(t, dir, "etc/wpa_supplicant/wpa_supplicant.conf")
	for line := range strings.Lines(judge(t, "wpa_passphrase", "home", "planted passphrase")) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "psk=") && !strings.Contains(got, line) {
			t.Errorf("the file has another key than wpa_passphrase:\n%s", got)
		}
	}
	if strings.Contains(got, "planted") || !strings.Contains(got, "country=CH") {
		t.Errorf("got:\n%s", got)
	}
}

// The hook of dhcpcd as its shell runs it.
func TestEarly_dhcpcdAddsTheClusterAddress(t *testing.T) {
	c := worker(t, "bullseye")
	dir := pi(t, "bullseye", c)
	run(t, machine(t, dir), c)
	hook := filepath.Join(dir, "etc/dhcpcd.exit-hook")
	for environment, want := range map[string]string{
		"interface=eth0 reason=BOUND":    "address replace 10.77.0.11/24 dev eth0\n",
		"interface=wlan0 reason=CARRIER": "address replace 10.77.0.11/24 dev wlan0\n",
		"interface=eth0 reason=EXPIRE":   "",
		"interface=cni0 reason=CARRIER":  "",
	} {
		script := environment + "; ip() { echo \"$*\"; }; . " + hook
		if got := judge(t, "dash", "-c", script); got != want {
			t.Errorf("%s: %q, want %q", environment, got, want)
		}
	}
}

// A user of another name takes over uid 1000 with all that was its own.
func TestEarly_renamesTheUser(t *testing.T) {
	c := worker(t, "trixie")
	dir := pi(t, "trixie", c)
	for name, text := range map[string]string{
		"etc/group":   "root:x:0:\nsudo:x:27:pi\nvideo:x:44:pi\nspool:x:60:pi\npi:x:1000:\n",
		"etc/gshadow": "root:*::\nsudo:*::pi\nvideo:*::pi\nspool:*::pi\npi:!::\n",
		"etc/subuid":  "pi:100000:65536\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, machine(t, dir), c)
	for name, want := range map[string]string{
		"etc/passwd":          "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000:,,,:/home/alice:/bin/bash\n",
		"etc/shadow":          "root:*:19000:0:99999:7:::\nalice:$6$planted$planted-hash:19000:0:99999:7:::\n",
		"etc/group":           "root:x:0:\nsudo:x:27:alice\nvideo:x:44:alice\nspool:x:60:alice\nalice:x:1000:\n",
		"etc/gshadow":         "root:*::\nsudo:*::alice\nvideo:*::alice\nspool:*::alice\nalice:!::\n",
		"etc/subuid":          "alice:100000:65536\n",
		"home/alice/.profile": "umask 022\n",
	} {
		if got := readFile(t, dir, name); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "home/pi")); err == nil {
		t.Error("the old home directory is still there")
	}
	judge(t, "grpck", "-r", "-R", dir)
}

func TestEarly_makesAUserWhereThereIsNone(t *testing.T) {
	c := worker(t, "bookworm")
	c.System.User.PasswordHash = secret.Wire{}
	dir := pi(t, "bookworm", c)
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", "etc/shadow": "root:*:19000:0:99999:7:::\n",
		"etc/group": "root:x:0:\nsudo:x:27:\n", "etc/skel/.bashrc": "# bash\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "home/pi")); err != nil {
		t.Fatal(err)
	}
	run(t, machine(t, dir), c)
	for name, want := range map[string]string{
		"etc/passwd":         "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000:,,,:/home/alice:/bin/bash\n",
		"etc/shadow":         "root:*:19000:0:99999:7:::\nalice:*:20000:0:99999:7:::\n",
		"etc/group":          "root:x:0:\nsudo:x:27:alice\nalice:x:1000:\n",
		"home/alice/.bashrc": "# bash\n",
	} {
		if got := readFile(t, dir, name); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
	judge(t, "pwck", "-q", "-r", filepath.Join(dir, "etc/passwd"), filepath.Join(dir, "etc/shadow"))
}

// What would make the accounts unreadable, or take over a system's user, is
// refused before a byte is written.
func TestEarly_refusesABadUser(t *testing.T) {
	for name, change := range map[string]func(*node.Config){
		"a line break in the name": func(c *node.Config) { c.System.User.Name = "a\nroot" },
		"a colon in the hash":      func(c *node.Config) { c.System.User.PasswordHash = secret.NewWire("$6$a:0:") },
		"the name of a system's":   func(c *node.Config) { c.System.User.Name = "daemon" },
	} {
		t.Run(name, func(t *testing.T) {
			c := worker(t, "trixie")
			change(c)
			dir := pi(t, "trixie", c)
			passwd := readFile(t, dir, "etc/passwd") + "daemon:x:1:1::/:/usr/sbin/nologin\n"
			if err := os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte(passwd), 0o644); err != nil {
				t.Fatal(err)
			}
			err := tryRun(t, machine(t, dir), c)
			if err == nil || !strings.HasPrefix(err.Error(), "identity/user: ") {
				t.Errorf("got error %v", err)
			}
			if got := readFile(t, dir, "etc/passwd"); got != passwd {
				t.Errorf("passwd is now\n%s", got)
			}
			if strings.Contains(fmt.Sprint(err), "$6$") {
				t.Errorf("the error shows the hash: %v", err)
			}
		})
	}
}

// Trixie's systemd-tmpfiles replaces /etc/default/locale by a link at each boot.
func TestEarly_setsTheLocaleWhereTheReleaseKeepsIt(t *testing.T) {
	for release, file := range map[string]string{"bookworm": "etc/default/locale", "trixie": "etc/locale.conf"} {
		c := worker(t, release)
		dir := pi(t, release, c)
		if err := os.MkdirAll(filepath.Join(dir, "etc/default"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte("# image\nLANG=en_GB.UTF-8\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, machine(t, dir), c)
		if got := readFile(t, dir, file); got != "# image\nLANG=\"C.UTF-8\"\n" {
			t.Errorf("%s: %s is %q", release, file, got)
		}
	}
}
