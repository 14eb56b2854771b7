package daemon

import (
	"context"
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"picluster/internal/golden"
	"picluster/internal/host"
	"picluster/internal/host/hosttest"
)

func TestRules(t *testing.T) {
	text, err := rules("10.77.0.11\n10.77.0.10\n10.77.0.10\n")
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/rules.golden", []byte(text))
	nobody, err := rules("")
	if err != nil || strings.Contains(nobody, "elements") {
		t.Errorf("without peers the rules are %s: %v", nobody, err)
	}
	for _, peers := range []string{"10.77.0.0/24", "node1", "fd00::1", "10.77.0.10; flush ruleset"} {
		if _, err := rules(peers); err == nil {
			t.Errorf("%q is taken for addresses", peers)
		}
	}
	// nft itself reads them, in a network of their own.
	nft := exec.Command("unshare", "--net", "nft", "--check", "--file", "-")
	nft.Stdin = strings.NewReader(text + nobody)
	if out, err := nft.CombinedOutput(); err != nil {
		t.Errorf("nft (Debian package nftables) refuses the rules: %v\n%s", err, out)
	}
}

// The file of peers is a mounted ConfigMap: it may not be there yet, and changes.
func TestFirewall_followsTheFile(t *testing.T) {
	m := hosttest.NewMachine(t)
	m.Fake("nft", `cat >>"$ROOT/nft.log"`)
	var f firewall
	ctx := context.Background()
	keep := func() {
		t.Helper()
		if err := f.keep(ctx, m, "/peers"); err != nil {
			t.Fatal(err)
		}
	}
	keep()
	keep()
	if err := m.Write(ctx, "/peers", host.File{Data: []byte("10.77.0.10\n"), Mode: fs.FileMode(0o644)}); err != nil {
		t.Fatal(err)
	}
	keep()
	keep()
	log, err := m.ReadFile(ctx, "/nft.log")
	if err != nil || strings.Count(string(log), "delete table") != 2 || strings.Count(string(log), "10.77.0.10") != 1 {
		t.Errorf("nft was told %s: %v", log, err)
	}
	if err := m.Write(ctx, "/peers", host.File{Data: []byte("everybody\n")}); err != nil {
		t.Fatal(err)
	}
	if err := f.keep(ctx, m, "/peers"); err == nil {
		t.Error("what is no address changes the rules")
	}
}
