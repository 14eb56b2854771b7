package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"picluster/internal/golden"
	"picluster/internal/lab/desk"
)

// tests are the package's, with the desk's files in memory.
type tests struct{ *testing.M }

func (t tests) Run() int { return desk.Main(t.M) }

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"clusterctl": main})
}

// TestScripts runs the transcripts that need no cluster: the program as a person
// meets it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../testdata/scripts/clusterctl",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       golden.Updating(),
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("KUBECONFIG", "")
			e.Setenv("TZ", "UTC")
			return os.Mkdir(filepath.Join(e.WorkDir, "empty"), 0o755)
		},
	})
}
