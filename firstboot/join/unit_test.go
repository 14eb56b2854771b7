package join

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// systemd's own judgement: every line is understood, and little is left to a service
// that was taken over. ("systemd-analyze security" rates 0 to 10; below 2 is "OK".)
func TestUnit_isUnderstoodAndNarrow(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, UnitName)
	// The program is not installed here; any will do to look at the rest.
	text := strings.Replace(Unit, "/usr/local/sbin/firstboot", "/bin/true", 1)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--recursive-errors=no", "--man=no", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--no-pager", file).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze security: %v\n%s", err, out)
	}
	m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("systemd-analyze security:\n%s", out)
	}
	if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level >= 2 {
		t.Errorf("exposure level is %s:\n%s", m[1], out)
	}
}
