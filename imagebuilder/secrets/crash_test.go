package secrets

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var errCut = errors.New("the power is cut")

// cutAt returns a fault that stops the work at the nth change. A write that is
// cut leaves half a temporary file behind.
func cutAt(s *store, n int) func(op, name string) error {
	return func(op, name string) error {
		if n--; n >= 0 {
			return nil
		}
		if op == "write" {
			torn := s.path(name)
			if !strings.Contains(name, tmpSuffix) {
				torn += tmpSuffix
			}
			if err := os.WriteFile(torn, []byte("-----BEGIN PRIV"), 0o600); err != nil {
				return err
			}
		}
		return errCut
	}
}

// settled fails the test unless the bundle is whole and nothing half made is
// left of it.
func settled(t *testing.T, dir string, want Want) {
	t.Helper()
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range want.names() {
		card(t, b, name)
	}
	if _, _, err := b.Inventory(want); err != nil {
		t.Fatal(err)
	}
	for name := range snapshot(t, dir) {
		if strings.Contains(name, tmpSuffix) {
			t.Errorf("%s is left over", name)
		}
	}
}

// Cut at every change that Init makes, then run it again: what was final before
// the cut is the same afterwards, and the bundle is whole.
func TestInit_completesWhatAPowerCutLeft(t *testing.T) {
	want := home(1, 1)
	for n := 0; ; n++ {
		dir := filepath.Join(t.TempDir(), "secrets")
		s := &store{dir: dir}
		s.fault = cutAt(s, n)
		_, err := complete(s, want)
		if err == nil {
			if n < 25 {
				t.Errorf("Init made only %d changes", n)
			}
			break
		}
		if !errors.Is(err, errCut) {
			t.Fatalf("cut %d: %v", n, err)
		}
		before := map[string]string{}
		if n > 0 {
			before = snapshot(t, dir)
		}
		if _, err := Open(dir); err == nil && before["known_hosts"] != "" {
			t.Errorf("cut %d: nothing is missing, yet Init was not done", n)
		}
		_, written, err := Init(dir, want)
		if err != nil {
			t.Fatalf("cut %d, second run: %v", n, err)
		}
		settled(t, dir, want)
		after := snapshot(t, dir)
		for name, sum := range before {
			if !strings.Contains(name, tmpSuffix) && after[name] != sum {
				t.Errorf("cut %d: %s has changed", n, name)
			}
		}
		finals := len(after) - 1 // .lock
		for name := range before {
			if name != ".lock" && !strings.Contains(name, tmpSuffix) {
				finals--
			}
		}
		if len(written) != finals {
			t.Errorf("cut %d: the second run reports %d files, there are %d new ones", n, len(written), finals)
		}
	}
}

func TestRenew_powerCutLeavesTheOldCardOrTheNew(t *testing.T) {
	want := home(2, 0)
	for n := 0; ; n++ {
		b := bundle(t, want)
		old := card(t, b, "raspberrypi-node0")
		b.store.fault = cutAt(b.store, n)
		_, err := b.Renew("raspberrypi-node0", want)
		if err == nil {
			if n != 9 {
				t.Errorf("Renew made %d changes, want 9", n)
			}
			break
		}
		if !errors.Is(err, errCut) {
			t.Fatalf("cut %d: %v", n, err)
		}
		again, err := Open(b.Dir())
		if err != nil {
			t.Fatalf("cut %d: %v", n, err)
		}
		if c := card(t, again, "raspberrypi-node0"); c.ID() != old.ID() {
			t.Errorf("cut %d: half a renewal shows", n)
		}
		c, err := again.Renew("raspberrypi-node0", want)
		if err != nil || c.Generation() != 2 || again.service.hasURN(again.cluster.serviceURN(1)) {
			t.Fatalf("cut %d, second try: generation %d, %v", n, c.Generation(), err)
		}
		settled(t, b.Dir(), want)
	}
}

func TestRecord_powerCutLosesNoEarlierEntry(t *testing.T) {
	want := home(2, 0)
	for n := 0; ; n++ {
		b := bundle(t, want)
		if err := b.Record(entry(card(t, b, "raspberrypi-node0")), []byte("zero")); err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, b.Dir())
		b.store.fault = cutAt(b.store, n)
		err := b.Record(entry(card(t, b, "raspberrypi-node1")), []byte("one"))
		if err == nil {
			break
		}
		if !errors.Is(err, errCut) {
			t.Fatalf("cut %d: %v", n, err)
		}
		b, err = Open(b.Dir())
		if err != nil {
			t.Fatal(err)
		}
		if next, ok, err := b.Next(want.names()); err != nil || !ok || next != "raspberrypi-node1" {
			t.Errorf("cut %d: next is %s, %v, %v", n, next, ok, err)
		}
		after := snapshot(t, b.Dir())
		maps.DeleteFunc(after, func(name, _ string) bool { return before[name] == "" })
		if !maps.Equal(before, after) {
			t.Errorf("cut %d: an earlier file has changed", n)
		}
		if err := b.Record(entry(card(t, b, "raspberrypi-node1")), []byte("one")); err != nil {
			t.Fatal(err)
		}
		settled(t, b.Dir(), want)
	}
}
