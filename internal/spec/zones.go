package spec

import (
	_ "embed"
	"slices"
	"strings"
)

// zonesText has a line for each time zone that a node knows, and for each old
// name of one. A list of our own, because Go looks at the laptop's zones, which
// are not the Pi's: trixie dropped US/Eastern and its like.
//
//go:embed zones.txt
var zonesText string

func checkTimezone(r *report, name string) {
	current, renamed := zones()
	if slices.Contains(current, name) {
		return
	}
	meant := renamed[name]
	for _, zone := range current {
		city := zone[strings.LastIndex(zone, "/")+1:]
		if meant == "" && strings.EqualFold(city, strings.ReplaceAll(name, " ", "_")) {
			meant = zone
		}
	}
	if meant == "" {
		meant = nearest(name, current)
	}
	r.problem("system.timezone", "%s is not a time zone of the nodes", quoted(name)).Hint = didYouMean(meant)
}

// zones returns the time zones in alphabetical order, and the new name of each
// old one.
func zones() (current []string, renamed map[string]string) {
	renamed = map[string]string{}
	for line := range strings.Lines(zonesText) {
		switch words := strings.Fields(line); {
		case strings.HasPrefix(line, "#"):
		case len(words) == 1:
			current = append(current, words[0])
		case len(words) == 2:
			renamed[words[0]] = words[1]
		}
	}
	return current, renamed
}
