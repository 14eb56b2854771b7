package lab

import (
	"errors"
	"os"
	"regexp"
)

// console is the file that the serial console is written to.
type console struct {
	path string
	seen int // bytes up to the end of the last match
}

// find returns the first match behind the last one, or nil.
func (c *console) find(re *regexp.Regexp) ([]string, error) {
	text, err := c.text()
	if err != nil || c.seen > len(text) {
		return nil, err
	}
	rest := text[c.seen:]
	at := re.FindSubmatchIndex(rest)
	if at == nil {
		return nil, nil
	}
	var groups []string
	for i := 0; i < len(at); i += 2 {
		group := ""
		if at[i] >= 0 {
			group = string(rest[at[i]:at[i+1]])
		}
		groups = append(groups, group)
	}
	c.seen += at[1]
	return groups, nil
}

// deadEnd is what a kernel without init and an initramfs without root show.
var deadEnd = regexp.MustCompile(`Kernel panic - not syncing|Dropping to a shell!`)

func (c *console) stuck() bool {
	text, err := c.text()
	return err == nil && c.seen <= len(text) && deadEnd.Match(text[c.seen:])
}

func (c *console) text() ([]byte, error) {
	text, err := os.ReadFile(c.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// tail returns the last lines.
func (c *console) tail(lines int) []byte {
	text, err := c.text()
	if err != nil {
		return []byte(err.Error())
	}
	at := len(text)
	for ; at > 0 && lines >= 0; at-- {
		if text[at-1] == '\n' {
			lines--
		}
	}
	return text[at:]
}
