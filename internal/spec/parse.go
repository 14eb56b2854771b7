package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Load reads the document at path and what it refers to: key files and extra
// files, looked for from the document's directory, and environment variables.
// The error is of type Problems if the document, or what it refers to, is at
// fault.
func Load(path string) (*Cluster, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	home, _ := os.UserHomeDir() // "" is dealt with where a path needs it
	return Parse(path, data, References{
		Dir:       filepath.Dir(path),
		Home:      home,
		ReadFile:  readFile,
		LookupEnv: os.LookupEnv,
	})
}

// maxFile is more than any document, key or hand-written file needs, and keeps
// a slip such as `source: disk.img` from ending up in a node's own document.
const maxFile = 1 << 20

// readFile is os.ReadFile with a limit. It also reads pipes, so that a shell's
// <(pass show wifi) can stand for a file.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has more than %d bytes", maxFile)}
	}
	return data, err
}

// References is the world outside of the document.
type References struct {
	Dir  string // what relative paths start from
	Home string // what ~ stands for; "": unknown
	// ReadFile and LookupEnv get what the document refers to. If one is nil, it
	// refers to nothing there that is looked at: the document is checked on its
	// own, and secrets, keys and the content of files stay empty.
	ReadFile  func(path string) ([]byte, error)
	LookupEnv func(name string) (string, bool)
}

// Parse reads a document. The name is what problems call it and what
// Cluster.File will be. It is pure but for what the references do; an error is
// always of type Problems.
func Parse(name string, data []byte, refs References) (*Cluster, error) {
	r := newReport(name)
	root := r.syntax(data)
	if root == nil {
		return nil, sorted(r.problems)
	}
	c := &Cluster{File: name}
	d := decoder{r}
	d.decode(root, "", c)
	if p := r.first("apiVersion"); p != nil {
		return nil, Problems{*p} // another form of document: all else would be noise
	}
	c.setDefaults(r.given)
	c.check(r)
	c.resolve(r, refs)
	if len(r.problems) > 0 {
		return nil, sorted(r.problems)
	}
	c.warn(r)
	c.warnings = sorted(r.warnings)
	return c, nil
}

// syntax returns the root of the YAML tree, or nil after noting what is wrong.
// Windows editors put a byte order mark in front, which would count as a column.
func (r *report) syntax(data []byte) *yaml.Node {
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	var document, second yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(data))
	err := in.Decode(&document)
	switch {
	case errors.Is(err, io.EOF):
		r.problem("", "is empty").Hint = "`imagebuilder init` writes one to start from"
		return nil
	case err != nil:
		r.syntaxError(data, err)
		return nil
	}
	switch err := in.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		r.syntaxError(data, err)
		return nil
	default:
		r.problemAt(positionOf(&second), "", "a second document begins here, want one")
		return nil
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		r.problemAt(positionOf(root), "", "want a group of keys, such as nodes: 3")
		return nil
	}
	return root
}

var (
	lineInError   = regexp.MustCompile(`^yaml: line ([0-9]+): `)
	anchorInError = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced$`)
)

// syntaxError notes an error of the YAML parser. The parser knows a line at
// most, and for an unknown anchor it repeats the name, which may be a password
// that begins with an asterisk.
func (r *report) syntaxError(data []byte, err error) {
	message, at := err.Error(), position{1, 1}
	if m := anchorInError.FindStringSubmatch(message); m != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+m[1]))
		start := bytes.LastIndexByte(before, '\n') + 1
		at = position{bytes.Count(before, []byte("\n")) + 1, len([]rune(string(before[start:]))) + 1}
		r.problemAt(at, "", "aliases (*) have no meaning here").Hint = "put a value that begins so into quotes"
		return
	}
	if m := lineInError.FindStringSubmatch(message); m != nil {
		at.line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
	}
	hint := ""
	if strings.Contains(message, "cannot start any token") {
		hint = "indent with spaces, not tabs, and put values with special characters into quotes"
	}
	r.problemAt(at, "", "%s", strings.TrimPrefix(message, "yaml: ")).Hint = hint
}

// first returns the problem of a field that has one.
func (r *report) first(field string) *Problem {
	for _, p := range r.problems {
		if p.Field == field {
			return p
		}
	}
	return nil
}
