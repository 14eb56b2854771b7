package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"picluster/clusterctl/observe"
	"picluster/internal/cli"
	"picluster/internal/golden"
	"picluster/internal/step"
)

// at is an event of a run of nine steps, some minutes ago.
func at(n int, place string, kind step.Kind, text string) step.Event {
	stage, name, _ := strings.Cut(place, "/")
	return step.Event{Time: time.Now().Add(-3 * time.Minute), Boot: "b1", Stage: stage, Step: name, N: n, Of: 9, Kind: kind, Text: text}
}

// nowhere is where nobody can be (RFC 6761, section 6.4).
const nowhere = "nowhere.invalid:9"

// still puts fixed times into an output.
func still(text string) string {
	text = regexp.MustCompile(`"(time|since)": "20[^"]*"`).ReplaceAllString(text, `"$1": "TIME"`)
	return regexp.MustCompile(`(\s)\d+[smhd](\s)`).ReplaceAllString(text, "${1}AGE${2}")
}

// Before there is an API server the join service, the pages and refusing ports tell.
func TestStatus_beforeThereIsACluster(t *testing.T) {
	w := newWorld(t, 4, 1, "")
	w.serve()
	w.page("pi-node0", at(4, "kubernetes/kubelet", step.Applying, "containerd is not installed"))
	w.page("pi-node1", at(5, "network/Wi-Fi", step.Failed, "connect to the Wi-Fi network: wrong key"))
	if _, err := w.enroll("pi-node2", 2); err != nil {
		t.Fatal(err)
	}
	w.place("pi-node3", nowhere)
	code, stdout, stderr := w.run("status", "--timeout", "2s")
	if code != isDegraded || stderr != "" {
		t.Errorf("it ends with %d: %s", code, stderr)
	}
	golden.Equal(t, "testdata/status/forming.golden", []byte(still(stdout)))
	code, stdout, _ = w.run("status", "--timeout", "2s", "-o", "json")
	if code != isDegraded {
		t.Errorf("as JSON it ends with %d", code)
	}
	golden.Equal(t, "testdata/status/forming.json.golden", []byte(still(stdout)))
}

// The exit code tells states apart that a script treats differently.
func TestStatus_answersByItsExitCode(t *testing.T) {
	w := newWorld(t, 1, 0, "")
	if code, stdout, _ := w.run("status", "--timeout", "1s"); code != isDegraded || !strings.Contains(stdout, "HEALTH: DEGRADED") {
		t.Errorf("a node that refuses is there: %d\n%s", code, stdout)
	}
	w.place("pi-node0", nowhere)
	if code, stdout, _ := w.run("status", "--timeout", "1s"); code != isAway || !strings.Contains(stdout, "HEALTH: UNKNOWN") {
		t.Errorf("with nothing to be reached: %d\n%s", code, stdout)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	w.place("pi-node0:8643", silent.Addr().String())
	if code, stdout, _ := w.run("status", "--timeout", "1s"); code != isSlow {
		t.Errorf("with a service that says nothing: %d\n%s", code, stdout)
	}
	for _, args := range [][]string{{"status", "x"}, {"status", "-o", "xml"}, {"status", "--timeout", "0s"}, {"status", "--watch", "-o", "json"}, {"status", "--at", "pi-node0"}, {"status", "--nonsense"}} {
		if code, _, stderr := w.run(args...); code != cli.Misuse || stderr == "" {
			t.Errorf("%q: %d %s", args, code, stderr)
		}
	}
	w.write("cluster.yaml", "nodes: many\n")
	if code, _, stderr := w.run("status"); code != cli.Misuse || !strings.Contains(stderr, "cluster.yaml:1:8") {
		t.Errorf("with a bad cluster.yaml: %d %s", code, stderr)
	}
}

// What a stranger's page says must do nothing to the terminal, and is not a node's.
func TestStatus_printsNothingThatATerminalObeys(t *testing.T) {
	w := newWorld(t, 2, 0, "")
	w.page("pi-node0", at(2, "disk/grow", step.Failed, "a\x1b]0;owned\x07b\x1b[2Jc\u202ed"))
	w.page("pi-node1", at(2, "disk/grow", step.Failed, "x"))
	w.place("pi-node0:7390", w.at["pi-node0:7390"])
	_, stdout, _ := w.run("status", "--timeout", "2s")
	if strings.ContainsAny(stdout, "\x1b\x07\u202e") {
		t.Errorf("it prints %q", stdout)
	}
	w.place("pi-node0:7390", w.at["pi-node1:7390"])
	if _, stdout, _ = w.run("status", "--timeout", "2s"); !strings.Contains(stdout, "is of pi-node1") {
		t.Errorf("another node's page is taken for its own:\n%s", stdout)
	}
}

// Without the secrets only Kubernetes can be asked, and that is said.
func TestStatus_withoutSecrets(t *testing.T) {
	w := newWorld(t, 1, 0, "")
	if err := os.RemoveAll(w.Bundle.Dir()); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", w.dir)
	t.Setenv("KUBECONFIG", "")
	code, stdout, _ := w.run("status", "--timeout", "1s")
	if code != isDegraded || !strings.Contains(stdout, "K103") {
		t.Errorf("%d\n%s", code, stdout)
	}
}

func TestExplain_knowsEachWarning(t *testing.T) {
	w := newWorld(t, 1, 0, "")
	var all strings.Builder
	seen := map[string]bool{}
	for _, p := range observe.Problems {
		if seen[p.ID] || p.Cause == "" || p.Itself == "" || len(p.Do) == 0 {
			t.Errorf("%s is there twice, or says too little", p.ID)
		}
		seen[p.ID] = true
		all.WriteString(renderProblem(p) + "\n")
	}
	golden.Equal(t, "testdata/status/explain.golden", []byte(all.String()))
	var out, errs strings.Builder
	env := cli.Env{Stdout: &out, Stderr: &errs}
	if code := cli.Run(context.Background(), program(), env, []string{"explain", "n202"}); code != cli.OK || !strings.HasPrefix(out.String(), "N202 (warning): ") {
		t.Errorf("%d %s", code, out.String())
	}
	if code := cli.Run(context.Background(), program(), env, []string{"explain", "N999"}); code != cli.Usage || !strings.Contains(errs.String(), "clusterctl explain lists them") {
		t.Errorf("%d %s", code, errs.String())
	}
	_ = w
}

// The JSON is read by scripts: it has the fields of its version, and no more secrets
// than the rest.
func TestStatus_JSONHasNoSecrets(t *testing.T) {
	w := newWorld(t, 1, 0, "")
	w.serve()
	_, stdout, _ := w.run("status", "--timeout", "1s", "-o", "json")
	var s observe.Snapshot
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || s.Version != observe.Version {
		t.Fatalf("%v: %s", err, stdout)
	}
	key, err := os.ReadFile(filepath.Join(w.Bundle.Dir(), "operator/operator.key"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(key)) {
		if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") && strings.Contains(stdout, line) {
			t.Error("the operator's key is in it")
		}
	}
}
