package doccheck

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"picluster/internal/cli"
)

// Program checks what is said of a program: each command and flag that the
// documentation or the program's own examples name has to exist, and its manual page
// has to be one in the eyes of both formatters that people have.
func Program(t *testing.T, p cli.Program) {
	t.Run("mentions", func(t *testing.T) { mentions(t, p) })
	t.Run("examples", func(t *testing.T) { examples(t, p, p.Commands()) })
	t.Run("manual", func(t *testing.T) { manual(t, p) })
}

func mentions(t *testing.T, p cli.Program) {
	count := 0
	for _, page := range Pages(t) {
		for _, line := range page.commandLines() {
			n, err := checkLine(t, p, line)
			if err != nil {
				t.Errorf("%s: `%s`: %v", page.Name, line, err)
			}
			count += n
		}
	}
	if count == 0 {
		t.Errorf("the documentation never names %s", p.Name)
	}
	t.Logf("%s is named %d times with a command", p.Name, count)
}

func examples(t *testing.T, p cli.Program, commands []cli.Command) {
	for _, c := range commands {
		for _, e := range c.Examples {
			if _, err := checkLine(t, p, e); err != nil {
				t.Errorf("example `%s`: %v", e, err)
			}
		}
		examples(t, p, c.Commands)
	}
}

// What ends one command and begins another, for our purposes.
var joint = regexp.MustCompile(`\||&&|;|<\(|\)|>`)

// checkLine checks each command of the program in a line of a shell, and counts them.
func checkLine(t *testing.T, p cli.Program, line string) (count int, err error) {
	for _, part := range joint.Split(line, -1) {
		words := strings.Fields(part)
		if len(words) > 0 && (words[0] == "sudo" || words[0] == "$") {
			words = words[1:]
		}
		if len(words) < 2 || strings.TrimPrefix(words[0], "bin/") != p.Name || !isWord.MatchString(words[1]) {
			continue
		}
		count++
		if err := checkCommand(t, p, words[1:]); err != nil {
			return count, err
		}
	}
	return count, nil
}

// isWord tells a command from a placeholder (COMMAND), a flag and an ellipsis.
var isWord = regexp.MustCompile(`^[a-z][a-z-]*$`)

// checkCommand asks the program for help, as a person does, until it comes to
// flags.
func checkCommand(t *testing.T, p cli.Program, words []string) error {
	help, path := "", []string(nil)
	for {
		if len(words) == 0 || !isWord.MatchString(words[0]) {
			return nil // a group of commands, named as such
		}
		path, words = append(path, words[0]), words[1:]
		var ok bool
		if help, ok = helpOf(t, p, path); !ok {
			return fmt.Errorf("there is no command %s", strings.Join(path, " "))
		}
		if !strings.Contains(help, "\nCommands:\n") {
			break
		}
	}
	for _, word := range words {
		flag, _, _ := strings.Cut(strings.Trim(word, "[],"), "=")
		if !strings.HasPrefix(flag, "-") || flag == "-" || flag == "--help" {
			continue
		}
		// A line of help begins with a flag's short name, its long one, or both.
		declared := regexp.MustCompile(`(?m)^ +(-\w, )?` + regexp.QuoteMeta(flag) + `([\[, ]|$)`)
		if !declared.MatchString(help[strings.Index(help, "\nFlags:"):]) {
			return fmt.Errorf("%s has no flag %s", strings.Join(path, " "), flag)
		}
	}
	return nil
}

func helpOf(t *testing.T, p cli.Program, path []string) (string, bool) {
	var out, complaints bytes.Buffer
	code := cli.Run(t.Context(), p, cli.Env{Stdout: &out, Stderr: &complaints}, append(append([]string{}, path...), "--help"))
	return out.String(), code == cli.OK
}

// manual has the formatters of Debian's man (groff) and of macOS' (mandoc) judge the
// manual page.
func manual(t *testing.T, p cli.Program) {
	var page, complaints bytes.Buffer
	if code := cli.Run(t.Context(), p, cli.Env{Stdout: &page, Stderr: &complaints}, []string{"man"}); code != cli.OK {
		t.Fatalf("%s man ends with %d: %s", p.Name, code, complaints.String())
	}
	for _, judge := range [][]string{{"groff-base", "groff", "-man", "-Kutf8", "-Tutf8", "-ww", "-z"}, {"mandoc", "mandoc", "-T", "lint", "-W", "warning"}} {
		cmd := exec.Command(judge[1], judge[2:]...)
		cmd.Stdin = bytes.NewReader(page.Bytes())
		out, err := cmd.CombinedOutput()
		if _, ran := err.(*exec.ExitError); err != nil && !ran {
			t.Fatalf("%s (Debian package %s): %v", judge[1], judge[0], err)
		}
		for line := range strings.Lines(string(out)) {
			// The page is made by the program it is about, so it has no date of its own.
			if !strings.Contains(line, "missing date, using") {
				t.Errorf("%s: %s", judge[1], line)
			}
		}
	}
}
