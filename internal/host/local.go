package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Local is this machine, or a directory tree of it that stands in for one.
//
// The zero value is the machine itself. With another Root, paths are within that
// tree, as after chroot(2): a symbolic link /var/run → /run in it leads to the
// tree's /run. Programs then never come from the machine's own directories: a test
// cannot run the developer's systemctl.
type Local struct {
	Root string // absolute; "" is "/"

	// Programs, with another Root than "/": one of these two, else Run refuses.
	Commands string // the directory that all programs come from; they get ROOT in their environment
	Chroot   bool   // the tree's own programs, run inside of it; needs root

	Log *slog.Logger // Debug: each command with its exit code; nil: none

	// Fault is for tests of power cuts. It is called before each thing that could
	// leave a trace, with the path (for "run" the program), and may panic; nothing
	// is tidied up then. In order, Write calls "create", "write", "sync", "rename"
	// and "sync directory"; a symbolic link has no "write" and "sync", a directory
	// "make directory" and "sync directory" only. Remove calls "remove" and "sync
	// directory", Run "run".
	Fault func(op, path string)
}

var _ Host = Local{}

// String is "localhost", or the other root.
func (l Local) String() string {
	if l.isMachine() {
		return "localhost"
	}
	return l.Root
}

func (l Local) isMachine() bool { return l.Root == "" || l.Root == "/" }

func (l Local) fault(op, path string) {
	if l.Fault != nil {
		l.Fault(op, path)
	}
}

// Run implements Host.
func (l Local) Run(ctx context.Context, c Cmd) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	program, err := l.program(c)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("run %s: %w", short(c.Args), context.Cause(ctx))
	}
	l.fault("run", c.Args[0])
	began := time.Now()
	stdout, err := l.start(ctx, program, c)
	logRun(l.Log, l, c, began, err)
	return stdout, err
}

// grace is how long a program may take to end after it has been told to. Only tests
// change it.
var grace = 10 * time.Second

func (l Local) start(ctx context.Context, program string, c Cmd) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program)
	cmd.Args, cmd.Env = c.Args, l.env(c)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // one group, so that children can be reached
	cmd.Dir = "/"
	if l.Chroot {
		cmd.SysProcAttr.Chroot = l.Root
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	input, err := newInput(c, cmd.StdinPipe)
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		go input.feed()
		err = cmd.Wait()
	}
	if ctx.Err() != nil && cmd.Process != nil {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whoever of the group did not listen
	}
	if failed := input.failed(); failed != nil && ctx.Err() == nil {
		return stdout.Bytes(), failed
	}
	return stdout.Bytes(), exitError(ctx, c, stderr.Bytes(), err)
}

// exitError makes os/exec's errors those of a Host.
func exitError(ctx context.Context, c Cmd, stderr []byte, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("run %s: %w", short(c.Args), context.Cause(ctx))
	case errors.Is(err, fs.ErrNotExist):
		return &ExitError{Args: c.Args, Code: 127}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return &ExitError{Args: c.Args, Code: 126}
	case !errors.As(err, &exit):
		return fmt.Errorf("run %s: %w", short(c.Args), err)
	}
	e := &ExitError{Args: c.Args, Code: exit.ExitCode(), Stderr: stderr}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = strings.TrimPrefix(unix.SignalName(status.Signal()), "SIG")
	}
	return e
}

func (l Local) env(c Cmd) []string {
	env := append([]string{"HOME=/root"}, basicEnv...)
	if l.Commands != "" {
		// Scripts there call cat and sed; the machine's are good enough for that.
		env = append(env, "ROOT="+l.Root, "PATH="+l.Commands+":"+strings.Join(programDirs, ":"))
	}
	return append(env, c.Env...)
}

// program finds what to run: the path that execve(2) is given.
func (l Local) program(c Cmd) (string, error) {
	name := c.Args[0]
	named := strings.Contains(name, "/")
	switch {
	case l.Commands != "" && (l.isMachine() || l.Chroot):
		return "", fmt.Errorf("run %s: Commands is for another root, without Chroot", name)
	case l.Commands != "" && named:
		return "", fmt.Errorf("run %s: programs come from %s only, and are named without a path", name, l.Commands)
	case l.Commands != "":
		return l.find(c, []string{l.Commands}, func(path string) (string, error) { return path, nil })
	case l.Chroot && os.Geteuid() != 0:
		return "", fmt.Errorf("run %s: chroot to %s: %w", name, l.Root, fs.ErrPermission)
	case !l.isMachine() && !l.Chroot:
		return "", fmt.Errorf("run %s: the root %s has no programs: neither Commands nor Chroot is set", name, l.Root)
	case named:
		return name, nil
	}
	return l.find(c, programDirs, func(path string) (string, error) { return l.path(path, true) })
}

// find looks for an executable file in the directories, as PATH has it. Where says
// at which real path a candidate is.
func (l Local) find(c Cmd, dirs []string, where func(string) (string, error)) (string, error) {
	for _, dir := range dirs {
		candidate := filepath.Join(dir, c.Args[0])
		real, err := where(candidate)
		if err != nil {
			continue
		}
		if info, err := os.Stat(real); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", &ExitError{Args: c.Args, Code: 127}
}
