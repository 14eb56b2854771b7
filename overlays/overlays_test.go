package overlays

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	const script = "boot/picluster/start.sh"
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

// Whoever pulls the card finds why, also if the agent was not able to say so, and
// never what an earlier boot has left.
func TestStartScript_leavesAWordOfThisBoot(t *testing.T) {
	machine, err := exec.Command("uname", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	noRun := "Why: the program picluster/firstboot has exit code %s. It does not run on this Pi (" + strings.TrimSpace(string(machine)) + ")."
	for name, tc := range map[string]struct {
		agent string
		line  string // that STATUS.txt has; "" if there is no STATUS.txt
	}{
		"of another architecture": {"\x7fELF\x02\x01\x01 for some other machine", strings.Replace(noRun, "%s", "126", 1)},
		"missing":                 {"", strings.Replace(noRun, "%s", "127", 1)},
		"killed":                  {"#!/bin/sh\nkill -9 $$\n", "Why: the program picluster/firstboot has exit code 137. It ended without a word."},
		"failing, and says so":    {"#!/bin/sh\necho mine >$3/STATUS.txt\nexit 1\n", "mine"},
		"working":                 {"#!/bin/sh\n[ ! -e $3/STATUS.txt ]\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			boot := t.TempDir()
			if err := os.Mkdir(filepath.Join(boot, "picluster"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(boot, "STATUS.txt"), []byte("of an earlier boot"), 0o644); err != nil {
				t.Fatal(err)
			}
			if tc.agent != "" {
				if err := os.WriteFile(filepath.Join(boot, "picluster/firstboot"), []byte(tc.agent), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command("dash", "boot/picluster/start.sh", boot).CombinedOutput()
			if err != nil {
				t.Fatalf("start.sh fails: %v\n%s", err, out)
			}
			status, err := os.ReadFile(filepath.Join(boot, "STATUS.txt"))
			if (err == nil) != (tc.line != "") || !strings.Contains(string(status), tc.line) {
				t.Errorf("STATUS.txt is %q, %v; want %q\n%s", status, err, tc.line, out)
			}
		})
	}
}
