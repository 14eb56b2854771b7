package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// manualCommand prints the program's manual page. It is made from the commands
// themselves, so that it never says more or less than the program does.
func manualCommand(p Program) Command {
	return Command{
		Name: "man", Summary: "print the manual page",
		Details:  "In the form of man(7), for man and mandoc.",
		Examples: []string{p.Name + " man | man -l -"},
		Run: func(_ context.Context, env Env, args []string) error {
			w := bufio.NewWriter(env.Stdout)
			writeManual(w, p)
			return w.Flush()
		},
	}
}

// meanings says what exit codes tell, in the words of the manual page.
var meanings = []struct {
	code int
	text string
}{
	{OK, "All is done."},
	{Failed, "It failed."},
	{Usage, "Wrong use, or a mistake in cluster.yaml."},
	{Integrity, "A digest, a host key or a log differs from what it should be."},
	{Refused, "Refused, because it would destroy something."},
	{Device, "A device or the network is at fault."},
	{Timeout, "The time is over."},
	{Partial, "Some of several things failed."},
	{interrupted, "Stopped by Ctrl-C."},
}

func writeManual(w io.Writer, p Program) {
	// Without a date: the page is never older than the program it comes from.
	fmt.Fprintf(w, ".TH %s 1 \"\" \"%s %s\" \"picluster\"\n", strings.ToUpper(p.Name), p.Name, p.Version)
	fmt.Fprintf(w, ".SH NAME\n%s \\- %s\n", p.Name, roff(p.Summary))
	fmt.Fprintf(w, ".SH SYNOPSIS\n.B %s\n.I COMMAND\n.RI [ FLAGS ]\n", p.Name)
	fmt.Fprint(w, ".SH COMMANDS\n")
	writeManualCommands(w, p.Name, p.all())
	fmt.Fprint(w, ".SH FLAGS OF ALL COMMANDS\n")
	writeManualFlags(w, Command{}.flagSet())
	writeManualItem(w, "--help", "show what stands here about that command")
	fmt.Fprint(w, ".SH EXIT STATUS\n")
	for _, m := range meanings {
		writeManualItem(w, fmt.Sprint(m.code), m.text)
	}
}

func writeManualCommands(w io.Writer, parent string, commands []Command) {
	for _, c := range commands {
		name := parent + " " + c.Name
		if c.Commands != nil {
			writeManualCommands(w, name, c.Commands)
			continue
		}
		fmt.Fprintf(w, ".SS %s\n", roff(strings.Join(strings.Fields(name+" "+c.Args+" [FLAGS]"), " ")))
		writeManualText(w, strings.ToUpper(c.Summary[:1])+c.Summary[1:]+".")
		if c.Details != "" {
			fmt.Fprint(w, ".PP\n")
			writeManualText(w, c.Details)
		}
		if c.Verdict {
			fmt.Fprintf(w, ".PP\nThe exit status is the answer; wrong use ends with %d.\n", Misuse)
		}
		flags := c.flagSet()
		flags.Lookup("verbose").Hidden = true
		writeManualFlags(w, flags)
		for i, e := range c.Examples {
			if i == 0 {
				fmt.Fprint(w, ".PP\nExamples:\n")
			}
			writeManualVerbatim(w, e)
		}
	}
}

// writeManualFlags takes pflag's own words: on one line the flag, three spaces or
// more, what it does.
func writeManualFlags(w io.Writer, flags *pflag.FlagSet) {
	for line := range strings.Lines(usages(flags, 0)) {
		flag, usage, _ := strings.Cut(strings.TrimSpace(line), "   ")
		writeManualItem(w, flag, strings.TrimSpace(usage))
	}
}

func writeManualItem(w io.Writer, name, text string) {
	fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(name), roff(text))
}

// writeManualText fills paragraphs, and leaves lines as they are that are indented.
func writeManualText(w io.Writer, text string) {
	for line := range strings.Lines(text) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "":
			fmt.Fprint(w, ".PP\n")
		case strings.HasPrefix(line, " "):
			writeManualVerbatim(w, strings.TrimPrefix(line, "  "))
		default:
			fmt.Fprintf(w, "%s\n", roff(line))
		}
	}
}

func writeManualVerbatim(w io.Writer, line string) {
	fmt.Fprintf(w, ".RS 4\n.nf\n%s\n.fi\n.RE\n", roff(line))
}

// roff makes text safe for the formatter. Hyphens, quotes and tildes become those of
// ASCII: formatters set others, which a shell does not take after copying. Of the rest
// there may be no form where the terminal has ASCII only.
func roff(text string) string {
	text = escapes.Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, `\(aq`) {
		return `\&` + text
	}
	return text
}

var escapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "…", "...")
