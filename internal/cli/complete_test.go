package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func completed(t *testing.T, words ...string) []string {
	t.Helper()
	p := testProgram()
	p.Version = "1"
	var out bytes.Buffer
	if err := complete(&out, p, words); err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out.String())
}

func TestComplete(t *testing.T) {
	for _, tc := range []struct {
		words []string
		want  string
	}{
		{[]string{"g"}, "[greet]"},
		{[]string{"disk", ""}, "[list]"},
		{[]string{"disk", "li"}, "[list]"},
		{[]string{"greet", "--l"}, "[--loud]"},
		{[]string{"greet", "--"}, "[--loud --verbose --help]"},
		{[]string{"help", "gr"}, "[greet]"},
		{[]string{"greet", ""}, "[]"},
		{[]string{"completion", ""}, "[bash fish zsh]"},
		{[]string{"nothing", ""}, "[]"},
		{[]string{"disk", "list", "--v"}, "[--verbose]"},
	} {
		if got := fmt.Sprint(completed(t, tc.words...)); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.words, got, tc.want)
		}
	}
}

// shells run the script that `completion` prints, and say what they offer.
var shells = map[string]string{
	"bash": `source ./script; COMP_WORDS=(prog disk li); COMP_CWORD=2; _prog; echo "${COMPREPLY[*]}"`,
	"zsh":  `autoload -U compinit; compinit -u -D; compadd() { shift; echo ${(P)1} }; source ./script; words=(prog disk li); CURRENT=3; _prog`,
	"fish": `source ./script; complete -C 'prog disk li'`,
}

func TestCompletion_worksInTheShells(t *testing.T) {
	for shell, test := range shells {
		dir := t.TempDir()
		var script, stderr bytes.Buffer
		p := testProgram()
		p.Version = "1"
		if code := Run(t.Context(), p, Env{Stdout: &script, Stderr: &stderr}, []string{"completion", shell}); code != OK {
			t.Fatalf("%s: %d %s", shell, code, stderr.String())
		}
		// The program answers what TestComplete has seen.
		for name, text := range map[string]string{"script": script.String(), "prog": "#!/bin/sh\n[ \"$*\" = '__complete disk li' ] && echo list\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(shell, "-c", test)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s (Debian package %s): %v\n%s", shell, shell, err, out)
		} else if got := strings.TrimSpace(string(out)); got != "list" {
			t.Errorf("%s offers %q", shell, got)
		}
	}
}
