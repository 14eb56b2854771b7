package bootfiles

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// All is the name of config.txt's unfiltered section.
const All = "all"

// Config is a config.txt. Lines that no edit is about keep their bytes: unknown
// settings, comments, blank lines, CRLF, a missing newline at the end.
//
// A section is named by the filter it stands under, without brackets: "all",
// "pi3", "board-type=0x14". Filters of one kind replace each other, filters of
// different kinds add up until the next [all] (Raspberry Pi's documentation of
// config.txt, "Combining conditional filters"; two [gpio…] filters are of one
// kind, raspberrypi/firmware#1569). Lines under several filters at once are
// nobody's section here: they are never read and never changed. Neither are the
// files that include lines name.
//
// A Config is not safe for concurrent use.
type Config struct {
	lines []configLine
}

type configLine struct {
	text string // without line ending
	end  string // "\n", "\r\n", or "" in a last line without newline
}

// ParseConfig reads a config.txt. Every sequence of bytes is one: the firmware
// skips what it does not understand.
func ParseConfig(data []byte) *Config {
	c := &Config{}
	for raw := range bytes.Lines(data) {
		text, ends := strings.CutSuffix(string(raw), "\n")
		l := configLine{text: text}
		if ends {
			l.end = "\n"
			if text, ok := strings.CutSuffix(text, "\r"); ok {
				l = configLine{text, "\r\n"}
			}
		}
		c.lines = append(c.lines, l)
	}
	return c
}

// Bytes returns the file.
func (c *Config) Bytes() []byte {
	var b bytes.Buffer
	for _, l := range c.lines {
		b.WriteString(l.text)
		b.WriteString(l.end)
	}
	return b.Bytes()
}

// Get returns the values of key that are in effect where the section's filter
// matches and no other does: those under [all] count too. A key that can hold
// only one value has at most one, the last; dtparam, dtoverlay and gpio have as
// many as there are lines.
func (c *Config) Get(section, key string) []string {
	var values []string
	c.each(func(i int, s scope) {
		k, v, ok := c.lines[i].assignment()
		if !ok || k != key || !s.reaches(section) {
			return
		}
		if !repeatable(key) {
			values = values[:0]
		}
		values = append(values, v)
	})
	return values
}

// each calls f for every line with the filters that hold for it. For a filter
// line these are the filters from it on.
func (c *Config) each(f func(i int, s scope)) {
	var s scope
	for i, l := range c.lines {
		s = s.after(l)
		f(i, s)
	}
}

// repeatable reports whether lines of the key add up instead of replacing each
// other.
func repeatable(key string) bool {
	return slices.Contains([]string{"dtparam", "dtoverlay", "gpio"}, key)
}

// assignment returns the line's key and value. Spaces beside the "=" are not
// skipped, because the firmware does not skip them.
func (l configLine) assignment() (key, value string, ok bool) {
	text := strings.TrimSpace(l.text)
	if text == "" || strings.ContainsAny(text[:1], "#[") {
		return "", "", false
	}
	return strings.Cut(text, "=")
}

// comments reports whether the line is the given setting, commented out.
func (l configLine) comments(setting string) bool {
	text := strings.TrimSpace(l.text)
	return strings.HasPrefix(text, "#") && strings.TrimSpace(strings.TrimLeft(text, "#")) == setting
}

// scope is the set of filters that hold at a line; none is [all].
type scope []filter

type filter struct{ kind, text string }

// in reports whether exactly the section's filter holds.
func (s scope) in(section string) bool {
	if section == All {
		return len(s) == 0
	}
	return len(s) == 1 && s[0].text == section
}

// reaches reports whether a line here is read where only the section's filter
// matches.
func (s scope) reaches(section string) bool { return len(s) == 0 || s.in(section) }

// after returns the scope behind a line: another one if the line is a filter.
func (s scope) after(l configLine) scope {
	text := strings.TrimSpace(l.text)
	if !strings.HasPrefix(text, "[") {
		return s
	}
	name := strings.TrimPrefix(text, "[")
	if inner, ok := strings.CutSuffix(name, "]"); ok && !strings.ContainsAny(inner, "[]") {
		name = inner
	} else {
		name = text // not a form that we know: a filter that is no section's name
	}
	if name == All {
		return nil
	}
	f := filter{filterKind(name), name}
	rest := slices.DeleteFunc(slices.Clone(s), func(o filter) bool { return o.kind == f.kind })
	return append(rest, f)
}

var (
	modelFilter  = regexp.MustCompile(`^(pi|cm)[0-9]`)
	serialFilter = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	filterPrefix = regexp.MustCompile(`^[A-Za-z_-]+`)
)

// filterKind groups the filters that replace each other. What is unknown is a
// kind of its own, which is the careful side: its lines are left alone until
// the next [all].
func filterKind(name string) string {
	switch {
	case modelFilter.MatchString(name):
		return "model"
	case serialFilter.MatchString(name):
		return "serial"
	}
	if p := filterPrefix.FindString(name); p != "" {
		return p
	}
	return name
}
