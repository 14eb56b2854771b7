package doccheck

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/spf13/pflag"

	"picluster/internal/cli"
)

func TestParse_findsBlocksAndTheirNotes(t *testing.T) {
	page := parse("a.md", "text\n\n<!-- not run: it needs a card -->\n```sh\ntool write /dev/x   # the card\n\n# nothing\n```\n* item\n\n  ```yaml\n  a:\n    b\n  ```\n")
	want := []Block{
		{Line: 4, Kind: "sh", Note: "not run: it needs a card", Text: "tool write /dev/x   # the card\n\n# nothing\n"},
		{Line: 11, Kind: "yaml", Indent: "  ", Text: "a:\n  b\n"},
	}
	if !slices.Equal(page.Blocks, want) {
		t.Errorf("blocks are %+v", page.Blocks)
	}
	if got := page.Blocks[0].Commands(); !slices.Equal(got, []string{"tool write /dev/x"}) {
		t.Errorf("commands are %q", got)
	}
}

func tool() cli.Program {
	run := func(context.Context, cli.Env, []string) error { return nil }
	return cli.Program{Name: "tool", Version: "1", Commands: func() []cli.Command {
		return []cli.Command{
			{Name: "write", Run: run, Flags: func(f *pflag.FlagSet) { f.BoolP("yes", "y", false, "do not --ask") }},
			{Name: "disk", Commands: []cli.Command{{Name: "list", Run: run}}},
		}
	}}
}

func TestCheckLine(t *testing.T) {
	for line, want := range map[string]string{
		"tool write /dev/x --yes":            "1 <nil>",
		"sudo tool write -y=true":            "1 <nil>",
		"tool write x --help":                "1 <nil>",
		"tool wirte":                         "1 there is no command wirte",
		"tool write --yess":                  "1 write has no flag --yess",
		"tool write --ask":                   "1 write has no flag --ask",
		"tool write -n":                      "1 write has no flag -n",
		"tool disk":                          "1 <nil>",
		"tool disk list -v":                  "1 <nil>",
		"tool disk lost":                     "1 there is no command disk lost",
		"tool COMMAND --help":                "0 <nil>",
		"tool":                               "0 <nil>",
		"a b | tool write - && tool disk no": "2 there is no command disk no",
		"source <(tool completion bash)":     "1 <nil>",
		"other write --nothing":              "0 <nil>",
	} {
		count, err := checkLine(t, tool(), line)
		if got := fmt.Sprint(count, " ", err); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}
