// Package blob keeps files under the name of what is in them: their SHA-256. So a
// file that is there is right or damaged, never out of date, and a download that
// was cut off goes on where it stopped.
package blob

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// Ref says which file is meant.
type Ref struct {
	SHA256 string `json:"sha256"` // lower-case hexadecimal
	Size   int64  `json:"size"`   // bytes
}

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Check returns an error unless the Ref can name a file.
func (r Ref) Check() error {
	if !digest.MatchString(r.SHA256) || r.Size < 0 {
		return fmt.Errorf("read digest: %q with %d bytes is none", r.SHA256, r.Size)
	}
	return nil
}

// DigestError says that a file is not the one that was asked for. It is not kept.
type DigestError struct {
	Source    string // path or address
	Want, Got string // SHA-256, hexadecimal
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("verify %s: sha256 is %s, want %s", e.Source, e.Got, e.Want)
}

// Store is a directory of such files. It is made when the first one comes.
type Store struct{ Dir string }

// Path is where a file is, or would be.
func (s Store) Path(r Ref) string { return filepath.Join(s.Dir, r.SHA256) }

// Find returns the path of a file after reading all of it: fs.ErrNotExist says that
// it is not there, and one that is damaged counts as not there.
func (s Store) Find(r Ref) (string, error) {
	if err := r.Check(); err != nil {
		return "", err
	}
	path := s.Path(r)
	err := Verify(path, r)
	if damaged := (*DigestError)(nil); errors.As(err, &damaged) {
		if err := os.Remove(path); err != nil {
			return "", err
		}
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return path, err
}

// Verify reads the file at path and compares it with r.
func Verify(path string, r Ref) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got := sha256.New()
	if _, err := io.Copy(got, bufio.NewReaderSize(f, 1<<20)); err != nil {
		return err
	}
	return compare(path, got, r)
}

func compare(source string, got hash.Hash, r Ref) error {
	if sum := hex.EncodeToString(got.Sum(nil)); sum != r.SHA256 {
		return &DigestError{Source: source, Want: r.SHA256, Got: sum}
	}
	return nil
}

// Put reads what r names from a reader and keeps it. source is for errors; added is
// called with each number of bytes that came.
func (s Store) Put(ctx context.Context, r Ref, source string, from io.Reader, added func(n int)) (string, error) {
	part, err := s.begin(ctx, r)
	if err != nil {
		return "", err
	}
	defer part.Close()
	if err := part.restart(); err != nil {
		return "", err
	}
	if err := part.copy(ctx, from, added); err != nil {
		return "", err
	}
	return part.finish(source)
}

// part is a file on its way into the store, locked against other processes.
type part struct {
	store Store
	want  Ref
	file  *os.File
	have  hash.Hash // of what is in file
	size  int64
}

// begin opens what is there of a file and reads it.
func (s Store) begin(ctx context.Context, r Ref) (*part, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, err
	}
	file, err := openLocked(ctx, s.Path(r)+".part")
	if err != nil {
		return nil, err
	}
	p := &part{store: s, want: r, file: file, have: sha256.New()}
	if p.size, err = io.Copy(p.have, bufio.NewReaderSize(file, 1<<20)); err != nil {
		file.Close()
		return nil, err
	}
	if p.size > r.Size {
		err = p.restart()
	}
	return p, err
}

func (p *part) Close() error { return p.file.Close() }

func (p *part) restart() error {
	p.have.Reset()
	p.size = 0
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// errLong says that a server sends more than the file has.
var errLong = errors.New("it is longer than it should be")

// copy appends what comes, to the end of the reader or of the file that is wanted.
func (p *part) copy(ctx context.Context, from io.Reader, added func(n int)) error {
	buf := make([]byte, 256<<10)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, readErr := from.Read(buf)
		if p.size+int64(n) > p.want.Size {
			return errLong
		}
		if _, err := p.file.Write(buf[:n]); err != nil {
			return err
		}
		p.have.Write(buf[:n])
		p.size += int64(n)
		if added != nil && n > 0 {
			added(n)
		}
		switch {
		case readErr == io.EOF && p.size < p.want.Size:
			return io.ErrUnexpectedEOF
		case readErr == io.EOF:
			return nil
		case readErr != nil:
			return readErr
		}
	}
}

// finish gives the file its name, if it is the right one. A wrong one goes: nothing
// tells which part of it is wrong.
func (p *part) finish(source string) (string, error) {
	path := p.store.Path(p.want)
	if err := compare(source, p.have, p.want); err != nil {
		return "", errors.Join(err, p.restart())
	}
	if err := p.file.Sync(); err != nil {
		return "", err
	}
	return path, os.Rename(p.file.Name(), path)
}
