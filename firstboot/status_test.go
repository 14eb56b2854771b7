package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"picluster/firstboot/report"
	"picluster/firstboot/steps"
	"picluster/internal/cli"
	"picluster/internal/node"
	"picluster/internal/status"
	"picluster/internal/step"
)

// tree is a Pi's root file system as status and logs see it.
type tree struct{ root string }

func newTree(t *testing.T, events ...step.Event) tree {
	t.Helper()
	p := tree{t.TempDir()}
	p.write(t, steps.ConfigPath, marshal(t, plainPi()))
	p.write(t, "/proc/sys/kernel/random/boot_id", "b1\n")
	p.add(t, events...)
	return p
}

func (p tree) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// add appends to the journal, as a run does.
func (p tree) add(t *testing.T, events ...step.Event) {
	t.Helper()
	path := filepath.Join(p.root, steps.JournalPath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, e := range events {
		if err := json.NewEncoder(f).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
}

func event(minute, n int, place string, kind step.Kind, text string) step.Event {
	stage, name, _ := strings.Cut(place, "/")
	return step.Event{Time: time.Date(2026, 11, 25, 8, minute, 0, 0, time.UTC), Boot: "b1", Stage: stage, Step: name, N: n, Of: 9, Kind: kind, Text: text}
}

var (
	working = event(1, 3, "swap/zram", step.Applying, "no swap")
	failing = event(2, 3, "swap/zram", step.Failed, "something new")
	ready   = event(3, 9, "seal/seal", step.Done, "")
)

// output may be read while a command writes it.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	grew func(all string)
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.b.Write(p)
	if o.grew != nil {
		o.grew(o.b.String())
	}
	return n, err
}

func (p tree) run(ctx context.Context, stderr *output, args ...string) (code int, stdout string) {
	var out bytes.Buffer
	env := cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: stderr}
	code = cli.Run(ctx, program(), env, append(args, "--root", p.root))
	return code, out.String()
}

func TestStatus_readsTheDisk(t *testing.T) {
	for name, tc := range map[string]struct {
		tree func(t *testing.T) tree
		code int
		says string
	}{
		"a new Pi":       {func(t *testing.T) tree { return newTree(t) }, cli.OK, "It has just been switched on.\n"},
		"a Pi at work":   {func(t *testing.T) tree { return newTree(t, working) }, cli.OK, "\nNow: swap/zram (step 3 of 9): no swap\n"},
		"a failed one":   {func(t *testing.T) tree { return newTree(t, working, failing) }, cli.Failed, "\nWhy: something new\nSince: Wed 25 Nov 2026, 08:01 UTC\n"},
		"one that is up": {func(t *testing.T) tree { return newTree(t, working, ready) }, cli.OK, "This Pi is configured: it is node1 of the cluster home.\n"},
		"a sealed one": {func(t *testing.T) tree {
			p := newTree(t)
			p.write(t, steps.SealPath, "node1\n")
			return p
		}, cli.OK, "This Pi is configured: it is node1 of the cluster home.\n"},
		"another boot": {func(t *testing.T) tree {
			p := newTree(t, working)
			p.write(t, "/proc/sys/kernel/random/boot_id", "b2\n")
			return p
		}, cli.OK, "It has just been switched on.\n"},
		"a damaged document": {func(t *testing.T) tree {
			p := newTree(t)
			p.write(t, steps.ConfigPath, "{")
			return p
		}, cli.Failed, "This Pi was NOT configured.\nWhy: read node.json: unexpected end of JSON input\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr output
			p := tc.tree(t)
			code, text := p.run(t.Context(), &stderr, "status")
			if code != tc.code || !strings.Contains(text, tc.says) {
				t.Errorf("exit code %d\n%s%s", code, text, stderr.b.String())
			}
			jsonCode, data := p.run(t.Context(), &stderr, "status", "-o", "json")
			var s status.Status
			if err := json.Unmarshal([]byte(data), &s); err != nil || jsonCode != code || s.Version != 1 || report.Sentences(s) != text {
				t.Errorf("as JSON: exit code %d, %v\n%s", jsonCode, err, data)
			}
			if strings.Contains(text+data+stderr.b.String(), "planted") {
				t.Errorf("a secret is shown:\n%s%s", text, data)
			}
		})
	}
}

func TestStatus_waits(t *testing.T) {
	for name, tc := range map[string]struct {
		then step.Event
		code int
	}{"until it is ready": {ready, cli.OK}, "until it has failed": {failing, cli.Failed}} {
		t.Run(name, func(t *testing.T) {
			p := newTree(t)
			stderr := output{}
			// What is seen is followed by what happens next, so nothing here is a matter of time.
			stderr.grew = func(all string) {
				switch all {
				case "node1: starting\n":
					p.add(t, working)
				case "node1: starting\nnode1: running: swap/zram (step 3 of 9): no swap\n":
					p.add(t, tc.then)
				}
			}
			code, text := p.run(t.Context(), &stderr, "status", "--wait")
			if code != tc.code || !strings.Contains(text, "node1 of the cluster home") || !strings.HasPrefix(stderr.b.String(), "node1: starting\nnode1: running: swap/zram (step 3 of 9): no swap\n") {
				t.Errorf("exit code %d\n%s%s", code, text, stderr.b.String())
			}
		})
	}
}

