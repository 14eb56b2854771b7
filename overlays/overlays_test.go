package overlays

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What go:embed loses without a word must not be in the tree at all.
func TestTree_isWhatEmbedKeeps(t *testing.T) {
	seen := map[string]bool{}
	for _, dir := range []string{"boot", "root"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if !info.Mode().IsRegular() {
				t.Errorf("%s is not a regular file; embed would drop it", path)
				return nil
			}
			if _, listed := modes[path]; info.Mode()&0o111 != 0 != listed && modes[path]&0o111 != info.Mode()&0o111 {
				t.Errorf("%s has mode %o but the table of modes says otherwise", path, info.Mode())
			}
			onDisk, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			embedded, err := files.ReadFile(path)
			if err != nil || !bytes.Equal(onDisk, embedded) {
				t.Errorf("%s is not embedded as it is on disk (%v)", path, err)
			}
			seen[path] = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for path := range modes {
		if !seen[path] {
			t.Errorf("the table of modes names %s, which does not exist", path)
		}
	}
	if len(seen) == 0 {
		t.Error("no overlay found")
	}
}

// start.sh runs under the shell of five Debian releases, as PID 1's child,
// where a syntax error would cost the whole first boot.
func TestStartScript_isPlainShell(t *testing.T) {
	script := "boot/picluster/start.sh"
	if out, err := exec.Command("dash", "-n", script).CombinedOutput(); err != nil {
		t.Errorf("dash -n: %v\n%s", err, out)
	}
	data, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsRune(data, '\r') {
		t.Error("start.sh has CR line ends")
	}
}

// An agent that does not start leaves a word for the person who pulls the card.
func TestStartScript_saysWhenTheAgentDoesNotRun(t *testing.T) {
	for name, tc := range map[string]struct {
		agent  []byte
		status bool
	}{
		"of another architecture": {[]byte("\x7fELF\x02\x01\x01 for some other machine"), true},
		"missing":                 {nil, true},
		"failing by itself":       {[]byte("#!/bin/sh\nexit 1\n"), false}, // the agent writes its own status
	} {
		t.Run(name, func(t *testing.T) {
			boot := t.TempDir()
			if err := os.Mkdir(filepath.Join(boot, "picluster"), 0o755); err != nil {
				t.Fatal(err)
			}
			if tc.agent != nil {
				if err := os.WriteFile(filepath.Join(boot, "picluster/firstboot"), tc.agent, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command("dash", "boot/picluster/start.sh", boot).CombinedOutput()
			if err != nil {
				t.Fatalf("start.sh fails: %v\n%s", err, out)
			}
			_, err = os.Stat(filepath.Join(boot, "STATUS.txt"))
			if wrote := err == nil; wrote != tc.status {
				t.Errorf("STATUS.txt written: %v, want %v\n%s", wrote, tc.status, out)
			}
		})
	}
}
