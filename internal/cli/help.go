package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/pflag"
)

func printProgramHelp(w io.Writer, p Program, commands []Command) {
	fmt.Fprintf(w, "%s: %s\n\nUsage: %s COMMAND [FLAGS]\n\nCommands:\n", p.Name, p.Summary, p.Name)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, c := range commands {
		fmt.Fprintf(t, "  %s\t%s\n", c.Name, c.Summary)
	}
	t.Flush()
	fmt.Fprintf(w, "\n%s COMMAND --help tells more about one of them.\n", p.Name)
}

func printCommandHelp(w io.Writer, p Program, c Command, flags *pflag.FlagSet) {
	operands := ""
	if c.Args != "" {
		operands = " " + c.Args
	}
	fmt.Fprintf(w, "%s %s: %s\n\nUsage: %s %s%s [FLAGS]\n", p.Name, c.Name, c.Summary, p.Name, c.Name, operands)
	if c.Details != "" {
		fmt.Fprintf(w, "\n%s\n", c.Details)
	}
	fmt.Fprintf(w, "\nFlags:\n%s", usages(flags, 100))
	for i, e := range c.Examples {
		if i == 0 {
			fmt.Fprint(w, "\nExamples:\n")
		}
		fmt.Fprintf(w, "  %s\n", e)
	}
}

// usages describes flags, in lines of at most so many columns; 0: one line for each.
// A boolean flag stands as it is typed, where pflag would say --yes[=true|false].
func usages(flags *pflag.FlagSet, columns int) string {
	shown := pflag.NewFlagSet("", pflag.ContinueOnError)
	shown.SortFlags = false
	flags.VisitAll(func(f *pflag.Flag) {
		as := *f
		if f.Value.Type() == "bool" {
			as.Value = onOff{f.Value}
		}
		shown.AddFlag(&as)
	})
	return shown.FlagUsagesWrapped(columns)
}

// onOff is a boolean flag whose value nobody is told to type.
type onOff struct{ pflag.Value }

func (onOff) Type() string { return "boolfunc" }

// suggest names the command that the typo most likely meant.
func suggest(p Program, commands []Command, typed string) string {
	best, distance := "", 3
	for _, c := range commands {
		if strings.HasPrefix(c.Name, typed) {
			return fmt.Sprintf("did you mean %s %s?", p.Name, c.Name)
		}
		if d := levenshtein.ComputeDistance(typed, c.Name); d < distance {
			best, distance = c.Name, d
		}
	}
	if best == "" {
		return p.Name + " help lists the commands"
	}
	return fmt.Sprintf("did you mean %s %s?", p.Name, best)
}
