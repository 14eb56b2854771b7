package steps_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/firstboot/steps"
	"picluster/internal/golden"
	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/step"
)

func early(t testing.TB, c *node.Config) []steps.Stage {
	t.Helper()
	stages, err := steps.Early(c, steps.Env{Boot: bootDir(c.Build.Release)})
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

// run runs the early steps and returns what was not right already.
func run(t testing.TB, h host.Local, c *node.Config) (changed []string) {
	t.Helper()
	r := &step.Recorder{Observers: []step.Observer{func(e step.Event) {
		if e.Kind != step.Unchanged {
			changed = append(changed, fmt.Sprintf("%s %s/%s: %s", e.Kind, e.Stage, e.Step, e.Text))
		}
		if e.Kind == step.Warned {
			t.Errorf("warning: %s/%s: %s", e.Stage, e.Step, e.Text)
		}
	}}}
	if err := step.Run[host.Host](t.Context(), h, early(t, c), r); err != nil {
		t.Fatal(err)
	}
	return changed
}

// tryRun is run for what is to fail.
func tryRun(t testing.TB, h host.Local, c *node.Config) error {
	t.Helper()
	return step.Run[host.Host](t.Context(), h, early(t, c), nil)
}

func TestEarly_isWhatReviewersRead(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			golden.Equal(t, "testdata/early-"+release+".golden", []byte(step.Describe(early(t, worker(t, release)))))
		})
	}
}

func TestEarly_secondRunFindsNothingToDo(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			c := worker(t, release)
			dir := pi(t, release, c)
			h := machine(t, dir)
			if len(run(t, h, c)) == 0 {
				t.Error("the first run changed nothing")
			}
			before := listing(t, dir)
			if again := run(t, h, c); len(again) > 0 {
				t.Errorf("the second run:\n%s", strings.Join(again, "\n"))
			}
			if diff := differences(listing(t, dir), before); len(diff) > 0 {
				t.Errorf("the second run changed:\n%s", strings.Join(diff, "\n"))
			}
		})
	}
}

// No description, drift, argument or file that others can read has a secret.
func TestEarly_keepsSecrets(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			c := worker(t, release)
			dir := pi(t, release, c)
			h := machine(t, dir)
			if all := step.Describe(early(t, c)); strings.Contains(all, "planted") || strings.Contains(all, "PRIVATE KEY") {
				t.Errorf("the description shows a secret:\n%s", all)
			}
			if all := strings.Join(run(t, h, c), "\n"); strings.Contains(all, "planted") || strings.Contains(all, "PRIVATE KEY") {
				t.Errorf("events show a secret:\n%s", all)
			}
			err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				info, err := d.Info()
				if err != nil || info.Mode().Perm()&0o004 == 0 {
					return err
				}
				data, err := os.ReadFile(path)
				if strings.Contains(string(data), "planted") || strings.Contains(string(data), "PRIVATE KEY") {
					t.Errorf("%s, mode %v, has a secret", path, info.Mode())
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// cut is what Fault panics with.
type cut struct{ op, path string }

// runUntil runs the steps up to the n-th thing that leaves a trace, where the
// power goes. It reports whether there were so many.
func runUntil(t *testing.T, h host.Local, c *node.Config, n int) (at cut, reached bool) {
	t.Helper()
	count := 0
	h.Fault = func(op, path string) {
		if count++; count == n {
			panic(cut{op, path})
		}
	}
	defer func() {
		if p := recover(); p != nil {
			var ok bool
			if at, ok = p.(cut); !ok {
				panic(p)
			}
			reached = true
		}
	}()
	run(t, h, c)
	return cut{}, false
}

// The power may go anywhere: the next boot ends where an undisturbed one does.
// Until the last step the card still starts the agent.
func TestEarly_survivesAPowerCutAnywhere(t *testing.T) {
	for _, release := range []string{"bullseye", "trixie"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			c := worker(t, release)
			undisturbed := pi(t, release, c)
			run(t, machine(t, undisturbed), c)
			want := listing(t, undisturbed)
			cuts := 0
			for n := 1; ; n++ {
				dir := pi(t, release, c)
				h := machine(t, dir)
				at, reached := runUntil(t, h, c, n)
				if !reached {
					break
				}
				cuts++
				// Before the rename of cmdline.txt the hook is there, after it all is done.
				hooked := strings.Contains(readFile(t, dir, bootDir(release)+"/cmdline.txt"), "init=/bin/sh")
				last := at.path == bootDir(release)+"/cmdline.txt" && at.op == "sync directory"
				if hooked == last {
					t.Errorf("cut %d, before %s of %s: the hook is there: %v", n, at.op, at.path, hooked)
				}
				run(t, h, reread(t, h, c))
				if diff := differences(listing(t, dir), want); len(diff) > 0 {
					t.Errorf("cut %d, before %s of %s:\n%s", n, at.op, at.path, strings.Join(diff, "\n"))
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d cuts", cuts)
			if cuts < 100 {
				t.Errorf("only %d cuts: the steps leave traces that Fault does not see", cuts)
			}
		})
	}
}

// reread reads the document as the next boot would: there is always one.
func reread(t *testing.T, h host.Local, c *node.Config) *node.Config {
	t.Helper()
	for _, name := range []string{bootDir(c.Build.Release) + "/picluster/node.json", steps.ConfigPath} {
		data, err := h.ReadFile(context.Background(), name)
		if err != nil {
			continue
		}
		if again, err := node.Parse(data); err == nil {
			return again
		}
	}
	t.Fatal("there is no node.json, neither on the card nor installed")
	return nil
}

func TestEarly_refusesAnotherRelease(t *testing.T) {
	c := worker(t, "trixie")
	dir := pi(t, "bookworm", c)
	before := listing(t, dir)
	err := tryRun(t, machine(t, dir), c)
	if err == nil || err.Error() != "install/release: the card was prepared for trixie, but its system is bookworm" {
		t.Errorf("got error %v", err)
	}
	if diff := differences(listing(t, dir), before); len(diff) > 0 {
		t.Errorf("changed all the same: %q", diff)
	}
}
