package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"picluster/internal/durable"
	"picluster/internal/owner"
)

// store is the bundle's directory. What it writes appears as a whole or not at
// all, also across a power cut. Names are relative to it, with slashes, and made
// of constants and valid labels only.
type store struct {
	dir     string
	written []string // names of the files that this store wrote

	// fault, where set, is asked before each change ("mkdir", "write", "rename")
	// and stops the work with its error: a power cut, for tests.
	fault func(op, name string) error
}

const (
	privateFile fs.FileMode = 0o600
	publicFile  fs.FileMode = 0o644
	privateDir  fs.FileMode = 0o700
)

func (s *store) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func (s *store) before(op, name string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(op, name)
}

// create makes the bundle's directory, or checks the one that is there.
func (s *store) create() error {
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		return s.checkModes()
	}
	return s.mkdir(".")
}

// lock keeps other processes from changing the bundle. A file of its own, opened
// for writing: NFS grants an exclusive lock on nothing else.
func (s *store) lock() (unlock func(), err error) {
	f, err := os.OpenFile(s.path(".lock"), os.O_RDWR|os.O_CREATE, privateFile)
	if err != nil {
		return nil, err
	}
	err = owner.Adopt(f)
	for err == nil {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != syscall.EINTR {
			break
		}
		err = nil
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

func (s *store) exists(name string) (bool, error) {
	_, err := os.Lstat(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// halves looks for a private file and its public half. A public half alone is
// refused: a new key would not fit what others have learnt of the old one.
func (s *store) halves(key, pub string) (haveKey, havePub bool, err error) {
	if haveKey, err = s.exists(key); err != nil {
		return false, false, err
	}
	if havePub, err = s.exists(pub); err != nil {
		return false, false, err
	}
	if havePub && !haveKey {
		return false, false, &lostError{key, pub}
	}
	return haveKey, havePub, nil
}

// inOrder refuses to go on when name is missing but later is there, which was
// made after it and depends on it.
func (s *store) inOrder(name, later string) error {
	haveLater, err := s.exists(later)
	if err != nil || !haveLater {
		return err
	}
	have, err := s.exists(name)
	if err == nil && !have {
		err = &lostError{name, later}
	}
	return err
}

type lostError struct{ name, other string }

func (e *lostError) Error() string {
	return fmt.Sprintf("%s is missing, but %s is there: restore it from a backup, or begin with an empty directory", e.name, e.other)
}

func (s *store) read(name string) ([]byte, error) { return os.ReadFile(s.path(name)) }

func (s *store) readJSON(name string, v any) error {
	data, err := s.read(name)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// list returns the names of the directories in dir that are labels.
func (s *store) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && label.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func generationName(g int) string { return "g" + strconv.Itoa(g) }

// generation returns the highest generation in dir, 0 where there is none.
func (s *store) generation(dir string) (int, error) {
	names, err := s.list(dir)
	if err != nil {
		return 0, err
	}
	highest := 0
	for _, name := range names {
		g, err := strconv.Atoi(strings.TrimPrefix(name, "g"))
		if err == nil && name == generationName(g) {
			highest = max(highest, g)
		}
	}
	return highest, nil
}

func (s *store) mkdir(name string) error {
	have, err := s.exists(name)
	if err != nil || have {
		return err
	}
	if err := s.before("mkdir", name); err != nil {
		return err
	}
	return mkdir(s.path(name))
}

// update writes a file unless it has that content.
func (s *store) update(name string, data []byte, mode fs.FileMode) error {
	have, err := s.read(name)
	if err == nil && bytes.Equal(have, data) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.write(name, data, mode)
}

// write puts a file in place. A temporary file that an earlier try left behind
// has the same name and goes.
func (s *store) write(name string, data []byte, mode fs.FileMode) error {
	tmp := s.path(name) + tmpSuffix
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.before("write", name); err != nil {
		return err
	}
	if err := writeNew(tmp, data, mode); err != nil {
		return err
	}
	return s.rename(name, name)
}

type file struct {
	name string
	data []byte
	mode fs.FileMode
}

// writeDir puts a directory of files in place, all at once.
func (s *store) writeDir(name string, files []file) error {
	tmp := s.path(name) + tmpSuffix
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := s.before("mkdir", name); err != nil {
		return err
	}
	if err := mkdir(tmp); err != nil {
		return err
	}
	var names []string
	for _, f := range files {
		names = append(names, path.Join(name, f.name))
		if err := s.before("write", path.Join(name+tmpSuffix, f.name)); err != nil {
			return err
		}
		if err := writeNew(filepath.Join(tmp, f.name), f.data, f.mode); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(tmp); err != nil {
		return err
	}
	return s.rename(name, names...)
}

// tmpSuffix is no part of any label or file name in the bundle.
const tmpSuffix = ".tmp"

// rename makes a temporary file or directory final and remembers what that wrote.
func (s *store) rename(name string, written ...string) error {
	if err := s.before("rename", name); err != nil {
		return err
	}
	if err := os.Rename(s.path(name)+tmpSuffix, s.path(name)); err != nil {
		return err
	}
	s.written = append(s.written, written...)
	return durable.SyncDir(filepath.Dir(s.path(name)))
}

// checkModes returns an *ExposedError where others may read what is private.
func (s *store) checkModes() error {
	var exposed []string
	check := func(path string) error {
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			exposed = append(exposed, fmt.Sprintf("%s (%#o)", path, info.Mode().Perm()))
		}
		return err
	}
	if err := check(s.dir); err != nil {
		return err
	}
	// Through os.DirFS, which also walks a directory behind a symbolic link.
	err := fs.WalkDir(os.DirFS(s.dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isPrivate(d.Name()) {
			return err
		}
		return check(s.path(name))
	})
	if err == nil && exposed != nil {
		err = &ExposedError{Dir: s.dir, Paths: exposed}
	}
	return err
}

func isPrivate(base string) bool {
	return slices.Contains([]string{".key", ".sums"}, path.Ext(base)) ||
		slices.Contains([]string{path.Base(operatorSSHKey), path.Base(hostKeyName("")), ledgerFile}, base)
}

// ExposedError says that others on this computer may read private files.
type ExposedError struct {
	Dir   string
	Paths []string // with their modes: "secrets/ca/enrolment.key (0644)"
}

func (e *ExposedError) Error() string {
	if len(e.Paths) == 1 {
		return "others may read " + e.Paths[0]
	}
	return fmt.Sprintf("others may read %s and %d more", e.Paths[0], len(e.Paths)-1)
}

// Fix is the shell command that puts it right.
func (e *ExposedError) Fix() string {
	return "chmod -R go-rwx '" + strings.ReplaceAll(e.Dir, "'", `'\''`) + "'"
}

func mkdir(path string) error {
	if err := os.Mkdir(path, privateDir); err != nil {
		return err
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := owner.Adopt(d); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

// writeNew writes a file that must not be there yet, down to the disk.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, owner.Adopt(f), f.Sync(), f.Close())
}
