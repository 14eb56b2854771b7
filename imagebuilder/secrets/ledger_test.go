package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func entry(c *Card) Entry {
	return Entry{Node: c.Name(), CardID: c.ID(), Generation: c.Generation(), Time: made.Add(time.Hour + time.Millisecond),
		Device: Device{Path: "/dev/mmcblk0", Model: "SD32G", Serial: "0x1234", Size: 32 << 30}, ImageSHA256: strings.Repeat("ab", 32), Size: 2 << 30}
}

func TestNext_walksThroughTheCards(t *testing.T) {
	want := home(2, 1)
	b := bundle(t, want)
	for _, expected := range want.names() {
		name, ok, err := b.Next(want.names())
		if err != nil || !ok || name != expected {
			t.Fatalf("next is %q, %v, %v, want %s", name, ok, err, expected)
		}
		if err := b.Record(entry(card(t, b, name)), []byte("sums of "+name)); err != nil {
			t.Fatal(err)
		}
		if b, err = Open(b.Dir()); err != nil {
			t.Fatal(err)
		}
	}
	if name, ok, err := b.Next(want.names()); ok || err != nil {
		t.Errorf("after the last comes %q, %v", name, err)
	}
	if _, err := b.Renew("raspberrypi-node1", want); err != nil {
		t.Fatal(err)
	}
	if left, err := b.Unwritten(want.names()); err != nil || len(left) != 1 || left[0] != "raspberrypi-node1" {
		t.Errorf("after a renewal %v is to be written, %v", left, err)
	}
}

func TestRecord_readsBack(t *testing.T) {
	b := bundle(t, home(1, 0))
	e := entry(card(t, b, "raspberrypi-node0"))
	if l, err := b.Ledger(); err != nil || len(l.Written) != 0 {
		t.Fatalf("a new bundle's ledger is %v, %v", l, err)
	}
	for _, sums := range []string{"first", "second"} {
		if err := b.Record(e, []byte(sums)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := b.Ledger()
	if err != nil || len(l.Written) != 2 {
		t.Fatalf("ledger is %v, %v", l, err)
	}
	last, ok := l.Last("raspberrypi-node0")
	e.Time = made.Add(time.Hour)
	if !ok || last != e {
		t.Errorf("last entry is %+v, want %+v", last, e)
	}
	if sums, err := b.Sums(last); err != nil || string(sums) != "second" {
		t.Errorf("sums are %q, %v", sums, err)
	}
	if _, ok := l.Last("spare-1"); ok {
		t.Error("a card that was never written has an entry")
	}
	last.Generation = 7
	if _, err := b.Sums(last); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sums that were never kept give %v", err)
	}
}

func TestRecord_manyAtOnceLoseNothing(t *testing.T) {
	want := home(12, 0)
	dir := bundle(t, want).Dir()
	var wg sync.WaitGroup
	errs := make(chan error, 12)
	for _, name := range want.names() {
		wg.Go(func() { // each with a bundle of its own, as processes have
			b, err := Open(dir)
			if err == nil {
				var c *Card
				if c, err = b.Card(name); err == nil {
					err = b.Record(entry(c), nil)
				}
			}
			errs <- err
		})
	}
	wg.Wait()
	for range 12 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := b.Unwritten(want.names()); err != nil || len(left) > 0 {
		t.Errorf("%v are missing in the ledger, %v", left, err)
	}
}

func TestInit_manyAtOnceMakeOneBundle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ids := make(chan string, 4)
	for range 4 {
		go func() {
			b, _, err := Init(dir, home(2, 1))
			if err != nil {
				ids <- err.Error()
				return
			}
			ids <- b.ID() + card(t, b, "spare-1").ID()
		}()
	}
	first := <-ids
	for range 3 {
		if id := <-ids; id != first {
			t.Errorf("two runs made %s and %s", first, id)
		}
	}
	settled(t, dir, home(2, 1))
}

func TestRecord_refusesWhatNamesNoCard(t *testing.T) {
	b := bundle(t, home(1, 0))
	for _, e := range []Entry{{}, {Node: "../ca/enrolment", CardID: "x", Generation: 1}, {Node: "a", CardID: "x"}, {Node: "a", Generation: 1}} {
		if err := b.Record(e, nil); err == nil {
			t.Errorf("%+v is accepted", e)
		}
	}
	if _, err := b.Sums(Entry{Node: "../ca/enrolment", Generation: 1}); err == nil {
		t.Error("sums are read from outside their directory")
	}
}

func TestLedger_refusesADamagedRecord(t *testing.T) {
	b := bundle(t, home(1, 0))
	for _, text := range []string{"", "{", `{"version":2}`, `{"version":1,"wrote":[]}`} {
		if err := os.WriteFile(filepath.Join(b.Dir(), "cards.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Ledger(); err == nil || !strings.Contains(err.Error(), "cards.json") {
			t.Errorf("%q gives %v", text, err)
		}
		if err := b.Record(entry(card(t, b, "raspberrypi-node0")), nil); err == nil {
			t.Errorf("%q: an entry is added to it", text)
		}
		if got := fmt.Sprint(os.ReadFile(filepath.Join(b.Dir(), "cards.json"))); got != fmt.Sprint([]byte(text), nil) {
			t.Errorf("%q was overwritten", text)
		}
	}
}
