// Package browser has a real one, Chromium without a window, look at pages.
package browser

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Browser is Chromium with a profile of its own.
type Browser struct{ path, profile string }

// New fails the test if Chromium is not installed.
func New(t testing.TB) Browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: install the Debian package chromium (make setup)", err)
	}
	return Browser{path, t.TempDir()}
}

// DOM loads a page, as a window of that size ("390,844") shows it, and returns what
// the browser has made of it, and what it has to say against it.
func (b Browser) DOM(t testing.TB, url, size string) (dom, console string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), b.path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-breakpad",
		"--user-data-dir="+b.profile, "--enable-logging=stderr", "--v=0", "--window-size="+size, "--dump-dom", url)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "HOME="+b.profile)
	if err := cmd.Run(); err != nil {
		t.Fatalf("run chromium: %v\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, ":CONSOLE") {
			console += line
		}
	}
	return stdout.String(), console
}
