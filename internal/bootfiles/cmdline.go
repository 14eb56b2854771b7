package bootfiles

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxCmdline is the longest line, in bytes, that SetTail makes.
//
// The firmware takes up to 1024 bytes (raspberrypi/linux#140) and puts its own
// arguments and the device tree's in front: 260 bytes on a Pi 5 with Linux 6.12,
// more where screens are attached. A 32-bit kernel keeps 1024 bytes of the sum,
// an arm64 one 2048 (COMMAND_LINE_SIZE). What is too much is cut off at the end
// without a word, and at the end stands our hook.
const MaxCmdline = 700

// StartScript is the path on the boot partition of the script that our
// first-boot hook starts. A hook that names it is ours, of whatever version.
const StartScript = "picluster/start.sh"

// Cmdline is the line of a cmdline.txt, split as the kernel splits it: at white
// space outside double quotes. Words keep their bytes and their order; what
// lies between them becomes one space.
//
// A Cmdline is not safe for concurrent use.
type Cmdline struct {
	words []string // arguments of the kernel
	tail  []string // our hook: "init=/bin/sh", "--" and what is behind it
	rest  []string // somebody else's "--" and what is behind it
}

// ParseCmdline reads a cmdline.txt. The firmware takes its first line; a file
// whose first line is empty or has others behind it is an error, because
// nobody can tell what its author takes to be in effect.
func ParseCmdline(data []byte) (*Cmdline, error) {
	text := strings.TrimRight(string(data), " \t\r\n")
	switch {
	case text == "":
		return nil, errors.New("read cmdline.txt: no arguments in it")
	case strings.ContainsRune(text, 0):
		return nil, errors.New("read cmdline.txt: a zero byte in it")
	case strings.ContainsAny(text, "\r\n"):
		return nil, errors.New("read cmdline.txt: more than one line in it, the firmware reads the first")
	}
	words, err := splitWords(text)
	if err != nil {
		return nil, fmt.Errorf("read cmdline.txt: %w", err)
	}
	c := &Cmdline{words: words}
	if i := slices.Index(words, "--"); i >= 0 {
		c.words, c.rest = words[:i], words[i:]
		if i > 0 && isOurHook(words[i-1:]) {
			c.words, c.tail, c.rest = words[:i-1], words[i-1:], nil
		}
	}
	return c, nil
}

// isOurHook recognises a hook set by SetTail.
func isOurHook(words []string) bool {
	return len(words) > 2 && strings.HasPrefix(words[0], "init=") && words[1] == "--" &&
		strings.Contains(strings.Join(words, " "), "/"+StartScript)
}

// splitWords splits at white space that is not inside double quotes, as the
// kernel's next_arg does.
func splitWords(text string) (words []string, err error) {
	const space = " \t\r\n\v\f"
	quoted := false
	start := -1 // of the word that we are in
	for i := range len(text) {
		switch isSpace := strings.IndexByte(space, text[i]) >= 0; {
		case isSpace && !quoted && start >= 0:
			words = append(words, text[start:i])
			start = -1
		case start < 0 && !isSpace:
			start = i
		}
		if text[i] == '"' {
			quoted = !quoted
		}
	}
	if quoted {
		return nil, errors.New("a double quote without its second")
	}
	if start >= 0 {
		words = append(words, text[start:])
	}
	return words, nil
}

// Words returns all words of the line in order.
func (c *Cmdline) Words() []string { return slices.Concat(c.words, c.tail, c.rest) }

// Tail returns our first-boot hook, or "" if there is none.
func (c *Cmdline) Tail() string { return strings.Join(c.tail, " ") }

// Bytes returns the file: the line and a newline.
func (c *Cmdline) Bytes() []byte { return line(c.Words()) }

// Restored returns the file that the card has after its first boot: this one
// without our hook.
func (c *Cmdline) Restored() []byte { return line(slices.Concat(c.words, c.rest)) }

func line(words []string) []byte { return []byte(strings.Join(words, " ") + "\n") }

// Add adds each argument that is not there yet, in front of our hook and behind
// all others: of two arguments that contradict each other the kernel follows the
// later, and the firmware puts the device tree's in front.
func (c *Cmdline) Add(args ...string) {
	for _, a := range args {
		if !slices.Contains(c.words, a) {
			c.words = append(slices.Clip(c.words), a)
		}
	}
}

// SetTail ends the line with our hook, in place of an older one. The hook is
// `init=… -- …` with StartScript in it. The error is a ForeignHookError, or says
// that the hook is of another form or the line gets longer than MaxCmdline; the
// Cmdline is unchanged then.
func (c *Cmdline) SetTail(hook string) error {
	tail, err := splitWords(hook)
	if err != nil {
		return fmt.Errorf("end cmdline.txt with hook: %w", err)
	}
	if strings.ContainsAny(hook, "\r\n") || !isOurHook(tail) {
		return fmt.Errorf("end cmdline.txt with hook: not of the form init=… -- …%s…", StartScript)
	}
	if word := c.foreignHook(); word != "" {
		return ForeignHookError{word}
	}
	next := Cmdline{words: c.words, tail: tail}
	if n := len(next.Bytes()); n > MaxCmdline {
		return fmt.Errorf("end cmdline.txt with hook: the line gets %d bytes long, at most %d surely reach the kernel", n, MaxCmdline)
	}
	*c = next
	return nil
}
