package secrets

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/cryptotest"
	"time"
)

func TestInit_makesEveryFileAndSaysSo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	_, paths, err := Init(dir, home(2, 1))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".gitignore", "cluster.json", "known_hosts",
		"ca/enrolment.key", "ca/enrolment.crt", "ca/device.key", "ca/device.crt",
		"join/g1/server.key", "join/g1/server.crt",
		"operator/operator.key", "operator/operator.crt", "operator/id_ed25519", "operator/id_ed25519.pub"}
	for _, name := range []string{"raspberrypi-node0", "raspberrypi-node1", "spare-1"} {
		for _, f := range []string{"ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "g1/card.key", "g1/card.crt", "g1/card.json"} {
			want = append(want, "cards/"+name+"/"+f)
		}
	}
	slices.Sort(want)
	if !slices.Equal(paths, want) {
		t.Errorf("reported:\n%s\nwant:\n%s", strings.Join(paths, "\n"), strings.Join(want, "\n"))
	}
	files := snapshot(t, dir)
	delete(files, ".lock")
	if there := slices.Sorted(maps.Keys(files)); !slices.Equal(there, want) {
		t.Errorf("on disk:\n%s", strings.Join(there, "\n"))
	}
}

func TestInit_keepsPrivateFilesPrivate(t *testing.T) {
	old := syscall.Umask(0) // the most careless of users
	t.Cleanup(func() { syscall.Umask(old) })
	b := bundle(t, home(1, 1))
	if err := b.Record(entry(card(t, b, "spare-1")), []byte("sums")); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(b.Dir(), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, _ := os.ReadFile(p)
		want := fs.FileMode(0o644)
		switch {
		case d.IsDir():
			want = 0o700
		case strings.Contains(string(data), "PRIVATE KEY"), d.Name() == "cards.json", d.Name() == ".lock", strings.HasSuffix(p, ".sums"):
			want = 0o600
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %#o, want %#o", p, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestInit_secondRunChangesNothing(t *testing.T) {
	b := bundle(t, home(3, 1))
	before := snapshot(t, b.Dir())
	later := home(3, 1)
	later.Now = func() time.Time { return made.Add(400 * day) }
	_, paths, err := Init(b.Dir(), later)
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != 0 {
		t.Errorf("second run wrote %v", paths)
	}
	if after := snapshot(t, b.Dir()); !maps.Equal(before, after) {
		t.Errorf("files differ:\n%v\n%v", before, after)
	}
}

func TestInit_addsWhatNewNodesNeedAndNoMore(t *testing.T) {
	b := bundle(t, home(2, 0))
	before := snapshot(t, b.Dir())
	b2, paths, err := Init(b.Dir(), home(3, 1))
	if err != nil {
		t.Fatal(err)
	}
	for name, sum := range snapshot(t, b.Dir()) {
		isNew := strings.HasPrefix(name, "cards/raspberrypi-node2/") || strings.HasPrefix(name, "cards/spare-1/") || name == "known_hosts"
		if isNew != slices.Contains(paths, name) {
			t.Errorf("%s: reported as written: %v", name, !isNew)
		}
		if !isNew && before[name] != sum {
			t.Errorf("%s has changed", name)
		}
	}
	if b2.ID() != b.ID() || card(t, b2, "raspberrypi-node1").ID() != card(t, b, "raspberrypi-node1").ID() {
		t.Error("the cluster or an old card has a new identity")
	}
	card(t, b2, "spare-1")
}

func TestInit_keepsCardsThatAreNotWantedAnyMore(t *testing.T) {
	b := bundle(t, home(3, 0))
	b2, _, err := Init(b.Dir(), home(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if card(t, b2, "raspberrypi-node2").ID() != card(t, b, "raspberrypi-node2").ID() {
		t.Error("the card has changed")
	}
	hosts, _ := os.ReadFile(filepath.Join(b.Dir(), "known_hosts"))
	if strings.Contains(string(hosts), "node2") {
		t.Errorf("known_hosts still lists node2:\n%s", hosts)
	}
}

// The source of randomness is fixed for the whole process; what then still
// differs would come from a clock or from the order of a map.
func TestInit_dependsOnRandomnessAndTimeAlone(t *testing.T) {
	var first map[string]string
	for range 2 {
		cryptotest.SetGlobalRandom(t, 42)
		files := snapshot(t, bundle(t, home(2, 1)).Dir())
		if first != nil && !maps.Equal(first, files) {
			t.Errorf("bundles differ:\n%v\n%v", first, files)
		}
		first = files
	}
}

func TestInit_refuses(t *testing.T) {
	for name, edit := range map[string]func(*Want){
		"a path as a node":       func(w *Want) { w.Nodes[0].Name = "../../etc" },
		"a node with a slash":    func(w *Want) { w.Nodes[0].Name = "a/b" },
		"dots as a node":         func(w *Want) { w.Nodes[0].Name = ".." },
		"an absolute path":       func(w *Want) { w.Nodes[0].Name = "/etc" },
		"a node without a name":  func(w *Want) { w.Nodes[0].Name = "" },
		"a line break in a name": func(w *Want) { w.Nodes[0].Name = "node0\n" },
		"a wildcard in a name":   func(w *Want) { w.Nodes[0].Name = "node*" },
		"capital letters":        func(w *Want) { w.Nodes[0].Name = "Node0" },
		"64 letters":             func(w *Want) { w.Nodes[0].Name = strings.Repeat("a", 64) },
		"a spare's name":         func(w *Want) { w.Nodes[0].Name = "spare-1" },
		"two equal names":        func(w *Want) { w.Nodes[1].Name = w.Nodes[0].Name },
		"a path as a cluster":    func(w *Want) { w.Cluster = "../home" },
		"no cluster name":        func(w *Want) { w.Cluster = "" },
		"negative spares":        func(w *Want) { w.Spares = -1 },
		"a negative life":        func(w *Want) { w.CardTTL = -day },
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			want := home(2, 1)
			edit(&want)
			if _, _, err := Init(filepath.Join(parent, "secrets"), want); err == nil {
				t.Error("it was accepted")
			}
			if left := snapshot(t, parent); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}

func TestInit_refusesAnotherCluster(t *testing.T) {
	b := bundle(t, home(1, 0))
	before := snapshot(t, b.Dir())
	want := home(1, 0)
	want.Cluster = "office"
	var other *OtherClusterError
	if _, _, err := Init(b.Dir(), want); !errors.As(err, &other) || other.Have != "home" || other.Want != "office" {
		t.Errorf("error is %v", err)
	}
	if !maps.Equal(before, snapshot(t, b.Dir())) {
		t.Error("it changed the bundle")
	}
}

// A lost root must not be replaced by a new one: everything in the field trusts
// the old.
func TestInit_refusesToReplaceWhatOthersDependOn(t *testing.T) {
	for _, lost := range [][]string{
		{"cluster.json"}, {"ca/enrolment.key"}, {"ca/enrolment.key", "ca/enrolment.crt"}, {"ca/device.key"},
		{"operator/id_ed25519"}, {"cards/raspberrypi-node0/ssh_host_ed25519_key"},
	} {
		t.Run(strings.Join(lost, " "), func(t *testing.T) {
			b := bundle(t, home(1, 0))
			for _, name := range lost {
				if err := os.Remove(filepath.Join(b.Dir(), name)); err != nil {
					t.Fatal(err)
				}
			}
			before := snapshot(t, b.Dir())
			if _, _, err := Init(b.Dir(), home(1, 0)); err == nil || !strings.Contains(err.Error(), lost[0]+" is missing") {
				t.Errorf("error is %v", err)
			}
			if !maps.Equal(before, snapshot(t, b.Dir())) {
				t.Error("it changed the bundle")
			}
			if _, err := Open(b.Dir()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Open says %v", err)
			}
		})
	}
}

func TestInit_renewsTheOperatorWhenBothFilesAreGone(t *testing.T) {
	b := bundle(t, home(1, 0))
	for _, name := range []string{"operator/operator.key", "operator/operator.crt"} {
		if err := os.Remove(filepath.Join(b.Dir(), name)); err != nil {
			t.Fatal(err)
		}
	}
	later := home(1, 0)
	later.Now = func() time.Time { return made.Add(400 * day) }
	b2, paths, err := Init(b.Dir(), later)
	if err != nil || len(paths) != 2 {
		t.Fatalf("wrote %v, %v", paths, err)
	}
	if got, want := b2.operator.cert.NotAfter, made.Add(765*day); !got.Equal(want) {
		t.Errorf("it ends %s, want %s", got, want)
	}
}

func TestInit_gitSeesNothing(t *testing.T) {
	dir := t.TempDir()
	mustRun(t, dir, "git", "git", "init", "-q")
	if _, _, err := Init(filepath.Join(dir, "secrets"), home(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cluster.yaml"), []byte("name: home\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustRun(t, dir, "git", "git", "add", "-A")
	if out := mustRun(t, dir, "git", "git", "ls-files"); out != "cluster.yaml\n" {
		t.Errorf("git would commit:\n%s", out)
	}
}

// Cards are often written with sudo; the bundle stays the user's.
func TestRoot_leavesFilesToTheOwnerOfTheDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: files belong to this user in any case")
	}
	parent := t.TempDir()
	owner := os.Geteuid()
	if owner == 0 {
		owner = 1234
	}
	if err := os.Chown(parent, owner, -1); err != nil {
		t.Fatal(err)
	}
	b, _, err := Init(filepath.Join(parent, "secrets"), home(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Record(entry(card(t, b, "raspberrypi-node0")), nil); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(b.Dir(), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && int(info.Sys().(*syscall.Stat_t).Uid) != owner {
			t.Errorf("%s belongs to %d", p, info.Sys().(*syscall.Stat_t).Uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
