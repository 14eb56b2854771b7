package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Run implements Host.
func (r *Remote) Run(ctx context.Context, c Cmd) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	began := time.Now()
	stdout, err := r.start(ctx, c)
	logRun(r.config.Log, r, c, began, err)
	return stdout, err
}

func (r *Remote) start(ctx context.Context, c Cmd) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("run %s: %w", short(c.Args), context.Cause(ctx))
	}
	session, err := r.client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("run %s: connection lost: %w", short(c.Args), err)
	}
	defer session.Close()
	var stdout bytes.Buffer
	stderr := stderrWithPID{mark: rand.Text()}
	session.Stdout, session.Stderr = &stdout, &stderr
	if c.Stdin != nil {
		// Not session.Stdin: Wait would wait for all of it to be read, also by a
		// program that has ended without caring for it.
		stdin, err := session.StdinPipe()
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", short(c.Args), err)
		}
		go func() {
			io.Copy(stdin, c.Stdin)
			stdin.Close()
		}()
	}
	ended := make(chan error, 1)
	go func() { ended <- session.Run(r.line(c, stderr.mark)) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
		if !r.kill(&stderr, ended) {
			return nil, r.exitError(ctx, c, &stderr, err)
		}
	}
	return stdout.Bytes(), r.exitError(ctx, c, &stderr, err)
}

// line is what the login shell is given. It first says its process id, which env
// keeps, and after it the program: sshd has made it the leader of a process group.
func (r *Remote) line(c Cmd, mark string) string {
	args := append([]string{"env"}, basicEnv...)
	args = append(append(args, c.Env...), c.Args...)
	if r.config.Sudo {
		args = append([]string{"sudo", "-n", "--"}, args...)
	}
	return "echo " + mark + " $$ >&2; exec " + quote(args)
}

// kill ends the command's process group, first by asking, and reports whether it
// has ended. That takes a session of its own, because ssh's signals are not for the
// processes of another user, as sudo's are, and closing a session kills nothing.
func (r *Remote) kill(stderr *stderrWithPID, ended <-chan error) bool {
	for _, signal := range []string{"TERM", "KILL"} {
		go r.signal(stderr, signal) // which a lost connection would keep waiting
		select {
		case <-ended:
			return true
		case <-r.closed:
			return false
		case <-time.After(grace):
		}
	}
	return false
}

func (r *Remote) signal(stderr *stderrWithPID, signal string) {
	group := stderr.processGroup()
	if group == 0 {
		return
	}
	session, err := r.client.NewSession()
	if err != nil {
		return
	}
	defer session.Close()
	args := []string{"sh", "-c", `kill -s "$1" -- "-$2"`, "sh", signal, strconv.Itoa(group)}
	if r.config.Sudo {
		args = append([]string{"sudo", "-n", "--"}, args...)
	}
	session.Run(quote(args))
}

// exitError makes x/crypto/ssh's errors those of a Host.
func (r *Remote) exitError(ctx context.Context, c Cmd, stderr *stderrWithPID, err error) error {
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("run %s: %w", short(c.Args), context.Cause(ctx))
	case !errors.As(err, &exit):
		return fmt.Errorf("run %s: connection lost: %w", short(c.Args), err)
	}
	e := &ExitError{Args: c.Args, Code: exit.ExitStatus(), Signal: exit.Signal(), Stderr: stderr.rest()}
	if e.Signal != "" {
		e.Code = -1
	}
	return e
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
