package secrets

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// made is when the bundles of these tests are made: now, because openssl has no
// other clock for some of its checks.
var made = time.Now().UTC().Truncate(time.Second)

func home(nodes, spares int) Want {
	w := Want{Cluster: "home", Spares: spares, Now: func() time.Time { return made }}
	for i := range nodes {
		n := Node{Name: fmt.Sprintf("raspberrypi-node%d", i), ClusterAddress: netip.AddrFrom4([4]byte{10, 77, 0, byte(10 + i)})}
		if i == 0 {
			n.ControlPlane, n.Labels = true, map[string]string{"rack": "a", "disk": "ssd"}
		}
		w.Nodes = append(w.Nodes, n)
	}
	return w
}

// bundle makes a bundle in a directory of its own.
func bundle(t *testing.T, want Want) *Bundle {
	t.Helper()
	b, _, err := Init(filepath.Join(t.TempDir(), "secrets"), want)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func card(t *testing.T, b *Bundle, name string) *Card {
	t.Helper()
	c, err := b.Card(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// snapshot maps every file of a tree to its mode and content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		files[rel] = fmt.Sprintf("%o %x", info.Mode(), sha256.Sum256(data))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// run returns the output of another program, which has to be installed.
func run(t *testing.T, dir, pkg, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v: install the Debian package %s", err, pkg)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustRun(t *testing.T, dir, pkg, name string, args ...string) string {
	t.Helper()
	out, err := run(t, dir, pkg, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func TestOpen_readsWhatInitMade(t *testing.T) {
	want := home(2, 1)
	b := bundle(t, want)
	b2, err := Open(b.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(b2.ID()) {
		t.Errorf("cluster id is %s", b2.ID())
	}
	if b2.ID() != b.ID() || !b2.Created().Equal(made) || b2.ServerName() != "join."+b.ID() ||
		b2.CA() != b.CA() || b2.DeviceCA() != b.DeviceCA() || b2.ServerKey().Reveal() != b.ServerKey().Reveal() || b2.DeviceCAKey().Reveal() != b.DeviceCAKey().Reveal() {
		t.Error("it reads back differently")
	}
	for _, name := range want.names() {
		c, c2 := card(t, b, name), card(t, b2, name)
		if c2.Name() != name || c2.ID() != c.ID() || c2.Generation() != 1 || !c2.Created().Equal(made) ||
			!c2.Expires().Equal(made.Add(DefaultCardTTL)) || c2.Key().Reveal() != c.Key().Reveal() || c2.HostPublicKey() != c.HostPublicKey() {
			t.Errorf("card %s reads back differently", name)
		}
	}
	if _, err := b2.Card("../ca"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a card that is none gives %v", err)
	}
}

func TestOpen_saysThatThereIsNoBundle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	if _, err := Open(dir); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "open secrets "+dir+": ") {
		t.Errorf("error is %v", err)
	}
}

func TestOpen_refusesPartsThatDoNotBelongTogether(t *testing.T) {
	other := bundle(t, home(2, 0))
	for name, files := range map[string][]string{
		"another cluster's root":        {"ca/enrolment.key", "ca/enrolment.crt"},
		"another cluster's card":        {"cards/raspberrypi-node1/g1/card.key", "cards/raspberrypi-node1/g1/card.crt", "cards/raspberrypi-node1/g1/card.json"},
		"another card's key":            {"cards/raspberrypi-node1/g1/card.key"},
		"another card's document":       {"cards/raspberrypi-node1/g1/card.json"},
		"another host key":              {"cards/raspberrypi-node0/ssh_host_ed25519_key"},
		"another cluster's document":    {"cluster.json"},
		"another cluster's server":      {"join/g1/server.key", "join/g1/server.crt"},
		"another operator's public key": {"operator/id_ed25519.pub"},
	} {
		t.Run(name, func(t *testing.T) {
			b := bundle(t, home(2, 0))
			for _, f := range files {
				data, err := os.ReadFile(filepath.Join(other.Dir(), f))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(b.Dir(), f), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(b.Dir()); err == nil || strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestOpen_refusesDamagedFiles(t *testing.T) {
	for _, name := range []string{"cluster.json", "ca/enrolment.key", "ca/enrolment.crt", "ca/device.crt", "operator/id_ed25519",
		"join/g1/server.key", "cards/raspberrypi-node0/g1/card.json", "cards/raspberrypi-node0/ssh_host_ed25519_key.pub"} {
		b := bundle(t, home(1, 0))
		file := filepath.Join(b.Dir(), name)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, damage := range map[string][]byte{"empty": {}, "torn": data[:len(data)/2], "zeros": make([]byte, len(data))} {
			if err := os.WriteFile(file, damage, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(b.Dir())
			base := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
			if err == nil || !strings.Contains(err.Error(), base) {
				t.Errorf("%s %s: error is %v", what, name, err)
			}
		}
	}
}

func TestExposed_namesTheCommandThatHelps(t *testing.T) {
	for _, name := range []string{".", "ca/enrolment.key", "operator/id_ed25519", "cards/raspberrypi-node0/ssh_host_ed25519_key",
		"cards/raspberrypi-node0/g1/card.key", "join/g1/server.key"} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "it's a dir", "secrets")
			if err := os.Mkdir(filepath.Dir(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Init(dir, home(1, 0)); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(dir, name), 0o740); err != nil {
				t.Fatal(err)
			}
			for what, try := range map[string]func() error{
				"Open": func() error { _, err := Open(dir); return err },
				"Init": func() error { _, _, err := Init(dir, home(1, 0)); return err },
			} {
				var exposed *ExposedError
				if err := try(); !errors.As(err, &exposed) || len(exposed.Paths) != 1 || !strings.Contains(err.Error(), "(0740)") {
					t.Fatalf("%s says %v", what, err)
				}
			}
			_, err := Open(dir)
			var exposed *ExposedError
			errors.As(err, &exposed)
			mustRun(t, "", "dash", "sh", "-c", exposed.Fix())
			if _, err := Open(dir); err != nil {
				t.Errorf("after %s: %v", exposed.Fix(), err)
			}
		})
	}
}

func TestOpen_checksModesBehindALink(t *testing.T) {
	b := bundle(t, home(1, 0))
	link := filepath.Join(t.TempDir(), "secrets")
	if err := os.Symlink(b.Dir(), link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link); err != nil {
		t.Errorf("a link to a good bundle gives %v", err)
	}
	if err := os.Chmod(filepath.Join(b.Dir(), "ca/device.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	var exposed *ExposedError
	if _, err := Open(link); !errors.As(err, &exposed) {
		t.Errorf("error is %v", err)
	}
}

func TestOpen_refusesAnotherVersion(t *testing.T) {
	b := bundle(t, home(1, 0))
	for text, want := range map[string]string{
		`{"version":2,"id":"x","name":"home","created":"2026-11-01T12:00:00Z"}`: "it has version 2, this program reads version 1",
		`{"version":1,"id":"","name":"home","created":"2026-11-01T12:00:00Z"}`:  "it lacks",
		`{"version":1,"id":"x","name":"home","creator":"me"}`:                   "unknown field",
	} {
		if err := os.WriteFile(filepath.Join(b.Dir(), "cluster.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for what, try := range map[string]func() error{
			"Open": func() error { _, err := Open(b.Dir()); return err },
			"Init": func() error { _, _, err := Init(b.Dir(), home(1, 0)); return err },
		} {
			if err := try(); err == nil || !strings.Contains(err.Error(), "read cluster.json: ") || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s gives %v", what, text, err)
			}
		}
	}
}
