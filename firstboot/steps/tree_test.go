package steps_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"picluster/internal/host"
	"picluster/internal/host/hosttest"
	"picluster/internal/lab"
	"picluster/internal/lab/desk"
	"picluster/internal/node"
	"picluster/internal/secret"
)

var releases = []string{"stretch", "buster", "bullseye", "bookworm", "trixie"}

// bootDir is where the release mounts the FAT partition.
func bootDir(release string) string {
	if release == "bookworm" || release == "trixie" {
		return "/boot/firmware"
	}
	return "/boot"
}

// worker is a complete document. Everything that is secret in it has "planted" in
// its text.
func worker(t testing.TB, release string) *node.Config {
	t.Helper()
	seed := sha256.Sum256([]byte("a host key for tests"))
	key := ed25519.NewKeyFromSeed(seed[:])
	block, err := ssh.MarshalPrivateKey(key, "planted")
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicLine := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
	c := &node.Config{
		Version: node.Version, Name: "raspberrypi-node1", Role: node.Worker,
		Cluster: node.Cluster{Name: "home", ID: "6f9619ff"},
		Build:   node.Build{Time: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Tool: "v1", Image: "abc", Release: release, Arch: "armhf"},
		System: node.System{Timezone: "Europe/Zurich", Locale: "C.UTF-8", Keymap: "ch", Swap: "zram",
			User: node.User{Name: "alice", AuthorizedKeys: []string{publicLine + " me"}, Sudo: "password",
				PasswordHash: secret.NewWire("$6$planted$planted-hash")},
			Files: []node.File{
				{Path: "/home/alice/.netrc", Mode: 0o600, Owner: "alice", Content: secret.NewWire("planted-file")},
				{Path: "/etc/motd", Mode: 0o2640, Owner: "root:sudo", Content: secret.NewWire("planted-motd")},
			}},
		Network: node.Network{Interface: "auto", Country: "CH", NTP: []string{"ntp.example.org", "192.168.1.1"}, ClusterAddress: netip.MustParsePrefix("10.77.0.11/24"),
			WiFi: []node.WiFi{
				{SSID: []byte("home"), Security: "wpa2", Key: secret.NewWire("planted passphrase")},
				{SSID: []byte("caf\xe9"), Security: "open", Hidden: true},
			}},
		SSH:   node.SSH{HostKey: secret.NewWire(string(pem.EncodeToMemory(block))), HostPublicKey: publicLine},
		Peers: []node.Peer{{Name: "raspberrypi-node0", Address: netip.MustParseAddr("10.77.0.10")}, {Name: "raspberrypi-node1", Address: netip.MustParseAddr("10.77.0.11")}},
		Join: &node.Join{CardID: "c1", Generation: 1, CA: "ca", Certificate: "cert", Key: secret.NewWire("planted-card-key"),
			ServerName: "join.6f9619ff", Server: netip.MustParseAddr("10.77.0.10")},
		Storage: &node.Storage{LoopPath: "/var/gluster.img", LoopSize: 15 << 30},
	}
	if bootDir(release) == "/boot/firmware" {
		c.Kubernetes = &node.Kubernetes{Version: "v1.37.2", CNI: "flannel", Schedulable: true,
			PodSubnet: netip.MustParsePrefix("10.244.0.0/16"), ServiceSubnet: netip.MustParsePrefix("10.96.0.0/12")}
	}
	return c
}

// roots are the releases' root file systems, unpacked once for all tests.
var roots struct {
	sync.Mutex
	dir map[string]string
}

func TestMain(m *testing.M) {
	if status, done := inOwnMounts(); done {
		os.Exit(status)
	}
	code := desk.Main(m)
	for _, dir := range roots.dir {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// memory is a directory in memory if there is one: on a disk these tests spend
// their time waiting for fsync, ten times as long.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// root unpacks the root partition of the release's image with its owners, without
// the few large files that no step looks at.
func root(t testing.TB, release string) string {
	t.Helper()
	roots.Lock()
	defer roots.Unlock()
	if dir := roots.dir[release]; dir != "" {
		return dir
	}
	image := lab.Image(t, lab.Layout{Release: release, Arch: "armhf"})
	dir, err := os.MkdirTemp(memory(), "picluster-root-")
	if err != nil {
		t.Fatal(err)
	}
	if roots.dir == nil {
		roots.dir = map[string]string{}
	}
	roots.dir[release] = dir
	starts := output(t, "sfdisk", "--dump", image)
	_, second, _ := strings.Cut(starts, "start=")
	_, second, _ = strings.Cut(second, "start=")
	sector, _, _ := strings.Cut(strings.TrimSpace(second), ",")
	output(t, "debugfs", "-R", "rdump / "+dir, fmt.Sprintf("%s?offset=%s", image, output(t, "sh", "-c", "printf %s $(("+sector+"*512))")))
	for _, name := range []string{"usr/bin/python3", "usr/lib/libcrypto.so.3", "var/log/lastlog"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	old, err := filepath.Glob(filepath.Join(dir, "usr/share/zoneinfo/Etc*"))
	if err != nil || len(old) == 0 {
		t.Fatalf("unpack %s: its time zones are not there (%v)", image, err)
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// pi is a copy of a release's root file system with the card's FAT in it.
func pi(t testing.TB, release string, c *node.Config) string {
	t.Helper()
	tmp, err := os.MkdirTemp(memory(), "picluster-pi-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	dir := filepath.Join(tmp, "root")
	output(t, "cp", "--archive", root(t, release), dir)
	boot := filepath.Join(dir, bootDir(release))
	cmdline, err := os.ReadFile("../../internal/bootfiles/testdata/" + release + "/cmdline.golden")
	if err != nil {
		t.Fatal(err)
	}
	document, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"cmdline.txt": cmdline, "picluster/node.json": document, "picluster/firstboot": []byte("the agent")} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(boot, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(boot, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// machine is the tree as a machine. The trees' own programs are another
// processor's, so this machine's do their work below $ROOT.
func machine(t testing.TB, dir string) host.Local {
	t.Helper()
	commands := t.TempDir()
	for name, script := range map[string]string{
		"mv":    `exec /bin/mv "$1" "$ROOT$2" "$ROOT$3"`,
		"shred": `exec /usr/bin/shred "$1" "$2" "$3" "$ROOT$4"`,
	} {
		if err := hosttest.WriteProgram(filepath.Join(commands, name), "#!/bin/sh\n"+script+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	return host.Local{Root: dir, Commands: commands}
}

func output(t testing.TB, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// listing is every file of a tree in a line: type, mode, owner, content.
func listing(t testing.TB, dir string) []string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		content := ""
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = fmt.Sprintf("%x", sha256.Sum256(data))
		case fs.ModeSymlink:
			if content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		lines = append(lines, fmt.Sprintf("%s %v %d:%d %s", strings.TrimPrefix(path, dir), info.Mode(), st.Uid, st.Gid, content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// differences are the lines of one listing that are not in the other.
func differences(got, want []string) (diff []string) {
	for _, line := range got {
		if !slices.Contains(want, line) {
			diff = append(diff, "+ "+line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			diff = append(diff, "- "+line)
		}
	}
	return diff
}

func readFile(t testing.TB, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
