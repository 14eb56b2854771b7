// Package hosttest is for tests of what works on a host.Host: a directory tree with
// fake programs that stands in for a machine, a tree with real ones, an ssh server,
// and the tests that every Host must pass.
//
// A fake program is a small shell script that stands for one thing of a machine that
// a test cannot have, such as systemd. Files are never faked: the tree has them. It
// knows nothing of any particular program; a fake that several packages need lives
// with the first of them.
package hosttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"picluster/internal/host"
)

// Machine is a directory tree with fake programs. Its Local can be copied, to set
// Fault or Log. A program that nobody made fails the test, whatever becomes of the
// error.
type Machine struct {
	host.Local

	t   testing.TB
	dir string // of what is not the machine's: programs, calls
}

// NewMachine makes an empty tree, which goes away with the test.
func NewMachine(t testing.TB) *Machine {
	t.Helper()
	root, dir := t.TempDir(), t.TempDir()
	m := &Machine{Local: host.Local{Root: root, Commands: filepath.Join(dir, "bin")}, t: t, dir: dir}
	for _, name := range []string{m.Commands, m.path("calls")} {
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(m.reportUnexpected)
	return m
}

func (m *Machine) path(name string) string { return filepath.Join(m.dir, name) }

// Run implements host.Host.
func (m *Machine) Run(ctx context.Context, c host.Cmd) ([]byte, error) {
	out, err := m.Local.Run(ctx, c)
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code == 127 && len(exit.Stderr) == 0 {
		m.t.Errorf("run %s: the test has made no such program", c)
	}
	return out, err
}

// fake is a fake program. Its call is recorded before the script runs, and by the
// machine's own programs, also if there are fake ones of that name. The lock makes
// a number per call, and the calls' order.
const fake = `#!/bin/sh
path=$PATH PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec 9>>%[1]s/lock
flock 9
call=%[1]s/$(printf %%06d $(ls %[1]s | grep -c args))
printf '%%s\0' %[2]s "$@" >"$call.args"
exec 9>&-
cat >"$call.stdin"
exec <"$call.stdin"
PATH=$path
unexpected() {
	echo "%[2]s: the test does not expect: $*" >&2
	: >"$call.unexpected"
	exit 99
}
unset path
set -e
%[3]s
`

// Fake makes a fake program, or another one of that name. The script is one for a
// POSIX shell that stops at errors (set -e); "" does nothing, successfully. It finds
// the machine's root in $ROOT; its standard input has been read to the end, recorded,
// and can be read again; other fakes can be called by name, and after them the
// test's own machine's programs. `unexpected "$@"` fails the test, and the program:
//
//	m.Fake("systemctl", `case "$*" in
//		"is-active ssh.service") echo active ;;
//		*) unexpected "$@" ;;
//	esac`)
func (m *Machine) Fake(name, script string) {
	m.t.Helper()
	text := fmt.Sprintf(fake, m.path("calls"), host.Cmd{Args: []string{name}}, script)
	tmp := m.path("new")
	// Renamed into place: one that runs cannot be written to.
	if err := WriteProgram(tmp, text); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(m.Commands, name)); err != nil {
		m.t.Fatal(err)
	}
}

// WriteProgram writes a file that is going to be run, 0755. A child that another goroutine
// starts meanwhile would have it open for writing too, for a moment, and "text file
// busy" would be the answer to whoever runs it (golang.org/issue/22315).
func WriteProgram(path, text string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, []byte(text), 0o755)
}

// Real gives the machine programs of the test's own machine, for which no fake is
// needed, like sha256sum. They are not recorded, and see the test's own files: paths
// in their arguments are not in the tree.
func (m *Machine) Real(names ...string) {
	m.t.Helper()
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			m.t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(m.Commands, name)); err != nil {
			m.t.Fatal(err)
		}
	}
}

// Call is one run of a fake program.
type Call struct {
	Args  []string
	Stdin string
}

// String is the command line as one would type it, "< …" with the input after it if
// there was any.
func (c Call) String() string {
	line := host.Cmd{Args: c.Args}.String()
	if c.Stdin != "" {
		line += " < " + host.Cmd{Args: []string{c.Stdin}}.String()
	}
	return line
}

// Calls are the runs of fake programs so far, in the order in which they began.
func (m *Machine) Calls() []Call {
	m.t.Helper()
	files, err := filepath.Glob(m.path("calls/*.args"))
	if err != nil {
		m.t.Fatal(err)
	}
	slices.Sort(files)
	var calls []Call
	for _, file := range files {
		args, err := os.ReadFile(file)
		if err != nil {
			m.t.Fatal(err)
		}
		stdin, err := os.ReadFile(strings.TrimSuffix(file, "args") + "stdin")
		if err != nil && !errors.Is(err, os.ErrNotExist) { // just begun
			m.t.Fatal(err)
		}
		calls = append(calls, Call{Args: strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00"), Stdin: string(stdin)})
	}
	return calls
}

// WantCalls fails the test unless the calls so far, as Call.String has them, are
// these, and forgets them.
func (m *Machine) WantCalls(want ...string) {
	m.t.Helper()
	var got []string
	for _, c := range m.Calls() {
		got = append(got, c.String())
	}
	if !slices.Equal(got, want) {
		m.t.Errorf("got calls\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	m.reportUnexpected()
	m.forget()
}

func (m *Machine) forget() {
	files, err := filepath.Glob(m.path("calls/*.*"))
	if err != nil {
		m.t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *Machine) reportUnexpected() {
	m.t.Helper()
	files, _ := filepath.Glob(m.path("calls/*.unexpected"))
	for _, file := range files {
		args, err := os.ReadFile(strings.TrimSuffix(file, "unexpected") + "args")
		if err != nil {
			m.t.Fatal(err)
		}
		words := strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00")
		m.t.Errorf("unexpected call: %s", Call{Args: words})
	}
}

// Put writes a file into the tree, 0644 of root.
func (m *Machine) Put(path, content string) {
	m.t.Helper()
	if err := m.Write(m.t.Context(), path, host.File{Data: []byte(content)}); err != nil {
		m.t.Fatal(err)
	}
}

// Text is the content of a file in the tree; the test fails if there is none.
func (m *Machine) Text(path string) string {
	m.t.Helper()
	data, err := m.ReadFile(m.t.Context(), path)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(data)
}
