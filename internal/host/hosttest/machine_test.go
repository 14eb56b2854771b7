package hosttest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"picluster/internal/host"
)

func run(t *testing.T, m *Machine, stdin string, args ...string) (string, error) {
	t.Helper()
	c := host.Cmd{Args: args}
	if stdin != "" {
		c.Stdin = strings.NewReader(stdin)
	}
	out, err := m.Run(t.Context(), c)
	return string(out), err
}

func TestMachine_recordsCalls(t *testing.T) {
	m := NewMachine(t)
	m.Fake("chpasswd", "")
	m.Fake("systemctl", `case "$*" in
		"is-active ssh.service") echo active ;;
		"start "*) echo "Unit $2 not found." >&2; exit 5 ;;
		*) unexpected "$@" ;;
	esac`)
	if out, err := run(t, m, "", "systemctl", "is-active", "ssh.service"); out != "active\n" || err != nil {
		t.Errorf("got %q: %v", out, err)
	}
	_, err := run(t, m, "", "systemctl", "start", "it's")
	var exit *host.ExitError
	if !errors.As(err, &exit) || exit.Code != 5 || string(exit.Stderr) != "Unit it's not found.\n" {
		t.Errorf("got error %v", err)
	}
	if _, err := run(t, m, "pi:secret\nroot:\n", "chpasswd", "-e", "", "two words\nand lines\n"); err != nil {
		t.Error(err)
	}
	want := []Call{{Args: []string{"systemctl", "is-active", "ssh.service"}}, {Args: []string{"systemctl", "start", "it's"}},
		{Args: []string{"chpasswd", "-e", "", "two words\nand lines\n"}, Stdin: "pi:secret\nroot:\n"}}
	equal(t, "calls", m.Calls(), want)
	m.WantCalls("systemctl is-active ssh.service", `systemctl start 'it'\''s'`,
		"chpasswd -e '' 'two words\nand lines\n' < 'pi:secret\nroot:\n'")
	m.WantCalls() // forgotten
}

func TestMachine_fakesHaveTheTreeAndEachOther(t *testing.T) {
	m := NewMachine(t)
	m.Put("/etc/hostname", "pi1\n")
	m.Fake("cat", `echo "no cat here" >&2; exit 1`) // of no concern to the records
	m.Fake("hostname", `read name <"$ROOT/etc/hostname"; echo $name`)
	m.Fake("greet", `echo hello $(hostname </dev/null) $(sed s/a/b/) >"$ROOT/greeting"`)
	if _, err := run(t, m, "bar\n", "greet"); err != nil {
		t.Error(err)
	}
	equal(t, "greeting", m.Text("/greeting"), "hello pi1 bbr\n")
	m.WantCalls("greet < 'bar\n'", "hostname")
	m.Fake("hostname", "false; echo not reached") // another one, which stops at errors
	if out, err := run(t, m, "", "hostname"); out != "" || err == nil {
		t.Errorf("got %q: %v", out, err)
	}
}

func TestMachine_keepsCallsApart(t *testing.T) {
	m := NewMachine(t)
	m.Fake("tee", "cat")
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			text := fmt.Sprint("input ", i)
			if out, err := run(t, m, text, "tee", fmt.Sprint(i)); out != text || err != nil {
				t.Errorf("got %q: %v", out, err)
			}
		})
	}
	all.Wait()
	calls := m.Calls()
	slices.SortFunc(calls, func(a, b Call) int { return strings.Compare(a.String(), b.String()) })
	for i, c := range calls {
		equal(t, "call", c, Call{Args: []string{"tee", fmt.Sprint(i)}, Stdin: fmt.Sprint("input ", i)})
	}
	equal(t, "calls", len(calls), 10)
}

func TestMachine_hasRealPrograms(t *testing.T) {
	m := NewMachine(t)
	m.Real("sha256sum", "sh")
	out, err := run(t, m, "abc", "sha256sum")
	if err != nil || !strings.HasPrefix(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad ") {
		t.Errorf("got %q: %v", out, err)
	}
	m.WantCalls()
}

// noted is a test that only notes that it failed.
type noted struct {
	testing.TB
	errors []string
	after  []func()
}

func (n *noted) Helper()                   {}
func (n *noted) Cleanup(f func())          { n.after = append(n.after, f) }
func (n *noted) Errorf(f string, a ...any) { n.errors = append(n.errors, fmt.Sprintf(f, a...)) }

func TestMachine_failsATestThatDoesTheUnexpected(t *testing.T) {
	n := &noted{TB: t}
	m := NewMachine(n)
	run(t, m, "", "poweroff", "-f")
	equal(t, "failures", n.errors, []string{"run poweroff -f: the test has made no such program"})
	n.errors = nil
	m.Fake("mkfs.ext4", `unexpected "$@"`)
	if _, err := run(t, m, "", "mkfs.ext4", "/dev/sda"); err == nil {
		t.Error("it went well")
	}
	for _, f := range n.after {
		f()
	}
	equal(t, "failures", n.errors, []string{"unexpected call: mkfs.ext4 /dev/sda"})
	n.errors = nil
	m.WantCalls("mkfs.ext4 /dev/sdb")
	equal(t, "failures", len(n.errors), 2)
}

func TestNewTree_runsWhatItHas(t *testing.T) {
	l := host.Local{Root: NewTree(t, "sh", "ls"), Chroot: true}
	out, err := l.Run(t.Context(), host.Cmd{Args: []string{"sh", "-c", "ls /usr/bin; sleep 0"}})
	var exit *host.ExitError
	if string(out) != "ls\nsh\n" || !errors.As(err, &exit) || exit.Code != 127 {
		t.Errorf("got %q: %v", out, err)
	}
	if entries, err := os.ReadDir(l.Root); err != nil || len(entries) < 4 {
		t.Errorf("the tree has %v: %v", entries, err)
	}
}
