package hosttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"sync"
	"testing"

	"picluster/internal/host"
)

// equal compares; values can be long, so that only their beginnings are shown.
func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %.300q, want %.300q", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}

func runTellsHowItEnded(b bench) {
	for _, code := range []int{0, 1, 2, 77, 126, 127, 255} {
		c := sh(`echo output; echo first >&2; echo last >&2; exit $1`, fmt.Sprint(code))
		out, err := b.h.Run(b.Context(), c)
		equal(b, "output", string(out), "output\n")
		if code == 0 {
			equal(b, "error", err, nil)
			continue
		}
		exit := b.exit(err)
		equal(b, "error", *exit, host.ExitError{Args: c.Args, Code: code, Stderr: []byte("first\nlast\n")})
		if text := err.Error(); !strings.HasSuffix(text, fmt.Sprintf(": exit status %d: last", code)) {
			b.Errorf("the error says %q", text)
		}
	}
}

func runTellsWhatKilled(b bench) {
	for _, signal := range []string{"TERM", "KILL", "USR1"} { // which nobody who starts the tests has them ignore
		out, err := b.h.Run(b.Context(), sh(`echo output; kill -s $1 $$`, signal))
		exit := b.exit(err)
		equal(b, "output", string(out), "output\n")
		equal(b, "signal", exit.Signal, signal)
		equal(b, "code", exit.Code, -1)
	}
}

func runKnowsNoSuchProgram(b bench) {
	out, err := b.h.Run(b.Context(), host.Cmd{Args: []string{"no-such-program", "at all"}})
	equal(b, "code", b.exit(err).Code, 127)
	equal(b, "output", len(out), 0)
}

func runReturnsAllOutput(b bench) {
	out, err := b.h.Run(b.Context(), sh(`i=0
		while [ $i -lt 64 ]; do printf %016384d 0; printf %016384d 0 >&2; i=$((i+1)); done; exit 1`))
	equal(b, "bytes of output", len(out), 1<<20)
	equal(b, "bytes of standard error", len(b.exit(err).Stderr), 1<<20)
}

