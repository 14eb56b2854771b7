package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/internal/cli"
	"picluster/internal/golden"
	"picluster/internal/joinapi"
	"picluster/internal/lab/desk"
)

// A card that was made after node0's waits; add lets it in because it was made here.
func TestNodeAdd_approvesWhatWasMadeHere(t *testing.T) {
	w := newWorld(t, 2, 0, "")
	w.serve()
	w.Grow(1, 0)
	w.write("cluster.yaml", strings.ReplaceAll(w.read("cluster.yaml"), "nodes: 2", "nodes: 3"))
	if _, err := w.enroll("pi-node2", 2); err == nil {
		t.Fatal("it did not have to wait")
	}
	code, stdout, _ := w.run("node", "list")
	if code != cli.OK || !strings.Contains(stdout, "awaiting-approval") {
		t.Errorf("%d\n%s", code, stdout)
	}
	golden.Equal(t, "testdata/status/cards.golden", []byte(stdout))
	code, _, stderr := w.run("node", "add", "pi-node2", "--timeout", "4s")
	if code != cli.Timeout || !strings.Contains(stderr, "pi-node2: card card-of-pi-node2 was made here, and is approved") {
		t.Errorf("%d\n%s", code, stderr)
	}
	if _, err := w.enroll("pi-node2", 2); err != nil {
		t.Errorf("after approval: %v", err)
	}
	if code, _, stderr := w.run("node", "add", "pi-node9"); code != cli.Usage || !strings.Contains(stderr, "cluster.yaml has no such node") {
		t.Errorf("%d\n%s", code, stderr)
	}
}

func (w *world) read(name string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// A card that was copied is shown, and stays where it was until somebody decides.
func TestNodeApprove_rebindsACardThatWasMoved(t *testing.T) {
	w := newWorld(t, 2, 0, "")
	w.serve()
	if _, err := w.enroll("pi-node1", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.enroll("pi-node1", 7); err == nil {
		t.Fatal("a copy is let in")
	}
	code, stdout, _ := w.run("status", "--timeout", "2s")
	if code != isBroken || !strings.Contains(stdout, "N204") {
		t.Errorf("%d\n%s", code, stdout)
	}
	if code, _, stderr := w.run("node", "approve", "--rebind", "pi-node1"); code != cli.OK {
		t.Errorf("%d\n%s", code, stderr)
	}
	if _, stdout, _ = w.run("status", "--timeout", "2s"); strings.Contains(stdout, "N204") {
		t.Errorf("it is still in conflict:\n%s", stdout)
	}
	if code, _, stderr := w.run("node", "approve", "pi-node8"); code != cli.Usage || !strings.Contains(stderr, "there is no card of pi-node8") {
		t.Errorf("%d\n%s", code, stderr)
	}
}

// Without Kubernetes a card is revoked all the same, and that something is left to do
// is said.
func TestNodeRevoke_worksWhenTheAPIServerIsDown(t *testing.T) {
	w := newWorld(t, 2, 0, "")
	w.serve()
	if _, err := w.enroll("pi-node1", 1); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := w.run("node", "revoke", "pi-node1"); code != cli.Usage || !strings.Contains(stderr, "there is nobody to ask") {
		t.Errorf("without an answer: %d\n%s", code, stderr)
	}
	if code, _, _ := w.runWith(t.Context(), strings.NewReader("yes\n"), "node", "revoke", "pi-node1"); code != cli.Refused {
		t.Errorf("with another answer: %d", code)
	}
	code, _, stderr := w.runWith(t.Context(), strings.NewReader("pi-node1\n"), "node", "revoke", "pi-node1")
	if code != cli.Partial || !strings.Contains(stderr, "its card is revoked") || !strings.Contains(stderr, "run it again when the API server answers") {
		t.Errorf("%d\n%s", code, stderr)
	}
	if _, err := w.enroll("pi-node1", 2); err == nil || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("the card afterwards: %v", err)
	}
	if code, _, stderr := w.run("node", "revoke", "--yes", desk.NodeName(0)); code != cli.Refused {
		t.Errorf("node0: %d\n%s", code, stderr)
	}
}

func TestAudit_isShownAndVerified(t *testing.T) {
	w := newWorld(t, 2, 0, "")
	w.serve()
	if _, err := w.enroll("pi-node1", 1); err != nil {
		t.Fatal(err)
	}
	w.enroll("pi-node1", 7) // a copy
	code, stdout, _ := w.run("audit", "join")
	if code != cli.OK || !strings.Contains(stdout, "enroll") {
		t.Errorf("%d\n%s", code, stdout)
	}
	if _, stdout, _ = w.run("audit", "join", "--alarms"); strings.Count(stdout, "\n") != 1 || !strings.Contains(stdout, "alarm") {
		t.Errorf("alarms:\n%s", stdout)
	}
	_, stdout, _ = w.run("audit", "join", "-o", "json")
	for line := range strings.Lines(stdout) {
		var e joinapi.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
	if code, stdout, _ = w.run("audit", "join", "verify"); code != cli.OK || !strings.Contains(stdout, " entries, each follows the one before it") {
		t.Errorf("%d\n%s", code, stdout)
	}
	if code, _, _ = w.run("audit", "join", "check"); code != cli.Usage {
		t.Errorf("%d", code)
	}
}

// The operator's certificate opens the service, and nothing else does.
func TestOperator_needsTheRightCertificates(t *testing.T) {
	w := newWorld(t, 1, 0, "")
	w.serve()
	mine := w.Bundle.Dir()
	other := newWorld(t, 2, 0, "") // other sizes have other keys
	for _, name := range []string{"operator/operator.crt", "operator/operator.key"} {
		data, err := os.ReadFile(filepath.Join(other.Bundle.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(mine, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, stderr := w.run("node", "list"); code != cli.Device || !strings.Contains(stderr, "does not accept the operator's certificate") {
		t.Errorf("another cluster's operator: %d\n%s", code, stderr)
	}
	other.serve()
	w.place("pi-node0:8643", other.at["pi-node0:8643"])
	if code, _, stderr := w.run("node", "list"); code != cli.Device || !strings.Contains(stderr, "who answers is not this cluster's join service") {
		t.Errorf("another cluster's service: %d\n%s", code, stderr)
	}
}
