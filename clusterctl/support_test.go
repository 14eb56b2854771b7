package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"picluster/internal/cli"
)

// Whatever is planted anywhere at the desk is not in the archive; what could not be
// asked is named.
func TestSupport_hasNoSecrets(t *testing.T) {
	w := newWorld(t, 2, 0, "network: {country: CH, wifi: [{ssid: planted-network, passphraseFile: wifi.txt}]}\n")
	w.write("wifi.txt", "planted-passphrase\n")
	w.serve()
	if _, err := w.enroll("pi-node1", 1); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "support.tar.gz")
	code, stdout, stderr := w.run("support", "--output", file)
	if code != cli.OK || strings.TrimSpace(stdout) != file {
		t.Fatalf("%d %s\n%s", code, stdout, stderr)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
	all := unpacked(t, file)
	for _, name := range []string{"status.json", "doctor.txt", "cluster.json", "cards.json", "audit.jsonl", "missing.txt"} {
		if all[name] == "" {
			t.Errorf("there is no %s", name)
		}
	}
	if !strings.Contains(all["missing.txt"], "nodes/pi-node1: ") || !strings.Contains(all["missing.txt"], "kubernetes: ") {
		t.Errorf("missing is\n%s", all["missing.txt"])
	}
	for name, text := range all {
		if strings.Contains(text, "planted") || strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("%s has a secret:\n%s", name, text)
		}
	}
	if code, _, _ = w.run("support", "--output", file); code == cli.OK {
		t.Error("a file that is there is written over")
	}
}

func unpacked(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		all[name] = string(text)
	}
}