func TestStatus_givesUpWaiting(t *testing.T) {
	var stderr output
	code, text := newTree(t, working).run(t.Context(), &stderr, "status", "--wait", "--timeout", "1ms")
	if code != cli.Timeout || text != "" || !strings.Contains(stderr.b.String(), "error: wait for this Pi: not ready after 1ms\n") {
		t.Errorf("exit code %d\n%s%s", code, text, stderr.b.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	stderr = output{grew: func(string) { cancel() }} // Ctrl-C
	if code, _ := newTree(t, working).run(ctx, &stderr, "status", "--wait"); code != 130 {
		t.Errorf("exit code %d\n%s", code, stderr.b.String())
	}
}

// Without root node.json cannot be read; here it is not there at all.
func TestStatus_asksThePage(t *testing.T) {
	want := report.Make(report.Facts{Config: plainPi(), Summary: step.Summarize([]step.Event{working}), Boot: "b1"})
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(want) })
	page := httptest.NewServer(answer)
	defer page.Close()
	var stderr output
	empty := tree{t.TempDir()}
	code, text := empty.run(t.Context(), &stderr, "status", "--page", page.URL)
	if code != cli.OK || text != report.Sentences(want) {
		t.Errorf("exit code %d\n%s%s", code, text, stderr.b.String())
	}
	for name, handler := range map[string]http.HandlerFunc{
		"another program's page": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"another release":        func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"version": 2}`)) },
		"nothing there":          http.NotFound,
	} {
		other := httptest.NewServer(handler)
		defer other.Close()
		stderr = output{}
		code, text := empty.run(t.Context(), &stderr, "status", "--page", other.URL)
		says := stderr.b.String()
		if code != cli.Device || text != "" || !strings.Contains(says, "error: read /etc/picluster/node.json: no such file or directory\n") ||
			!strings.Contains(says, "error: ask status page: ") || !strings.Contains(says, "hint: sudo firstboot status") {
			t.Errorf("%s: exit code %d\n%s%s", name, code, text, says)
		}
	}
}

func TestStatus_refusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, args := range [][]string{{"status", "node1"}, {"status", "-o", "yaml"}, {"status", "--timeout", "1m"}, {"status", "--wait", "--timeout", "-1s"}, {"logs", "node1"}} {
		var stderr output
		if code, _ := newTree(t).run(t.Context(), &stderr, args...); code != cli.Usage {
			t.Errorf("%v: exit code %d\n%s", args, code, stderr.b.String())
		}
	}
}

// The page's list of stages is a copy in people's words.
func TestStatus_listsTheStagesOfTheRun(t *testing.T) {
	for _, role := range []node.Role{node.ControlPlane, node.Worker} {
		c := plainPi()
		c.Role = role
		c.Kubernetes, c.Storage, c.System.Packages = &node.Kubernetes{}, &node.Storage{}, []string{"htop"}
		var got, want []string
		for _, s := range report.Make(report.Facts{Config: c}).Stages {
			got = append(got, s.Name)
		}
		for _, s := range steps.Run(c, steps.Env{Boot: bootDir}) {
			// Both have steps on some boards only: USB boot, and another swap than the image's.
			if len(s.Steps) > 0 || s.Name == "firmware" || s.Name == "swap" {
				want = append(want, s.Name)
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: the status has the stages %v, the run %v", role, got, want)
		}
	}
}

func TestLogs_printTheJournal(t *testing.T) {
	p := newTree(t, working, failing, ready)
	lines := []string{
		"2026-11-25 08:01:00Z  swap/zram 3/9                        applying  no swap\n",
		"2026-11-25 08:02:00Z  swap/zram 3/9                        failed    something new\n",
		"2026-11-25 08:03:00Z  seal/seal 9/9                        done\n",
	}
	for last, want := range map[string]string{"-1": strings.Join(lines, ""), "2": lines[1] + lines[2], "0": "", "100": strings.Join(lines, "")} {
		var stderr output
		if code, text := p.run(t.Context(), &stderr, "logs", "-n", last); code != cli.OK || text != want {
			t.Errorf("the last %s: exit code %d\n%s%s", last, code, text, stderr.b.String())
		}
	}
	var stderr output
	if code, text := (tree{t.TempDir()}).run(t.Context(), &stderr, "logs"); code != cli.OK || text != "" || stderr.b.String() != "Nothing has been done to this Pi yet.\n" {
		t.Errorf("without a journal: exit code %d\n%s%s", code, text, stderr.b.String())
	}
}

// Following goes on over a run that cuts the journal's beginning off.
func TestLogs_follow(t *testing.T) {
	p := newTree(t, working)
	ctx, cancel := context.WithCancel(t.Context())
	stdout := output{}
	step := 0
	stdout.grew = func(all string) {
		step++
		switch step {
		case 1:
			p.add(t, failing)
		case 2: // only the last event and a new one are left
			p.write(t, steps.JournalPath, "")
			p.add(t, failing, ready)
		case 3:
			cancel()
		}
	}
	code := cli.Run(ctx, program(), cli.Env{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: new(output)}, []string{"logs", "-f", "--root", p.root})
	want := report.Line(working) + "\n" + report.Line(failing) + "\n" + report.Line(ready) + "\n"
	if code != cli.OK || stdout.b.String() != want {
		t.Errorf("exit code %d\n%s", code, stdout.b.String())
	}
}
