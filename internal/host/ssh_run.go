package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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

// kill ends the command's process group. That takes sessions of its own, because
// ssh's signals are not for the processes of another user, as sudo's are, and closing
// a session kills nothing.
func (r *Remote) kill(stderr *stderrWithPID, ended <-chan error) bool {
	return endGroup(ended, r.closed, func(signal string) { r.signal(stderr, signal) })
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
	args := signalGroup(group, signal)
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
