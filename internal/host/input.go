package host

import (
	"fmt"
	"io"
	"sync/atomic"
)

// input is a command's standard input on its way.
type input struct {
	c    Cmd
	pipe io.WriteCloser // nil without input
	err  atomic.Pointer[error]
}

func newInput(c Cmd, pipe func() (io.WriteCloser, error)) (*input, error) {
	in := &input{c: c}
	if c.Stdin == nil {
		return in, nil
	}
	var err error
	in.pipe, err = pipe()
	return in, err
}

// feed copies the input to the program, which has started: sshd forgets an end of
// input that comes before. Nobody waits for feed: a program can end without caring
// for its input, which may never come. Packages os/exec and x/crypto/ssh, had they
// to copy, would wait.
func (in *input) feed() {
	if in.pipe == nil {
		return
	}
	io.Copy(in.pipe, in) // an error is either in's, or that of a program that reads no more
	in.pipe.Close()
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	n, err := in.c.Stdin.Read(p)
	if err != nil && err != io.EOF {
		in.err.Store(&err)
	}
	return n, err
}

// failed is the error that cut the input short. The program has seen an ordinary end
// then, and what it did is worth nothing.
func (in *input) failed() error {
	if err := in.err.Load(); err != nil {
		return fmt.Errorf("run %s: read standard input: %w", short(in.c.Args), *err)
	}
	return nil
}
