package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"picluster/internal/cli"
	"picluster/internal/host/hosttest"
)

// bootFile is where Linux has the id of a boot.
const bootFile = "proc/sys/kernel/random/boot_id"

// plainNode is a node without Kubernetes whose systemctl does what it is given.
func plainNode(t *testing.T, systemctl string) *node0 {
	t.Helper()
	w := newWorld(t, 1, 0, "kubernetes: {enabled: false}\n")
	n := newNode0(t, w)
	file := filepath.Join(n.root, bootFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("before\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := hosttest.WriteProgram(filepath.Join(n.root, "usr/bin/systemctl"), "#!/usr/bin/sh\n"+systemctl+"\n"); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestReboot_waitsForAnotherBoot(t *testing.T) {
	n := plainNode(t, `[ "$*" = reboot ] && echo after >/`+bootFile)
	var stderr bytes.Buffer
	if err := n.reboot(t.Context(), cli.Env{Stderr: &stderr}, "pi-node0", time.Minute); err != nil || !strings.Contains(stderr.String(), "pi-node0 restarts") {
		t.Errorf("%v: %s", err, stderr.String())
	}
}

// A Pi that does not come back is said to be away, and a reboot that was refused is
// not waited for.
func TestReboot_saysWhatWentWrong(t *testing.T) {
	n := plainNode(t, `exit 0`)
	err := n.reboot(t.Context(), cli.Env{Stderr: new(bytes.Buffer)}, "pi-node0", 3*time.Second)
	if cli.CodeOf(err) != cli.Timeout || !strings.Contains(err.Error(), "wait for the reboot of pi-node0: it is not back after 3s") {
		t.Errorf("%d: %v", cli.CodeOf(err), err)
	}
	n = plainNode(t, `echo "Access denied" >&2; exit 4`)
	err = n.reboot(t.Context(), cli.Env{Stderr: new(bytes.Buffer)}, "pi-node0", time.Minute)
	if cli.CodeOf(err) != cli.Device || !strings.Contains(err.Error(), "reboot pi-node0: run systemctl reboot: exit status 4: Access denied") {
		t.Errorf("%d: %v", cli.CodeOf(err), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.reboot(ctx, cli.Env{Stderr: new(bytes.Buffer)}, "pi-node0", time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("after Ctrl-C: %v", err)
	}
}
