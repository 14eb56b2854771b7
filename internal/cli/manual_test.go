package cli

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// rendered has a formatter print a manual page for a terminal. Both formatters
// complain about what they do not understand on their standard error.
func rendered(t *testing.T, page []byte, pkg, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(page)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil || complaints.Len() > 0 {
		t.Errorf("%s (Debian package %s): %v\n%s", name, pkg, err, complaints.String())
	}
	return out.String()
}

func TestManual_saysWhatTheCommandsSay(t *testing.T) {
	var page, stderr bytes.Buffer
	p := testProgram()
	p.Version = "1"
	if code := Run(t.Context(), p, Env{Stdout: &page, Stderr: &stderr}, []string{"man"}); code != OK {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	// Debian's man formats with groff, that of macOS with mandoc.
	for formatter, text := range map[string]string{
		"groff":  rendered(t, page.Bytes(), "groff-base", "groff", "-man", "-Tascii", "-ww", "-P-c"), // -P-c: bold as on paper terminals
		"mandoc": rendered(t, page.Bytes(), "mandoc", "mandoc", "-Tascii"),
	} {
		text = plain(text)
		for _, want := range []string{
			"prog - tries the frame", "prog greet NAME [FLAGS]", "Say hello.", "--loud", "in capitals", "prog greet you",
			"prog disk list [FLAGS]", "The exit status is the answer", "Refused, because it would destroy something.",
			`.it's a ~ \n 'quoted'`, "  cni   left as it is",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s shows no %q in\n%s", formatter, want, text)
			}
		}
	}
}

// plain takes away what a terminal shows as bold or underlined: a character, a
// backspace, the character again.
func plain(text string) string {
	var b strings.Builder
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		if i+1 < len(runes) && runes[i+1] == '\b' {
			i++
			continue
		}
		b.WriteRune(runes[i])
	}
	return b.String()
}

func TestManual_takesNoOperands(t *testing.T) {
	p := testProgram()
	p.Version = "1"
	var stderr bytes.Buffer
	if code := Run(t.Context(), p, Env{Stderr: &stderr}, []string{"man", "greet"}); code != Usage {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}
