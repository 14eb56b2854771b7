package report

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/host"
	"picluster/internal/status"
	"picluster/internal/step"
)

// fat is a card's directory, and how often files of it were written.
type fat struct {
	card
	writes map[string]int
	said   bytes.Buffer
	now    time.Time
}

func newFAT(t *testing.T) *fat {
	t.Helper()
	f := &fat{writes: map[string]int{}, now: time.Now()}
	h := host.Local{Root: t.TempDir(), Fault: func(op, path string) {
		if op == "rename" {
			f.writes[strings.TrimPrefix(path, "/boot/")]++
		}
	}}
	f.card = card{host: h, dir: "/boot", log: slog.New(slog.NewTextHandler(&f.said, nil))}
	return f
}

func (f *fat) file(name string) string { return filepath.Join(f.host.(host.Local).Root, "boot", name) }

// after shows a status some time later and tells how often STATUS.txt and the log
// have been written by then.
func (f *fat) after(t *testing.T, d time.Duration, s status.Status, r *ring) (status, log int, again time.Duration) {
	f.now = f.now.Add(d)
	next := f.show(t.Context(), s, r, f.now, false)
	if !next.IsZero() {
		again = next.Sub(f.now)
	}
	return f.writes[statusFile], f.writes[logFile], again
}

func TestCard_writesTheStatusEveryFiveSecondsAtMost(t *testing.T) {
	f, r := newFAT(t), newRing(newRedactor(nil))
	doing := func(text string) status.Status {
		return Make(facts(worker(), at(1, "swap/zram", 20, step.Applying, text)))
	}
	for _, tc := range []struct {
		what  string
		after time.Duration
		s     status.Status
		want  int
		again time.Duration
	}{
		{"the first, at once", 0, doing("a"), 1, 0},
		{"the same again", time.Hour, doing("a"), 1, 0},
		{"another, long after", 0, doing("b"), 2, 0},
		{"another, soon after", time.Second, doing("c"), 2, 4 * time.Second},
		{"still too soon", 3 * time.Second, doing("d"), 2, time.Second},
		{"then", time.Second, doing("d"), 3, 0},
		{"a failure, at once", time.Second, Make(facts(worker(), at(2, "swap/zram", 20, step.Failed, "e"))), 4, 0},
		{"a reboot, at once", time.Second, Make(facts(worker(), at(2, "disk/root", 5, step.Reboot, "e"))), 5, 0},
		{"done, at once", time.Second, Make(facts(worker()).sealed()), 6, 0},
		{"done", time.Hour, Make(facts(worker()).sealed()), 6, 0},
	} {
		if got, _, again := f.after(t, tc.after, tc.s, r); got != tc.want || again != tc.again {
			t.Errorf("%s: written %d times and again in %v, want %d and %v", tc.what, got, again, tc.want, tc.again)
		}
		text, err := os.ReadFile(f.file(statusFile))
		if err != nil || bytes.Count(text, []byte("\n")) != bytes.Count(text, []byte("\r\n")) {
			t.Errorf("%s: STATUS.txt is %q, %v", tc.what, text, err)
		}
	}
}

func TestCard_writesTheLogInBatches(t *testing.T) {
	f, r := newFAT(t), newRing(newRedactor(nil))
	s := Make(facts(worker()))
	r.add("one")
	if _, log, _ := f.after(t, 0, s, r); log != 1 {
		t.Errorf("the first lines were written %d times", log)
	}
	for range 29 {
		r.add("more")
		if _, log, again := f.after(t, time.Second, s, r); log != 1 || again == 0 {
			t.Fatalf("written %d times in half a minute, again in %v", log, again)
		}
	}
	if _, log, again := f.after(t, time.Second, s, r); log != 2 || again != 0 {
		t.Errorf("after half a minute it was written %d times, again in %v", log, again)
	}
	if _, log, _ := f.after(t, time.Hour, s, r); log != 2 {
		t.Errorf("with nothing new it was written %d times", log)
	}
	r.add("last words")
	f.show(t.Context(), s, r, f.now, true)
	if text, err := os.ReadFile(f.file(logFile)); err != nil || !strings.HasPrefix(string(text), "one\nmore\n") || !strings.HasSuffix(string(text), "\nlast words\n") {
		t.Errorf("at the end the log is %q, %v", text, err)
	}
}

// A FAT partition that cannot be written is told once, and gone on with once it can.
func TestCard_copesWithAFullCard(t *testing.T) {
	f, r := newFAT(t), newRing(newRedactor(nil))
	root := f.host.(host.Local).Root
	if err := os.WriteFile(filepath.Join(root, "boot"), nil, 0o644); err != nil { // no directory
		t.Fatal(err)
	}
	s := Make(facts(worker(), at(2, "swap/zram", 20, step.Failed, "e")))
	r.add("a line")
	for range 20 {
		if _, _, again := f.after(t, 7*time.Second, s, r); again == 0 {
			t.Error("it does not try again")
		}
	}
	if n := strings.Count(f.said.String(), "\n"); n != 1 || !strings.Contains(f.said.String(), "write /boot/STATUS.txt: ") {
		t.Errorf("it says %d times\n%s", n, f.said.String())
	}
	if err := os.Remove(filepath.Join(root, "boot")); err != nil {
		t.Fatal(err)
	}
	f.after(t, time.Minute, s, r)
	for _, name := range []string{statusFile, logFile} {
		if data, err := os.ReadFile(f.file(name)); err != nil || len(data) == 0 {
			t.Errorf("afterwards %s is %q, %v", name, data, err)
		}
	}
}

func TestLog_isBounded(t *testing.T) {
	r := newRing(newRedactor(nil))
	for i := range 3000 {
		r.add(strings.Repeat("x", i) + " end")
	}
	lines, _ := r.text()
	if len(lines) > maxLog || len(lines) < maxLog/2 {
		t.Errorf("it has %d bytes", len(lines))
	}
	for line := range bytes.Lines(lines) {
		if !bytes.HasPrefix(line, []byte("x")) || len(line) > maxLine+len("…\n") {
			t.Fatalf("a line of %d bytes begins with %.20q", len(line), line)
		}
	}
}

func TestLog_survivesReboots(t *testing.T) {
	f, r := newFAT(t), newRing(newRedactor(nil))
	r.add("of the first boot")
	f.show(t.Context(), Make(facts(worker())), r, f.now, true)

	later := &card{host: f.host, dir: f.dir, log: f.log}
	second := newRing(newRedactor(nil))
	if found, err := later.load(t.Context(), second); !found || err != nil {
		t.Fatalf("the log is found: %v, %v", found, err)
	}
	second.add("of the second boot")
	later.show(t.Context(), Make(facts(worker())), second, f.now, true)
	if text, _ := os.ReadFile(f.file(logFile)); string(text) != "of the first boot\nof the second boot\n" {
		t.Errorf("the log is %q", text)
	}
}

// Whoever has had the card may have put a film there.
func TestLog_takesNoMoreThanItsOwnSizeFromTheCard(t *testing.T) {
	f := newFAT(t)
	if err := os.MkdirAll(filepath.Dir(f.file(logFile)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.file(logFile), bytes.Repeat([]byte("\x1b[2Jfilm\x00\n"), 1<<17), 0o644); err != nil {
		t.Fatal(err)
	}
	r := newRing(newRedactor(nil))
	if _, err := f.load(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if lines, _ := r.text(); len(lines) > maxLog || bytes.ContainsAny(lines, "\x1b\x00") {
		t.Errorf("it has %d bytes, %.30q", len(lines), lines)
	}
}
