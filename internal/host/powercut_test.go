package host_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"picluster/internal/host"
)

// cut is the panic of a power cut.
type cut struct{}

// untilCut does what it is given on a Local whose power is cut before operation n,
// counted from 0, and tells which operations there were and whether it came to that.
func untilCut(t *testing.T, l host.Local, n int, do func(host.Local) error) (ops []string, off bool) {
	t.Helper()
	l.Fault = func(op, _ string) {
		if len(ops) == n {
			panic(cut{})
		}
		ops = append(ops, op)
	}
	defer func() {
		switch r := recover(); r {
		case nil:
		case cut{}:
			off = true
		default:
			panic(r)
		}
	}()
	if err := do(l); err != nil {
		t.Errorf("cut before operation %d: %v", n, err)
	}
	return ops, false
}

// state is a file as it is, "missing" if it is not.
func state(t *testing.T, l host.Local, path string) string {
	t.Helper()
	is, err := l.Stat(t.Context(), path)
	if err != nil {
		return "missing"
	}
	f := host.File{Mode: is.Mode, UID: is.UID, GID: is.GID, Target: is.Target}
	if is.Mode.IsRegular() {
		if f.Data, err = l.ReadFile(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("%v %q", f, f.Data)
}

var (
	oldFile = &host.File{Data: []byte("old and longer"), Mode: 0o640, UID: 1, GID: 2}
	newFile = host.File{Data: []byte("new"), Mode: 0o600, UID: 3, GID: 4}
	oldLink = &host.File{Target: "/old"}
	newLink = host.File{Target: "/new"}
)

func TestLocal_powerCutLeavesOldOrNew(t *testing.T) {
	t.Parallel()
	const path = "/etc/file"
	file := []string{"create", "write", "sync", "rename", "sync directory"}
	link := []string{"create", "rename", "sync directory"}
	for name, test := range map[string]struct {
		before *host.File // nil: nothing
		after  *host.File // nil: removed
		ops    []string
	}{
		"new file":            {nil, &newFile, file},
		"file over file":      {oldFile, &newFile, file},
		"file over link":      {oldLink, &newFile, file},
		"new link":            {nil, &newLink, link},
		"link over file":      {oldFile, &newLink, link},
		"link over link":      {oldLink, &newLink, link},
		"remove file":         {oldFile, nil, []string{"remove", "sync directory"}},
		"remove link":         {oldLink, nil, []string{"remove", "sync directory"}},
		"remove nothing":      {nil, nil, []string{"remove"}},
		"the same file again": {&newFile, &newFile, file},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := func(l host.Local) error {
				if test.after == nil {
					return l.Remove(t.Context(), path)
				}
				return l.Write(t.Context(), path, *test.after)
			}
			states := enumerate(t, path, test.before, change, test.ops)
			// Which of the two it is depends on the one operation that matters.
			step := slices.Index(test.ops, "rename")
			if test.after == nil {
				step = 0
			}
			for n, got := range states {
				want := states[0]
				if n > step {
					want = states[len(states)-1]
				}
				if got != want {
					t.Errorf("cut before %q: got %s, want %s", append(test.ops[:len(test.ops):len(test.ops)], "the end")[n], got, want)
				}
			}
		})
	}
}

// enumerate cuts the power before each operation of a change, each time in a new
// tree, and lets the change be made again. It returns the states of the file, first
// without any and last with all of the operations.
func enumerate(t *testing.T, path string, before *host.File, change func(host.Local) error, want []string) (states []string) {
	t.Helper()
	for n := 0; ; n++ {
		l := host.Local{Root: t.TempDir()}
		if err := l.Write(t.Context(), filepath.Dir(path), host.File{Mode: fs.ModeDir}); err != nil {
			t.Fatal(err)
		}
		if before != nil {
			if err := l.Write(t.Context(), path, *before); err != nil {
				t.Fatal(err)
			}
		}
		ops, off := untilCut(t, l, n, change)
		states = append(states, state(t, l, path))
		if err := change(l); err != nil {
			t.Errorf("again after a cut before operation %d: %v", n, err)
		}
		right := state(t, l, path)
		names, err := l.ReadDir(t.Context(), filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name != filepath.Base(path) {
				t.Errorf("after a cut before operation %d and another try there is %s", n, name)
			}
		}
		if off {
			continue
		}
		if !slices.Equal(ops, want) {
			t.Errorf("got operations %q, want %q", ops, want)
		}
		if states[n] != right {
			t.Errorf("without a cut it is %s, after another try %s", states[n], right)
		}
		return states
	}
}

// A directory is not made in one go, but nobody else can enter half of one, and
// what is in it stays.
func TestLocal_powerCutLeavesNoOpenDirectory(t *testing.T) {
	t.Parallel()
	const path = "/etc/dir"
	f := host.File{Mode: fs.ModeDir | 0o750, UID: 5, GID: 6}
	change := func(l host.Local) error { return l.Write(t.Context(), path, f) }
	states := enumerate(t, path, nil, change, []string{"make directory", "sync directory"})
	if want := []string{"missing", fmt.Sprintf("%v %q", f, ""), fmt.Sprintf("%v %q", f, "")}; !slices.Equal(states, want) {
		t.Errorf("got %q, want %q", states, want)
	}
}

// Whatever the cut leaves behind, nobody else can read a secret in it.
func TestLocal_powerCutShowsNoSecret(t *testing.T) {
	t.Parallel()
	for n := range 5 {
		l := host.Local{Root: t.TempDir()}
		if _, off := untilCut(t, l, n, func(l host.Local) error { return l.Write(t.Context(), "/secret", newFile) }); !off {
			t.Fatalf("no operation %d", n)
		}
		entries, err := os.ReadDir(l.Root)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("after a cut before operation %d there is %s, %v: %v", n, e.Name(), info.Mode(), err)
			}
		}
	}
}

// Run can be cut too, before the program has done anything.
func TestLocal_powerCutBeforeRun(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "mark")
	_, off := untilCut(t, host.Local{}, 0, func(l host.Local) error {
		_, err := l.Run(t.Context(), host.Cmd{Args: []string{"touch", mark}})
		return err
	})
	if _, err := os.Stat(mark); !off || err == nil {
		t.Errorf("off %v, mark %v", off, err)
	}
}
