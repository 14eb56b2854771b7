package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Ask prints the question and returns the line typed, without surrounding
// space. Without anyone to answer (end of input) it returns an error, so that a
// script never confirms by accident.
func Ask(env Env, question string) (string, error) {
	fmt.Fprint(env.Stderr, question)
	// One byte at a time: what follows the line belongs to the next question.
	var line strings.Builder
	for b := make([]byte, 1); ; {
		n, err := env.Stdin.Read(b)
		switch {
		case n == 1 && b[0] == '\n', err == io.EOF && line.Len() > 0:
			return strings.TrimSpace(line.String()), nil
		case n == 1:
			line.WriteByte(b[0])
		case err == io.EOF:
			fmt.Fprintln(env.Stderr)
			return "", Exit(Usage, Hint(errors.New("read answer: there is nobody to ask"), "--yes answers in a script"))
		case err != nil:
			return "", fmt.Errorf("read answer: %w", err)
		}
	}
}
