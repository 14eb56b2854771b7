// Package doctor looks for what is wrong, and says what helps: at the desk, in the
// network, in the cluster, on one node. It changes nothing.
//
// A Check is one line, and a Group those about one thing. Whoever reads only the
// lines that did not pass knows what to do.
package doctor

import (
	"fmt"
	"io"
)

// Result is how a check has gone.
type Result string

const (
	Pass Result = "pass"
	Warn Result = "warning" // it works, and not as well as it should
	Fail Result = "error"
	Skip Result = "skipped" // it does not apply here, or cannot be looked at
)

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Text   string `json:"text,omitempty"` // what was found
	Hint   string `json:"hint,omitempty"` // what helps
}

// Group are the checks about one thing.
type Group struct {
	Name   string  `json:"name"`
	Checks []Check `json:"checks"`
}

// Worst is the worst result of all.
func Worst(groups []Group) Result {
	worst := Pass
	for _, g := range groups {
		for _, c := range g.Checks {
			if c.Result == Fail || c.Result == Warn && worst == Pass {
				worst = c.Result
			}
		}
	}
	return worst
}

// marks are those of `linkerd check`, which people know.
var marks = map[Result]string{Pass: "√", Warn: "‼", Fail: "×", Skip: "-"}

// Print writes the groups for people: a line for each check, below it what was found
// and what helps, where it did not pass.
func Print(w io.Writer, groups []Group) error {
	for i, g := range groups {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, g.Name)
		for _, c := range g.Checks {
			line := marks[c.Result] + " " + c.Name
			if c.Text != "" && (c.Result == Pass || c.Result == Skip) {
				line += ": " + c.Text
			}
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
			if c.Result == Pass || c.Result == Skip {
				continue
			}
			for _, more := range []string{c.Text, hinted(c.Hint)} {
				if more != "" {
					fmt.Fprintf(w, "    %s\n", more)
				}
			}
		}
	}
	return nil
}

func hinted(hint string) string {
	if hint == "" {
		return ""
	}
	return "→ " + hint
}

func pass(name, format string, args ...any) Check {
	return Check{Name: name, Result: Pass, Text: fmt.Sprintf(format, args...)}
}

func warn(name, hint, format string, args ...any) Check {
	return Check{Name: name, Result: Warn, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func fail(name, hint, format string, args ...any) Check {
	return Check{Name: name, Result: Fail, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func skip(name, format string, args ...any) Check {
	return Check{Name: name, Result: Skip, Text: fmt.Sprintf(format, args...)}
}
