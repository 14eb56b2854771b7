package keys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/lab/desk"
)

func TestMain(m *testing.M) { os.Exit(desk.Main(m)) }

// What imagebuilder has made is what is read here.
func TestOpen_readsWhatImagebuilderMakes(t *testing.T) {
	d := desk.New(t, time.Now(), 2, 1)
	d.Renew("pi-node1")
	k, err := Open(d.Bundle.Dir())
	if err != nil || k.ID != d.Bundle.ID() || k.ServerName() != d.Bundle.ServerName() {
		t.Fatalf("%+v, %v", k, err)
	}
	if _, roots, err := k.Operator(); err != nil || roots == nil {
		t.Error(err)
	}
	if end, err := k.OperatorExpires(); err != nil || time.Until(end) < 360*24*time.Hour {
		t.Errorf("the operator's certificate ends on %v, %v", end, err)
	}
	if key, err := k.SSHKey(); err != nil || !strings.HasPrefix(key.Reveal(), "-----BEGIN OPENSSH PRIVATE KEY-----") {
		t.Errorf("the SSH key: %v", err)
	}
	hosts, err := os.ReadFile(k.KnownHosts())
	if err != nil || !strings.Contains(string(hosts), "pi-node0,pi-node0.local,10.77.0.10 ") || !strings.Contains(string(hosts), "spare-1,spare-1.local ") {
		t.Errorf("%v: %s", err, hosts)
	}
	cards, err := k.Cards()
	if err != nil || len(cards) != 4 {
		t.Fatalf("cards %v, %v", cards, err)
	}
	if last := cards[len(cards)-1]; last.Node != "pi-node1" || last.Generation != 2 || last.ID != d.CardID("pi-node1") {
		t.Errorf("the newest card is %+v", last)
	}
}

func TestOpen_withoutSecrets(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cluster.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "names no cluster") {
		t.Errorf("got error %v", err)
	}
}

func TestExposed_namesWhatOthersMayRead(t *testing.T) {
	d := desk.New(t, time.Now(), 1, 0)
	k, err := Open(d.Bundle.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if open, err := k.Exposed(); err != nil || len(open) > 0 {
		t.Errorf("as it was made: %v, %v", open, err)
	}
	key := filepath.Join(k.Dir, "operator/operator.key")
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	if open, err := k.Exposed(); err != nil || len(open) != 1 || open[0] != key {
		t.Errorf("after chmod: %v, %v", open, err)
	}
}