func runPassesArguments(b bench) {
	args := []string{"", " ", "two words", "line\nline", "tab\t", `"`, `'`, `\`, `'\''`, "$HOME", "$(id)", "`id`", "*", "~",
		"-n", "--", "a=b", "#", ";", "&", "|", "<", ">", "!", "{a,b}", "ä€😀", "\xff\xfe", "\x01\x7f", strings.Repeat("x", 100_000)}
	out := b.run(`printf '%s\0' "$@"`, args...)
	equal(b, "arguments", strings.Split(strings.TrimSuffix(out, "\x00"), "\x00"), args)
}

func runSetsEnvironment(b bench) {
	c := sh(`printf '%s\n' "$LC_ALL" "$HOME" "$WORDS" "$LINES_" "$TWICE"`)
	c.Env = []string{"WORDS=it's  two $HOME", "LINES_=a=b", "TWICE=once", "TWICE=again"}
	out, err := b.h.Run(b.Context(), c)
	equal(b, "error", err, nil)
	equal(b, "environment", string(out), "C.UTF-8\n/root\nit's  two $HOME\na=b\nagain\n")

	path := b.run(`printf %s "$PATH"`)
	if !strings.HasSuffix(path, "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") {
		b.Errorf("PATH is %s", path)
	}
	c = sh(`printf %s "$LC_ALL"`)
	c.Env = []string{"LC_ALL=POSIX"}
	out, _ = b.h.Run(b.Context(), c)
	equal(b, "LC_ALL", string(out), "POSIX")
}

func runPassesInput(b bench) {
	data := bytes.Repeat([]byte("0123456789\n\x00\xff\r\n\x04"), 1<<16) // 1 MiB
	c := sh(`cat`)
	c.Stdin = bytes.NewReader(data)
	out, err := b.h.Run(b.Context(), c)
	if err != nil || !bytes.Equal(out, data) {
		b.Errorf("%d bytes came back of %d: %v", len(out), len(data), err)
	}
	equal(b, "without input", b.run(`cat`), "")
}

// never is an input that never comes and never ends.
type never struct{}

func (never) Read([]byte) (int, error) { select {} }

func runNeedsNoReader(b bench) {
	for _, input := range []io.Reader{never{}, zeros{}} {
		c := sh(`exit 3`)
		c.Stdin = input
		_, err := b.h.Run(b.Context(), c)
		equal(b, "code", b.exit(err).Code, 3)
		c = sh(`echo done`)
		c.Stdin = input
		out, err := b.h.Run(b.Context(), c)
		equal(b, "output", string(out), "done\n")
		equal(b, "error", err, nil)
	}
}

// zeros is an input without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Half of an input must not pass for all of it: a program cannot tell the two.
func runReportsBrokenInput(b bench) {
	torn := errors.New("the tape is torn")
	c := sh(`cat`)
	c.Stdin = io.MultiReader(strings.NewReader("half"), broken{torn})
	_, err := b.h.Run(b.Context(), c)
	if !errors.Is(err, torn) {
		b.Errorf("got error %v, want %v", err, torn)
	}
}

type broken struct{ err error }

func (r broken) Read([]byte) (int, error) { return 0, r.err }

func runRefuses(b bench) {
	mark := b.path("mark")
	for _, c := range []host.Cmd{
		{},
		{Args: []string{""}},
		{Args: []string{"-c"}},
		{Args: []string{"A=b", "sh", "-c", "exit 0"}},
		{Args: []string{"sh", "-c", `touch "$ROOT$1"`, "sh", mark, "zero\x00byte"}},
		{Args: []string{"sh", "-c", `touch "$ROOT$1"`, "sh", mark}, Env: []string{"A=\x00"}},
		{Args: []string{"sh", "-c", `touch "$ROOT$1"`, "sh", mark}, Env: []string{"A"}},
		{Args: []string{"sh", "-c", `touch "$ROOT$1"`, "sh", mark}, Env: []string{"=b"}},
		{Args: []string{"sh", "-c", `touch "$ROOT$1"`, "sh", mark}, Env: []string{"-i=b"}},
	} {
		if out, err := b.h.Run(b.Context(), c); err == nil || len(out) > 0 {
			b.Errorf("%q ran: output %q, error %v", c.Args, out, err)
		}
	}
	b.has(b.dir)
}

func runStartsNothingAfterTheEnd(b bench) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(b.Context())
	cancel(why)
	_, err := b.h.Run(ctx, sh(`touch "$ROOT$1"`, b.path("mark")))
	if !errors.Is(err, why) {
		b.Errorf("got error %v, want %v", err, why)
	}
	b.has(b.dir)
}

// interrupted runs a script, cancels it once it has made the file "ready", and
// returns when nobody holds the named pipe "alive" open any more: that is how a test
// knows without looking at clocks or process tables that all are gone.
func (b bench) interrupted(script string) (stdout string) {
	b.Helper()
	ready, alive := b.path("ready"), b.path("alive")
	b.run(`mkfifo "$ROOT$1"`, alive)
	gone := make(chan error, 1)
	go func() {
		_, err := b.h.Run(b.Context(), sh(`cat "$ROOT$1"`, alive))
		gone <- err
	}()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(b.Context())
	defer cancel(nil)
	var out []byte
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out, err = b.h.Run(ctx, sh("ready=$ROOT$1 alive=$ROOT$2\n"+script, ready, alive))
	}()
	b.until("the program is ready", func() bool {
		_, err := b.h.Stat(b.Context(), ready)
		return !errors.Is(err, fs.ErrNotExist)
	})
	cancel(why)
	<-ended
	if !errors.Is(err, why) {
		b.Errorf("got error %v, want %v", err, why)
	}
	equal(b, "error of the process that waits", <-gone, nil)
	return string(out)
}

func runEndsChildren(b bench) {
	out := b.interrupted(`exec 9>"$alive"
		sleep 1000 & sleep 1000 >/dev/null 2>&1 &
		echo output
		: >"$ready"
		wait`)
	equal(b, "output until then", out, "output\n")
}

func runLetsTidyUp(b bench) {
	b.interrupted(`exec 9>"$alive"
		trap 'rm "$ready"; echo tidy >"$ready.tidied"; exit 0' TERM
		sleep 1000 & : >"$ready"; wait`)
	b.has(b.dir, "alive", "ready.tidied")
}

func runKillsTheDeaf(b bench) {
	b.interrupted(`exec 9>"$alive"
		trap '' TERM
		sleep 1000 & : >"$ready"; wait; wait`)
}

// The program itself goes, a child of its does not, and nothing of it shows: it
// holds neither of the outputs.
func runKillsDeafOrphans(b bench) {
	b.interrupted(`exec 9>"$alive"
		(trap '' TERM; exec >/dev/null 2>&1; : >"$ready"; sleep 1000; sleep 1000) &
		wait`)
}

// One connection of ssh has ten sessions unless the server is told otherwise,
// sshd_config(5), MaxSessions.
func runManyAtOnce(b bench) {
	var all sync.WaitGroup
	outs := make([]string, 15)
	for i := range outs {
		all.Go(func() {
			c := sh(`cat; echo $1`, fmt.Sprint(i))
			c.Stdin = strings.NewReader("number ")
			out, err := b.h.Run(b.Context(), c)
			equal(b, "error", err, nil)
			outs[i] = string(out)
		})
	}
	all.Wait()
	for i, out := range outs {
		equal(b, "output", out, fmt.Sprintf("number %d\n", i))
	}
}
