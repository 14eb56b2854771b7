// Package host is one Linux machine, this one or one at the other end of an ssh
// connection: run a program, look at files, write files so that a power cut leaves
// the old or the new one.
//
// It knows how, never what: no systemd, apt or mount here. Whatever is richer than
// a file or an argument list is a function over Host next to its first user. Tests
// stand a real directory tree in for the machine (Local.Root), with hosttest's fake
// programs or, by Local.Chroot, the tree's own.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"strings"
	"time"
)

// Host is a machine. All of its paths are absolute and clean (path.Clean leaves
// them as they are); an error of a file operation is a *fs.PathError with that
// path, and errors.Is finds fs.ErrNotExist and fs.ErrPermission in it. Methods may
// be called concurrently, except that one path has one writer at a time.
type Host interface {
	// String names the machine in logs and errors.
	String() string

	// Run runs a program and returns what it wrote to standard output, also
	// together with an error. A program that exits with anything but 0 is an
	// *ExitError. When the context ends the program and its children are told to
	// terminate; who is still there when the program has, or after ten seconds, is
	// killed.
	Run(ctx context.Context, c Cmd) (stdout []byte, err error)

	// Stat tells about the file at path, not about what a symbolic link points to.
	Stat(ctx context.Context, path string) (Info, error)

	// ReadFile and ReadDir follow symbolic links. Names come sorted.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	ReadDir(ctx context.Context, path string) (names []string, err error)

	// Write makes the file at path what f says, and has it on the disk when it
	// returns. A regular file or symbolic link takes the place of another one in
	// one go; a symbolic link at path is replaced, not followed. A directory may
	// be there already, with anything in it. Directories above path that are
	// missing are made, 0755.
	Write(ctx context.Context, path string, f File) error

	// Remove removes a file or an empty directory, on the disk too when it
	// returns. Nothing at path is no error.
	Remove(ctx context.Context, path string) error
}

// Cmd is one run of a program, without a shell. A machine's programs all start with
// the same environment: PATH as Debian has it for root, LC_ALL=C.UTF-8 so that
// output can be read by programs, and Env; locally also HOME, which ssh has from
// the login. The working directory is unspecified.
type Cmd struct {
	// Args are the program and its arguments. They are logged, and every user of
	// the machine can read them: a secret goes by Stdin, never in here or in Env.
	// A program with a slash in its name is taken from there, any other from PATH.
	Args []string

	// Stdin may still be read from after the end of a program that does not care
	// for all of it; nil is empty. An error of it is one of the run.
	Stdin io.Reader

	Env []string // "NAME=value", after and above the environment of all
}

// String is the command as one would type it into a shell.
func (c Cmd) String() string { return quote(c.Args) }

func (c Cmd) check() error {
	if len(c.Args) == 0 || c.Args[0] == "" {
		return errors.New("run: no program named")
	}
	for _, s := range append(c.Args[:len(c.Args):len(c.Args)], c.Env...) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("run %s: an argument contains a zero byte", c.Args[0])
		}
	}
	// env(1), which starts programs at the other end of an ssh connection, would
	// take these for an option or a variable.
	if strings.HasPrefix(c.Args[0], "-") || strings.Contains(c.Args[0], "=") {
		return fmt.Errorf("run %s: no name for a program", c.Args[0])
	}
	for _, e := range c.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.HasPrefix(name, "-") {
			return fmt.Errorf("run %s: environment %q is not NAME=value", c.Args[0], e)
		}
	}
	return nil
}

// ExitError is a program that did not exit with 0.
type ExitError struct {
	Args   []string
	Code   int    // as a shell has it: 127 for a program that does not exist, 126 for one that cannot be run; -1 if Signal
	Signal string // what killed it, like "KILL"
	Stderr []byte // all of it
}

// Error names the command, shortened, and the last line of its standard error.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Code)
	switch {
	case e.Signal != "":
		how = "killed by signal " + e.Signal
	case e.Code == 127 && len(e.Stderr) == 0:
		how = "program not found"
	case e.Code == 126 && len(e.Stderr) == 0:
		how = "not a program"
	}
	if last := lastLine(e.Stderr); last != "" {
		how += ": " + last
	}
	return "run " + short(e.Args) + ": " + how
}

func lastLine(text []byte) string {
	s := strings.TrimSpace(string(text))
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}

// short is a command for an error: its first line, at most eighty characters.
func short(args []string) string {
	line, _, more := strings.Cut(quote(args), "\n")
	if runes := []rune(line); len(runes) > 80 {
		line, more = string(runes[:80]), true
	}
	if more {
		line += "…"
	}
	return line
}

// Info is what Stat knows of a file.
type Info struct {
	Mode     fs.FileMode // type and permissions
	UID, GID int
	Size     int64     // bytes
	ModTime  time.Time // to the second at least
	Target   string    // of a symbolic link
}

// basicEnv is what every program gets. A service of systemd has little more, a
// child of PID 1 less; so nothing depends on who started us.
var basicEnv = []string{
	"PATH=" + strings.Join(programDirs, ":"),
	"LC_ALL=C.UTF-8",
}

var programDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

func checkPath(op, name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || strings.ContainsRune(name, 0) {
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

// logRun logs a command that has ended. Output and input may be secret.
func logRun(log *slog.Logger, h Host, c Cmd, began time.Time, err error) {
	if log == nil {
		return
	}
	var exit *ExitError
	attrs := []any{"host", h.String(), "command", c.String(), "took", time.Since(began).Round(time.Millisecond)}
	switch {
	case errors.As(err, &exit) && exit.Signal != "":
		attrs = append(attrs, "signal", exit.Signal)
	case errors.As(err, &exit):
		attrs = append(attrs, "exit", exit.Code)
	case err != nil:
		attrs = append(attrs, "error", err)
	default:
		attrs = append(attrs, "exit", 0)
	}
	log.Debug("run", attrs...)
}
