package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Entered is the machine as one of its processes sees it, through the process's
// namespaces: the node from inside of a container that may see the node's processes.
// It needs root, and nsenter (util-linux).
type Entered struct {
	Name string
	PID  int

	// Namespaces are those to enter, as nsenter's options have them ("mount", "net");
	// all others stay the caller's. Files are always those that the process sees.
	Namespaces []string
}

var _ Host = Entered{}

// String is the machine's name.
func (e Entered) String() string { return e.Name }

func (e Entered) files() Local { return Local{Root: fmt.Sprintf("/proc/%d/root", e.PID)} }

// Run implements Host. What it starts outlives the caller if it goes into the
// background; it stays in the caller's control group.
func (e Entered) Run(ctx context.Context, c Cmd) ([]byte, error) {
	if len(c.Args) == 0 || strings.HasPrefix(c.Args[0], "-") {
		return Local{}.Run(ctx, c) // which says what is wrong with it
	}
	inside := []string{"nsenter", "--target", fmt.Sprint(e.PID)}
	for _, namespace := range e.Namespaces {
		inside = append(inside, "--"+namespace)
	}
	out, err := Local{}.Run(ctx, Cmd{Args: append(append(inside, "--"), c.Args...), Stdin: c.Stdin, Env: c.Env})
	var exit *ExitError
	if errors.As(err, &exit) {
		exit.Args = c.Args
	}
	return out, err
}

// Stat implements Host.
func (e Entered) Stat(ctx context.Context, path string) (Info, error) {
	return e.files().Stat(ctx, path)
}

// ReadFile implements Host.
func (e Entered) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return e.files().ReadFile(ctx, path)
}

// ReadDir implements Host.
func (e Entered) ReadDir(ctx context.Context, path string) ([]string, error) {
	return e.files().ReadDir(ctx, path)
}

// Write implements Host.
func (e Entered) Write(ctx context.Context, path string, f File) error {
	return e.files().Write(ctx, path, f)
}

// Remove implements Host.
func (e Entered) Remove(ctx context.Context, path string) error { return e.files().Remove(ctx, path) }
