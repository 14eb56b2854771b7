package hosttest

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"testing"
	"time"

	"picluster/internal/host"
)

// Conform tests that a Host keeps what package host promises. Each of its tests
// opens a host of its own, or gets one that others have too; it must act as root and
// have sh, with the usual programs of Debian for sh to call. All that the tests make
// is below /tmp of the host, and goes away.
//
// The scripts put $ROOT before their paths, as those of fake programs do; on a whole
// machine that is empty.
func Conform(t *testing.T, open func(t *testing.T) host.Host) {
	ConformRun(t, open)
	conform(t, open, fileTests)
}

// ConformRun is the part of Conform about running programs.
func ConformRun(t *testing.T, open func(t *testing.T) host.Host) { conform(t, open, runTests) }

var runTests = map[string]func(b bench){
	"Run tells how a program ended":        runTellsHowItEnded,
	"Run tells what killed a program":      runTellsWhatKilled,
	"Run knows no such program":            runKnowsNoSuchProgram,
	"Run returns all output":               runReturnsAllOutput,
	"Run passes arguments as they are":     runPassesArguments,
	"Run sets the environment":             runSetsEnvironment,
	"Run passes standard input":            runPassesInput,
	"Run needs nobody to read the input":   runNeedsNoReader,
	"Run reports broken input":             runReportsBrokenInput,
	"Run refuses what cannot be passed":    runRefuses,
	"Run starts nothing after the end":     runStartsNothingAfterTheEnd,
	"Run ends a program and its children":  runEndsChildren,
	"Run lets a program tidy up":           runLetsTidyUp,
	"Run kills who does not listen":        runKillsTheDeaf,
	"Run kills orphans who do not listen":  runKillsDeafOrphans,
	"Run can be called many times at once": runManyAtOnce,
}

var fileTests = map[string]func(b bench){
	"Stat tells type, mode, owner and size":       statTells,
	"Stat does not follow a link":                 statDoesNotFollow,
	"ReadFile and ReadDir read":                   readReads,
	"ReadFile and ReadDir follow links":           readFollows,
	"What is missing is fs.ErrNotExist":           missingIsNotExist,
	"Errors name kind and path":                   errorsNameKindAndPath,
	"Paths are absolute and clean":                pathsAreClean,
	"Write makes what File says":                  writeMakes,
	"Write replaces files and links":              writeReplaces,
	"Write never shows half a file":               writeIsAtomic,
	"Write keeps what is in a directory":          writeKeepsDirectory,
	"Write takes away set-group-ID":               writeTakesAwaySetgid,
	"Write makes missing parents":                 writeMakesParents,
	"Write refuses to replace a directory":        writeRefusesDirectory,
	"Write refuses to make a directory of a file": writeRefusesFile,
	"Write refuses nonsense":                      writeRefusesNonsense,
	"Write goes by links above":                   writeGoesByLinksAbove,
	"Write tidies up after a power cut":           writeTidiesUp,
	"Write can be called many times at once":      writeManyAtOnce,
	"Remove removes":                              removeRemoves,
	"Remove refuses a directory in use":           removeRefuses,
}

func conform(t *testing.T, open func(t *testing.T) host.Host, tests map[string]func(b bench)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			t.Cleanup(cancel)
			b := bench{T: t, ctx: ctx, h: open(t), dir: "/tmp/conform-" + rand.Text()}
			b.cleanUp()
			b.write(b.dir, host.File{Mode: fs.ModeDir | 0o700})
			test(b)
		})
	}
}

// bench is what one of the tests works with: a host and a directory on it.
type bench struct {
	*testing.T
	ctx context.Context
	h   host.Host
	dir string
}

// limit is for a test that would never end, and far from what one takes.
const limit = 2 * time.Minute

// Context ends at the limit.
func (b bench) Context() context.Context { return b.ctx }

// cleanUp takes the directory away after the test, whose context has ended then.
func (b bench) cleanUp() {
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if _, err := b.h.Run(ctx, sh(`rm -rf "$ROOT$1"`, b.dir)); err != nil {
			b.Error(err)
		}
	})
}

// sh is a script with its arguments.
func sh(script string, args ...string) host.Cmd {
	return host.Cmd{Args: append([]string{"sh", "-c", script, "sh"}, args...)}
}

// path is a path in the test's directory.
func (b bench) path(name string) string { return b.dir + "/" + name }

// run runs a script that must succeed, and returns its output.
func (b bench) run(script string, args ...string) string {
	b.Helper()
	out, err := b.h.Run(b.Context(), sh(script, args...))
	if err != nil {
		b.Fatal(err)
	}
	return string(out)
}

func (b bench) write(path string, f host.File) {
	b.Helper()
	if err := b.h.Write(b.Context(), path, f); err != nil {
		b.Fatal(err)
	}
}

// is compares all that File says with what is at path.
func (b bench) is(path string, want host.File) {
	b.Helper()
	drift, err := want.Drift(b.Context(), b.h, path)
	if err != nil {
		b.Fatal(err)
	}
	if drift != "" {
		b.Errorf("want %v: %s", want, drift)
	}
}

// has wants exactly these names in the directory, above all no temporary file.
func (b bench) has(dir string, want ...string) {
	b.Helper()
	names, err := b.h.ReadDir(b.Context(), dir)
	if err != nil {
		b.Fatal(err)
	}
	equal(b, "names in "+dir, names, append([]string{}, want...))
}

// pathError wants an error of the kind about the path.
func (b bench) pathError(err error, path string, kind error) {
	b.Helper()
	pathError(b.T, err, path, kind)
}

func pathError(t *testing.T, err error, path string, kind error) {
	t.Helper()
	var of *fs.PathError
	switch {
	case !errors.As(err, &of):
		t.Errorf("got error %v, want a *fs.PathError", err)
	case of.Path != path:
		t.Errorf("got error %v, want the path %s in it", err, path)
	case kind != nil && !errors.Is(err, kind):
		t.Errorf("got error %v, want %v", err, kind)
	}
}

// exit wants an ExitError.
func (b bench) exit(err error) *host.ExitError {
	b.Helper()
	var exit *host.ExitError
	if !errors.As(err, &exit) {
		b.Fatalf("got error %v, want an *host.ExitError", err)
	}
	return exit
}

// until waits for what another process does.
func (b bench) until(what string, done func() bool) {
	b.Helper()
	for !done() {
		select {
		case <-b.Context().Done():
			b.Fatalf("%s: never", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
