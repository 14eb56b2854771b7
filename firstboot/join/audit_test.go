package join

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/internal/joinapi"
)

// filled is a log with n entries, and its bytes.
func filled(t *testing.T, n int) (dir string, lines []string) {
	t.Helper()
	dir = t.TempDir()
	l, err := openAudit(dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	for i := range n {
		if _, err := l.add(joinapi.Entry{Time: time.Unix(int64(i), 0).UTC(), Who: "card", Action: "enroll", Result: joinapi.Allowed}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, auditName))
	if err != nil {
		t.Fatal(err)
	}
	return dir, strings.SplitAfter(string(data), "\n")[:n]
}

func TestAudit_tamperingIsFound(t *testing.T) {
	_, lines := filled(t, 5)
	if n, err := joinapi.VerifyAudit(strings.NewReader(strings.Join(lines, ""))); err != nil || n != 5 {
		t.Fatalf("the whole log: %d entries, %v", n, err)
	}
	for name, change := range map[string]func(l []string) []string{
		"an entry changed":      func(l []string) []string { l[2] = strings.Replace(l[2], "enroll", "join", 1); return l },
		"an entry taken out":    func(l []string) []string { return append(l[:2], l[3:]...) },
		"an entry doubled":      func(l []string) []string { return append(l[:2], l[1:]...) },
		"two exchanged":         func(l []string) []string { l[1], l[2] = l[2], l[1]; return l },
		"a line of its own":     func(l []string) []string { l[2] = "{}\n"; return l },
		"no entry":              func(l []string) []string { l[2] = "hello\n"; return l },
		"the first one changed": func(l []string) []string { l[0] = strings.Replace(l[0], "card", "nobody", 1); return l },
	} {
		changed := change(append([]string{}, lines...))
		if _, err := joinapi.VerifyAudit(strings.NewReader(strings.Join(changed, ""))); err == nil {
			t.Errorf("%s: not found", name)
		}
	}
	// Taking the oldest away is what rotation does.
	if n, err := joinapi.VerifyAudit(strings.NewReader(strings.Join(lines[2:], ""))); err != nil || n != 3 {
		t.Errorf("the end of the log: %d entries, %v", n, err)
	}
}

// A service that finds its log changed or cut off says so in it, and goes on.
func TestOpen_verifiesTheAuditLog(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(data []byte) []byte
		want   string
	}{
		"changed": {func(data []byte) []byte { return bytes.Replace(data, []byte("pi-node1"), []byte("pi-node9"), 1) },
			"was damaged and put aside: entry 2 does not follow the entry before it"},
		"zeros":         {func(data []byte) []byte { return append(make([]byte, 100), '\n') }, "the entry after number 0 is not readable"},
		"its end taken": {func(data []byte) []byte { return data[:bytes.IndexByte(data, '\n')+1] }, "is not in the audit log"},
		"all of it":     {func([]byte) []byte { return nil }, "is not in the audit log"},
	} {
		w := newWorld(t, 3, 0)
		w.serve()
		w.newPi("pi-node1", 1).raise()
		w.halt()
		log := filepath.Join(w.dir, auditName)
		data, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(log, tc.change(data), 0o600); err != nil {
			t.Fatal(err)
		}
		w.serve()
		alarms := 0
		for _, e := range w.audit() {
			if e.Result == joinapi.Alarm {
				alarms++
				if !strings.Contains(e.Text, tc.want) {
					t.Errorf("%s: the alarm is %q, want %q", name, e.Text, tc.want)
				}
			}
		}
		if alarms != 1 {
			t.Errorf("%s: %d alarms", name, alarms)
		}
		w.newPi("pi-node2", 2).raise()
	}
}

func TestAudit_rotationKeepsTheChain(t *testing.T) {
	dir := t.TempDir()
	l, err := openAudit(dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", auditSize/3)
	const n = 4*(auditKeep+1) + 2
	for range n {
		if _, err := l.add(joinapi.Entry{Who: "card", Action: "enroll", Result: joinapi.Allowed, Text: long}); err != nil {
			t.Fatal(err)
		}
	}
	var all bytes.Buffer
	if err := l.copyTo(&all); err != nil {
		t.Fatal(err)
	}
	l.close()
	if kept, err := joinapi.VerifyAudit(&all); err != nil || kept >= n || kept < 3*auditKeep {
		t.Errorf("%d of %d entries are kept: %v", kept, n, err)
	}
	if l, err = openAudit(dir, 0, nil); err != nil || l.last.Seq != n {
		t.Fatalf("opened again it ends with entry %d: %v", l.last.Seq, err)
	}
	l.close()
}

// Whoever reads the log while it grows, and its files get other names, reads a chain.
func TestAudit_isReadWhole(t *testing.T) {
	l, err := openAudit(t.TempDir(), 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	long := strings.Repeat("x", auditSize/2)
	var writing sync.WaitGroup
	writing.Go(func() {
		for range 4 * auditKeep {
			if _, err := l.add(joinapi.Entry{Who: "card", Action: "enroll", Result: joinapi.Allowed, Text: long}); err != nil {
				t.Error(err)
			}
		}
	})
	defer writing.Wait()
	for range 40 {
		var all bytes.Buffer
		if err := l.copyTo(&all); err != nil {
			t.Fatal(err)
		}
		if _, err := joinapi.VerifyAudit(&all); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that fails in the middle of a rotation, once, does not end the log.
func TestAudit_outlivesAFailedRotation(t *testing.T) {
	dir := t.TempDir()
	l, err := openAudit(dir, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { l.close() }()
	add := func(text string) error {
		_, err := l.add(joinapi.Entry{Who: "card", Action: "enroll", Result: joinapi.Allowed, Text: text})
		return err
	}
	if err := add(strings.Repeat("x", auditSize)); err != nil {
		t.Fatal(err)
	}
	// Renamed, and then the new file could not be made.
	if err := os.Rename(filepath.Join(dir, auditName), filepath.Join(dir, "audit-000000000001.jsonl")); err != nil {
		t.Fatal(err)
	}
	l.file.Close()
	for range 2 {
		if err := add("later"); err != nil {
			t.Fatal(err)
		}
	}
	var all bytes.Buffer
	if err := l.copyTo(&all); err != nil {
		t.Fatal(err)
	}
	if n, err := joinapi.VerifyAudit(&all); n != 3 || err != nil {
		t.Errorf("%d entries, %v", n, err)
	}
}

// A line that a power cut has left torn is taken off, whatever its length.
func TestAudit_goesOnAfterATornLine(t *testing.T) {
	dir, lines := filled(t, 3)
	name := filepath.Join(dir, auditName)
	whole := strings.Join(lines, "")
	for cut := len(whole) - len(lines[2]) + 1; cut < len(whole); cut += 17 {
		if err := os.WriteFile(name, []byte(whole[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := openAudit(dir, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if at, err := l.add(joinapi.Entry{Action: "x", Result: joinapi.Allowed}); err != nil || at.Seq != 3 {
			t.Errorf("cut at %d: the next entry is %d, %v", cut, at.Seq, err)
		}
		l.close()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := joinapi.VerifyAudit(bytes.NewReader(data)); err != nil || n != 3 {
			t.Errorf("cut at %d: %d entries, %v", cut, n, err)
		}
	}
}
