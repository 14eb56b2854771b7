package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
	select {
	case r.running <- struct{}{}:
		defer func() { <-r.running }()
	case <-ctx.Done():
		return nil, fmt.Errorf("run %s: %w", short(c.Args), context.Cause(ctx))
	}
	session, err := r.newSession(ctx)
	if err != nil {
		return nil, r.exitError(ctx, c, nil, err)
	}
	defer session.Close()
	var stdout bytes.Buffer
	stderr := stderrWithPID{mark: rand.Text()}
	session.Stdout, session.Stderr = &stdout, &stderr
	input, err := newInput(c, session.StdinPipe)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", short(c.Args), err)
	}
	ended := make(chan error, 1)
	go func() {
		err := session.Start(r.line(c, stderr.mark))
		if err == nil {
			go input.feed()
			err = session.Wait()
		}
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
		if !r.kill(&stderr, ended) {
			return nil, r.exitError(ctx, c, &stderr, err)
		}
	}
	if failed := input.failed(); failed != nil && ctx.Err() == nil {
		return stdout.Bytes(), failed
	}
	return stdout.Bytes(), r.exitError(ctx, c, &stderr, err)
}

// newSession opens one, however often it is refused: sshd counts a session that has
// ended for a moment longer, and may be told to allow few (MaxSessions). Only a
// server that refuses while nothing of ours runs is taken at its word.
func (r *Remote) newSession(ctx context.Context) (*ssh.Session, error) {
	for alone := 0; ; {
		session, err := r.client.NewSession()
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) {
			return session, err
		}
		if len(r.running)+len(r.signalling) <= 1 {
			alone++
		}
		if alone == 20 {
			return nil, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
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

// kill ends the command's process group, first by asking, and reports whether the
// program has ended. That takes sessions of its own, because ssh's signals are not
// for the processes of another user, as sudo's are, and closing a session kills
// nothing.
func (r *Remote) kill(stderr *stderrWithPID, ended <-chan error) bool {
	go r.signal(stderr, "TERM") // which a lost connection would keep waiting
	over := r.await(ended, grace)
	killed := make(chan error)
	go func() { // those of the group that are left when the program has ended, too
		r.signal(stderr, "KILL")
		close(killed)
	}()
	r.await(killed, grace)
	return over || r.await(ended, grace)
}

// await reports whether something has come in time, and before the connection was lost.
func (r *Remote) await(something <-chan error, limit time.Duration) bool {
	select {
	case <-something:
		return true
	case <-r.closed:
	case <-time.After(limit):
	}
	return false
}

func (r *Remote) signal(stderr *stderrWithPID, signal string) {
	group := stderr.processGroup()
	if group == 0 {
		return
	}
	r.signalling <- struct{}{}
	defer func() { <-r.signalling }()
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	session, err := r.newSession(ctx)
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
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("run %s: %w", short(c.Args), context.Cause(ctx))
	case errors.As(err, &refused):
		return fmt.Errorf("run %s: open session: %w", short(c.Args), err)
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
