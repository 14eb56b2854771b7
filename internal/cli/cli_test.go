package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func testProgram() Program {
	return Program{Name: "prog", Summary: "tries the frame", Commands: func() []Command {
		var loud bool
		return []Command{
			{Name: "greet", Args: "NAME", Summary: "say hello", Examples: []string{"prog greet you"},
				Flags: func(f *pflag.FlagSet) { f.BoolVar(&loud, "loud", false, "in capitals") },
				Run: func(_ context.Context, env Env, args []string) error {
					text := "hello " + strings.Join(args, " ")
					if loud {
						text = strings.ToUpper(text)
					}
					_, err := io.WriteString(env.Stdout, text+"\n")
					env.Log.Debug("greeted", "name", args)
					return err
				}},
			{Name: "fail", Summary: "fail with code 4", Run: func(context.Context, Env, []string) error {
				return Exit(Refused, Hint(fmt.Errorf("write card: %w", errors.New("line one\nline two")), "take another card"))
			}},
			{Name: "is", Args: "WHAT", Summary: "answer by the exit code", Verdict: true,
				Details: ".it's a ~ \\n 'quoted' `word`:\n\n  cni   left as it is\n\nand so on", Run: func(_ context.Context, env Env, args []string) error {
					switch args[0] {
					case "good":
						return Answer(OK)
					case "bad":
						return Answer(Usage)
					}
					return Exit(Refused, errors.New("ask: that is no question"))
				}},
			{Name: "disk", Summary: "look after disks", Commands: []Command{
				{Name: "list", Summary: "list disks", Run: func(_ context.Context, env Env, args []string) error {
					_, err := fmt.Fprintf(env.Stdout, "disks: %q\n", args)
					return err
				}},
			}},
		}
	}}
}

func runTest(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Run(context.Background(), testProgram(), Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &err}, args)
	return code, out.String(), err.String()
}

func TestRun(t *testing.T) {
	for _, tc := range []struct {
		args           string
		code           int
		stdout, stderr string // substrings
	}{
		{"greet you", OK, "hello you\n", ""},
		{"greet --loud you", OK, "HELLO YOU\n", ""},
		{"greet you", OK, "hello you\n", ""}, // the flag of the run before is forgotten
		{"greet -v you", OK, "hello you\n", "level=DEBUG msg=greeted"},
		{"greet --lout you", Usage, "", "hint: prog greet --help lists them"},
		{"greet --help", OK, "Usage: prog greet NAME [FLAGS]", ""},
		{"greet --help", OK, "\n      --loud      in capitals\n  -v, --verbose   also show", ""},
		{"help greet", OK, "prog greet you", ""},
		{"--help", OK, "say hello", ""},
		{"", Usage, "", "name a command"},
		{"gret", Usage, "", "did you mean prog greet?"},
		{"gr", Usage, "", "did you mean prog greet?"},
		{"zzzzzzzz", Usage, "", "prog help lists the commands"},
		{"is good", OK, "", ""},
		{"is bad", Usage, "", ""},
		{"is it", Failed, "", "prog: error: ask: that is no question"},
		{"is --bad", Misuse, "", "hint: prog is --help lists them"},
		{"disk list -v", OK, "disks: []\n", ""},
		{"disk list a", Usage, "", "prog: error: read operands of list: it takes none, not \"a\"\n"},
		{"disk list --help", OK, "Usage: prog disk list [FLAGS]", ""},
		{"disk --help", OK, "prog disk: look after disks", ""},
		{"help disk", OK, "prog disk COMMAND --help", ""},
		{"disk", Usage, "", "prog: error: name a command"},
		{"disk lis", Usage, "", "did you mean prog disk list?"},
		{"fail", Refused, "", "prog: error: write card: line one\nprog: error: line two\nprog: hint: take another card\n"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			code, stdout, stderr := runTest(strings.Fields(tc.args)...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if !strings.Contains(stdout, tc.stdout) || tc.stdout == "" && stdout != "" {
				t.Errorf("stdout: %q, want %q in it", stdout, tc.stdout)
			}
			if !strings.Contains(stderr, tc.stderr) || tc.stderr == "" && stderr != "" {
				t.Errorf("stderr: %q, want %q in it", stderr, tc.stderr)
			}
		})
	}
}

func TestCodeOf(t *testing.T) {
	base := errors.New("x")
	for _, tc := range []struct {
		err  error
		code int
	}{
		{nil, OK},
		{base, Failed},
		{Exit(Integrity, base), Integrity},
		{fmt.Errorf("more: %w", Exit(Device, base)), Device},
		{Hint(Exit(Timeout, base), "h"), Timeout},
		{Exit(Usage, Exit(Device, base)), Usage}, // the outermost mark counts
		{fmt.Errorf("stop: %w", context.Canceled), 130},
		{Exit(OK, nil), OK},
	} {
		if code := CodeOf(tc.err); code != tc.code {
			t.Errorf("CodeOf(%v) = %d, want %d", tc.err, code, tc.code)
		}
	}
}
