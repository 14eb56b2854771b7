package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Ask prints the question and returns the line typed, without surrounding
// space. Without anyone to answer (end of input) it returns an error, so that a
// script never confirms by accident. So it does when ctx ends: then the command is
// to end too, as what is typed from then on may be lost.
func Ask(ctx context.Context, env Env, question string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("ask: %w", err)
	}
	fmt.Fprint(env.Stderr, question)
	type answer struct {
		line string
		err  error
	}
	typed := make(chan answer, 1)
	go func() { // nothing ends a Read of a terminal but a line
		line, err := readLine(env.Stdin)
		typed <- answer{line, err}
	}()
	select {
	case a := <-typed:
		if a.err == io.EOF {
			fmt.Fprintln(env.Stderr)
			return "", Exit(Usage, Hint(errors.New("read answer: there is nobody to ask"), "--yes answers in a script"))
		}
		if a.err != nil {
			return "", fmt.Errorf("read answer: %w", a.err)
		}
		return strings.TrimSpace(a.line), nil
	case <-ctx.Done():
		fmt.Fprintln(env.Stderr)
		return "", fmt.Errorf("read answer: %w", ctx.Err())
	}
}

// readLine reads one byte at a time: what follows the line belongs to the next
// question.
func readLine(in io.Reader) (string, error) {
	var line strings.Builder
	for b := make([]byte, 1); ; {
		n, err := in.Read(b)
		switch {
		case n == 1 && b[0] == '\n', err == io.EOF && line.Len() > 0:
			return line.String(), nil
		case n == 1:
			line.WriteByte(b[0])
		case err != nil:
			return "", err
		}
	}
}
