package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Shell is a machine that can run programs and nothing else, such as a container that
// is reached through an API. It must have sh, env, GNU coreutils and findutils.
type Shell struct {
	Name string

	// Start runs a program until it has ended, and returns its exit code; an error is
	// one of the way there. When the context ends it returns; what runs then need not
	// have ended. The program leads a process group of its own.
	Start func(ctx context.Context, s Streams) (code int, err error)

	Log *slog.Logger // Debug: each command with its exit code; nil: none
}

// Streams are a program with its input and output.
type Streams struct {
	Args           []string
	Stdin          io.Reader // nil: empty
	Stdout, Stderr io.Writer
}

var _ Host = Shell{}

// String is the machine's name.
func (s Shell) String() string { return s.Name }

func (s Shell) files() shellFiles { return shellFiles{s.start} }

// Stat implements Host. ModTime is in whole seconds.
func (s Shell) Stat(ctx context.Context, path string) (Info, error) { return s.files().Stat(ctx, path) }

// ReadFile implements Host.
func (s Shell) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return s.files().ReadFile(ctx, path)
}

// ReadDir implements Host.
func (s Shell) ReadDir(ctx context.Context, path string) ([]string, error) {
	return s.files().ReadDir(ctx, path)
}

// Write implements Host.
func (s Shell) Write(ctx context.Context, path string, f File) error {
	return s.files().Write(ctx, path, f)
}

// Remove implements Host.
func (s Shell) Remove(ctx context.Context, path string) error { return s.files().Remove(ctx, path) }

// Run implements Host.
func (s Shell) Run(ctx context.Context, c Cmd) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	began := time.Now()
	stdout, err := s.start(ctx, c)
	logRun(s.Log, s, c, began, err)
	return stdout, err
}

func (s Shell) start(ctx context.Context, c Cmd) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("run %s: %w", short(c.Args), context.Cause(ctx))
	}
	var stdout bytes.Buffer
	stderr := stderrWithPID{mark: rand.Text()}
	streams := Streams{Args: withPID(c, stderr.mark), Stdout: &stdout, Stderr: &stderr}
	input, err := newInput(c, func() (io.WriteCloser, error) {
		reader, writer := io.Pipe()
		streams.Stdin = reader
		return writer, nil
	})
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", short(c.Args), err)
	}
	// The way to the program outlasts the context, or nothing would be heard of its end.
	way, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	var code int
	ended := make(chan error, 1)
	go input.feed()
	go func() {
		n, err := s.Start(way, streams)
		code = n
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = fmt.Errorf("run %s: %w", short(c.Args), context.Cause(ctx))
		if !endGroup(ended, nil, func(signal string) { s.signal(&stderr, signal) }) {
			return nil, err // its output may go on
		}
		return stdout.Bytes(), err
	}
	if err != nil {
		return stdout.Bytes(), fmt.Errorf("run %s on %s: %w", short(c.Args), s, err)
	}
	if failed := input.failed(); failed != nil {
		return stdout.Bytes(), failed
	}
	return stdout.Bytes(), exited(c, code, stderr.rest())
}

// exited makes an exit code an error. A shell, and whoever starts containers, has 128
// more than the signal for a program that one has killed.
func exited(c Cmd, code int, stderr []byte) error {
	if code == 0 {
		return nil
	}
	e := &ExitError{Args: c.Args, Code: code, Stderr: stderr}
	if name := unix.SignalName(unix.Signal(code - 128)); code > 128 && name != "" {
		e.Code, e.Signal = -1, name[len("SIG"):]
	}
	return e
}

// withPID is a command that says its process id first, see stderrWithPID.
func withPID(c Cmd, mark string) []string {
	args := append([]string{"sh", "-c", "echo " + mark + ` $$ >&2; exec "$@"`, "sh", "env"}, basicEnv...)
	return append(append(args, c.Env...), c.Args...)
}

func (s Shell) signal(stderr *stderrWithPID, signal string) {
	group := stderr.processGroup()
	if group == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	s.Start(ctx, Streams{Args: signalGroup(group, signal), Stdout: io.Discard, Stderr: io.Discard})
}

// signalGroup is the command that signals a process group.
func signalGroup(group int, signal string) []string {
	return []string{"sh", "-c", `kill -s "$1" -- "-$2"`, "sh", signal, strconv.Itoa(group)}
}

// endGroup ends a process group elsewhere, first by asking, and reports whether its
// leader has ended. A connection that is lost keeps nobody waiting.
func endGroup(ended <-chan error, lost <-chan struct{}, signal func(name string)) bool {
	await := func(something <-chan error) bool {
		select {
		case <-something:
			return true
		case <-lost:
		case <-time.After(grace):
		}
		return false
	}
	go signal("TERM") // which a lost connection would keep waiting
	over := await(ended)
	killed := make(chan error)
	go func() { // those of the group that are left when the leader has ended, too
		signal("KILL")
		close(killed)
	}()
	await(killed)
	return over || await(ended)
}

// stderrWithPID is a command's standard error, and the line in it that says its
// process id: "MARK PID". A login shell's greetings may come before that.
type stderrWithPID struct {
	mark string
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *stderrWithPID) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// split is what comes before the line, the process id, and what comes after.
func (s *stderrWithPID) split() (before []byte, pid int, after []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := bytes.Clone(s.text.Bytes())
	before, after, _ = bytes.Cut(text, []byte(s.mark+" "))
	line, after, whole := bytes.Cut(after, []byte("\n"))
	if whole {
		pid, _ = strconv.Atoi(string(line))
	}
	return before, pid, after
}

func (s *stderrWithPID) rest() []byte {
	before, _, after := s.split()
	return append(before, after...)
}

// processGroup waits a little for a command that has only just begun.
func (s *stderrWithPID) processGroup() int {
	for range 40 {
		if _, pid, _ := s.split(); pid > 1 {
			return pid
		}
		time.Sleep(50 * time.Millisecond)
	}
	return 0
}
