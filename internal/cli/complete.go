package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// completeName is the command that shells call. The words are those typed so far,
// the last one being the one to complete, maybe empty.
const completeName = "__complete"

// scripts hand the question to the program itself, so that what it offers is always
// what it has. Where it has nothing to offer, shells complete names of files.
var scripts = map[string]string{
	"bash": `_%[1]s() {
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$(%[1]s __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _%[1]s %[1]s
`,
	"zsh": `#compdef %[1]s
_%[1]s() {
	local -a offered
	offered=(${(f)"$(%[1]s __complete ${words[2,CURRENT-1]} "${words[CURRENT]}" 2>/dev/null)"})
	if (( $#offered )); then compadd -a offered; else _files; fi
}
compdef _%[1]s %[1]s
`,
	"fish": `complete -c %[1]s -a '(%[1]s __complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

// completionCommand prints the script of a shell.
func completionCommand(p Program) Command {
	return Command{
		Name: "completion", Args: "bash|zsh|fish", Summary: "print what completes commands in a shell",
		Examples: []string{fmt.Sprintf("source <(%s completion bash)", p.Name), fmt.Sprintf("%s completion fish > ~/.config/fish/completions/%s.fish", p.Name, p.Name)},
		Complete: func([]string) []string { return []string{"bash", "fish", "zsh"} },
		Run: func(_ context.Context, env Env, args []string) error {
			if len(args) != 1 || scripts[args[0]] == "" {
				return Exit(Usage, errors.New("read operands of completion: name a shell: bash, zsh or fish"))
			}
			_, err := fmt.Fprintf(env.Stdout, scripts[args[0]], p.Name)
			return err
		},
	}
}

// complete prints what may stand in place of the last word, a line for each.
func complete(w io.Writer, p Program, words []string) error {
	if len(words) == 0 {
		words = []string{""}
	}
	for _, offer := range offers(p.all(), words[:len(words)-1], words[len(words)-1]) {
		if strings.HasPrefix(offer, words[len(words)-1]) {
			if _, err := fmt.Fprintln(w, offer); err != nil {
				return err
			}
		}
	}
	return nil
}

func offers(commands []Command, before []string, last string) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	if len(before) == 0 {
		return names
	}
	if before[0] == "help" && len(before) == 1 {
		return names
	}
	i := slices.Index(names, before[0])
	if i < 0 {
		return nil
	}
	if c := commands[i]; c.Commands != nil {
		return offers(c.Commands, before[1:], last)
	}
	return commands[i].offers(before[1:], last)
}

// offers of one command: its flags where a flag was begun, its operands elsewhere,
// and nothing where the value of a flag is due.
func (c Command) offers(before []string, last string) []string {
	flags := c.flagSet()
	if strings.HasPrefix(last, "-") {
		var names []string
		flags.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, "--"+f.Name)
			}
		})
		return append(names, "--help")
	}
	if len(before) > 0 && wantsValue(flags, before[len(before)-1]) {
		return nil
	}
	if c.Complete == nil {
		return nil
	}
	return c.Complete(before)
}

func wantsValue(flags *pflag.FlagSet, word string) bool {
	var f *pflag.Flag
	switch {
	case strings.Contains(word, "="):
		return false
	case strings.HasPrefix(word, "--"):
		f = flags.Lookup(strings.TrimPrefix(word, "--"))
	case strings.HasPrefix(word, "-") && len(word) == 2:
		f = flags.ShorthandLookup(word[1:])
	}
	return f != nil && f.NoOptDefVal == ""
}
