// Package cli is the frame that all three programs hang their subcommands in:
// dispatch, flags, help, exit codes, hints and signal handling.
//
// It knows nothing about clusters, cards or Pis. Programs describe themselves
// as a Program value; Main runs it against the process, Run against any streams
// (which is how tests call a whole program in process).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

// Env is what a command may touch of the outside: streams and a logger.
// Results go to Stdout, everything a person reads while waiting to Stderr.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Log    *slog.Logger
}

// Command is one subcommand.
type Command struct {
	Name     string   // as typed: "write"
	Args     string   // the operands, for the usage line: "DEVICE"
	Summary  string   // one line, lower case, no full stop
	Details  string   // optional paragraphs for `--help`
	Examples []string // complete command lines
	// Flags declares the command's flags; nil when it has none. It is called
	// once for each run, so that runs share no state.
	Flags func(*pflag.FlagSet)
	// Run does the work. args are the operands left after flags.
	Run func(ctx context.Context, env Env, args []string) error
	// Verdict is a command whose exit code is its answer (Answer). Only then, errors
	// end it with Misuse instead of Usage, and with Failed instead of any code that
	// could be taken for an answer.
	Verdict bool
	// Complete lists what may come after these operands and flags, for completion in a
	// shell; nil: names of files.
	Complete func(before []string) []string
	// Commands are commands of its own, as in "prog disk list", in place of Flags
	// and Run.
	Commands []Command
}

// Program is a named list of commands.
type Program struct {
	Name     string
	Summary  string
	Commands func() []Command // a function: each run gets fresh flag variables; nil: none of its own
	Version  string           // not empty: there is a last command that prints it
}

// all are the program's commands and the one that every program has.
func (p Program) all() []Command {
	var commands []Command
	if p.Commands != nil {
		commands = p.Commands()
	}
	if p.Version == "" {
		return commands
	}
	return append(commands, completionCommand(p), manualCommand(p), Command{
		Name:    "version",
		Summary: "print the version",
		Run: func(_ context.Context, env Env, _ []string) error {
			_, err := fmt.Fprintf(env.Stdout, "%s %s\n", p.Name, p.Version)
			return err
		},
	})
}

// Main runs the program against the process and exits with its code.
// The first SIGINT or SIGTERM cancels the context so that commands can leave
// things tidy; a second one kills the process the ordinary way.
func Main(p Program) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	env := Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(Run(ctx, p, env, os.Args[1:]))
}

// Run runs the program with args (without the program's name) and returns its
// exit code. All messages have been printed when it returns.
func Run(ctx context.Context, p Program, env Env, args []string) int {
	err := dispatch(ctx, p, env, args)
	if err == nil {
		return OK
	}
	report(env.Stderr, p.Name, err)
	return CodeOf(err)
}

func dispatch(ctx context.Context, p Program, env Env, args []string) error {
	commands := p.all()
	if len(args) == 0 {
		printProgramHelp(env.Stderr, p, commands)
		return Exit(Usage, errors.New("name a command"))
	}
	name := args[0]
	switch name {
	case completeName:
		return complete(env.Stdout, p, args[1:])
	case "help", "-h", "--help":
		if len(args) > 1 && name == "help" {
			return dispatch(ctx, p, env, []string{args[1], "--help"})
		}
		printProgramHelp(env.Stdout, p, commands)
		return nil
	case "--version":
		name = "version"
	}
	for _, c := range commands {
		switch {
		case c.Name != name:
		case c.Commands != nil:
			group := Program{Name: p.Name + " " + c.Name, Summary: c.Summary, Commands: func() []Command { return c.Commands }}
			return dispatch(ctx, group, env, args[1:])
		default:
			err := run(ctx, p, c, env, args[1:])
			if c.Verdict {
				err = unlikeAnAnswer(err)
			}
			return err
		}
	}
	err := fmt.Errorf("find command %q: there is none of that name", name)
	return Exit(Usage, Hint(err, suggest(p, commands, name)))
}

func run(ctx context.Context, p Program, c Command, env Env, args []string) error {
	flags := c.flagSet()
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			printCommandHelp(env.Stdout, p, c, flags)
			return nil
		}
		return Exit(Usage, Hint(fmt.Errorf("read flags of %s: %w", c.Name, err), p.Name+" "+c.Name+" --help lists them"))
	}
	if env.Log == nil {
		level := slog.LevelWarn
		if verbose, err := flags.GetBool("verbose"); err == nil && verbose {
			level = slog.LevelDebug
		}
		env.Log = NewLog(env.Stderr, level)
	}
	if c.Args == "" && flags.NArg() > 0 {
		return Exit(Usage, fmt.Errorf("read operands of %s: it takes none, not %q", c.Name, flags.Arg(0)))
	}
	return c.Run(ctx, env, flags.Args())
}

// flagSet are the command's flags and those that every command has.
func (c Command) flagSet() *pflag.FlagSet {
	flags := pflag.NewFlagSet(c.Name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.SortFlags = false
	if c.Flags != nil {
		c.Flags(flags)
	}
	flags.BoolP("verbose", "v", false, "also show what is done in detail")
	return flags
}

// unlikeAnAnswer gives an error of a Verdict command a code that is none of its
// answers.
func unlikeAnAnswer(err error) error {
	var answer *answerError
	switch code := CodeOf(err); {
	case errors.As(err, &answer), code == OK:
		return err
	case code == Usage:
		return Exit(Misuse, err)
	case code < Device:
		return Exit(Failed, err)
	}
	return err
}

// NewLog is a logger for people: lines of text, from a level on, without the time.
func NewLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: dropTime}))
}

// dropTime keeps log lines comparable and short: a person watching knows the time.
func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func report(w io.Writer, program string, err error) {
	if answer := new(answerError); errors.As(err, &answer) {
		return
	}
	for _, line := range strings.Split(strings.TrimRight(err.Error(), "\n"), "\n") {
		fmt.Fprintf(w, "%s: error: %s\n", program, line)
	}
	for _, hint := range hintsOf(err) {
		fmt.Fprintf(w, "%s: hint: %s\n", program, hint)
	}
}
