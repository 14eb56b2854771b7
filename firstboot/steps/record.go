package steps

import (
	"slices"
	"strings"
)

// records changes the first record of n fields that match takes, drops further
// ones, and adds one (made from nil) where there is none.
func records(text string, n int, match func([]string) (bool, error), change func([]string) []string) (string, error) {
	var failed error
	found := false
	var out strings.Builder
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != n {
			out.WriteString(line) // a comment, NIS, damage: not ours to judge
			continue
		}
		ok, err := match(f)
		switch {
		case err != nil:
			failed = err
		case !ok:
			out.WriteString(line)
		case !found:
			out.WriteString(strings.Join(change(f), ":") + "\n")
		}
		found = found || ok
	}
	if !found && failed == nil {
		if s := out.String(); s != "" && !strings.HasSuffix(s, "\n") {
			out.WriteByte('\n')
		}
		out.WriteString(strings.Join(change(nil), ":") + "\n")
	}
	return out.String(), failed
}

// eachRecord changes all records of n fields in place.
func eachRecord(text string, n int, change func([]string)) (string, error) {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if f := strings.Split(strings.TrimSuffix(line, "\n"), ":"); len(f) == n {
			change(f)
			line = strings.Join(f, ":") + "\n"
		}
		out.WriteString(line)
	}
	return out.String(), nil
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
