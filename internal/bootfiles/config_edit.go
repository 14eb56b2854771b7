package bootfiles

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// configLineMax is the number of bytes of a line that the firmware reads; it
// drops the rest without a word (Raspberry Pi's documentation of config.txt,
// "File format"; older firmware read 78).
const configLineMax = 98

var (
	validSection = regexp.MustCompile(`^[^\[\]\s]+$`)
	validKey     = regexp.MustCompile(`^[A-Za-z0-9_:.-]+$`)
)

// Set makes key=value hold in the section: Get returns it afterwards. In this
// order, it
//   - does nothing where the value is in effect already,
//   - gives an existing line of the section the new value,
//   - takes the comment sign off a line "#key=value" of the section,
//   - adds a line at the end of the file, under a header of its own if the file
//     does not end in that section, and goes back to [all] behind it.
//
// Keys whose lines add up (dtparam, dtoverlay, gpio) never lose a line.
// The error says what is wrong with the section, key or value; the Config is
// unchanged then.
func (c *Config) Set(section, key, value string) error {
	line := key + "=" + value
	switch {
	case !validSection.MatchString(section):
		return fmt.Errorf("section %q: not the name of a filter", section)
	case !validKey.MatchString(key):
		return fmt.Errorf("key %q: not the name of a setting", key)
	case strings.TrimSpace(value) != value || strings.ContainsAny(value, "\r\n"):
		return fmt.Errorf("value %q: white space around it or a line break in it", value)
	case len(line) > configLineMax:
		return fmt.Errorf("line of %d bytes: the firmware reads %d", len(line), configLineMax)
	case slices.Contains(c.Get(section, key), value):
		return nil
	}
	own, overridden, comment := c.find(section, key, value)
	switch {
	case own >= 0 && !overridden && !repeatable(key):
		c.lines[own].text = line
	case comment >= 0:
		c.lines[comment].text = line
	default:
		c.add(section, line)
	}
	return nil
}

// find looks for the places where a setting can be put: the section's last line
// of that key, whether a line under [all] behind it overrides it, and a
// commented line that would take effect without its comment sign; -1 is none.
func (c *Config) find(section, key, value string) (own int, overridden bool, comment int) {
	own, comment = -1, -1
	c.each(func(i int, s scope) {
		if !s.reaches(section) {
			return
		}
		if k, _, ok := c.lines[i].assignment(); ok && k == key && !repeatable(key) {
			comment = -1 // it would be overridden here
			overridden = !s.in(section)
			if s.in(section) {
				own = i
			}
		}
		if comment < 0 && s.in(section) && c.lines[i].comments(key+"="+value) {
			comment = i
		}
	})
	return own, overridden, comment
}

// add appends the line so that it stands in the section.
func (c *Config) add(section, line string) {
	var last scope
	c.each(func(_ int, s scope) { last = s })
	if last.in(section) {
		c.push(line)
		return
	}
	if n := len(c.lines); n > 0 && strings.TrimSpace(c.lines[n-1].text) != "" {
		c.push("")
	}
	if len(last) > 0 {
		c.push("[" + All + "]")
	}
	if section == All {
		c.push(line)
		return
	}
	c.push("[" + section + "]")
	c.push(line)
	c.push("[" + All + "]") // or whoever appends a line next gets it filtered
}

// push appends one line with the file's own kind of line ending.
func (c *Config) push(text string) {
	end := "\n"
	if len(c.lines) > 0 {
		if c.lines[0].end == "\r\n" {
			end = "\r\n"
		}
		if last := &c.lines[len(c.lines)-1]; last.end == "" {
			last.end = end
		}
	}
	c.lines = append(c.lines, configLine{text, end})
}

// Remove deletes every line "key=value" that stands in the section and reports
// whether there was one. Headers stay, empty or not.
func (c *Config) Remove(section, key, value string) bool {
	var at []int
	c.each(func(i int, s scope) {
		k, v, ok := c.lines[i].assignment()
		if ok && k == key && v == value && s.in(section) {
			at = append(at, i)
		}
	})
	for _, i := range slices.Backward(at) {
		c.lines = slices.Delete(c.lines, i, i+1)
	}
	return len(at) > 0
}
