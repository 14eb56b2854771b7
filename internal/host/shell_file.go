package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// shellFiles are the files of a machine that can only run programs. File operations
// are small shell scripts: sftp could not be had through sudo, and a container has
// none. A script gets its paths as arguments and content by standard input. What went
// wrong it says as its programs do in the C locale, by the kernel's words.
type shellFiles struct {
	start func(ctx context.Context, c Cmd) (stdout []byte, err error)
}

const (
	statScript = `stat -c '%f %u %g %s %Y' "$1" && if [ -L "$1" ]; then readlink -n "$1"; fi`

	readScript = `exec cat "$1"`

	// The slash makes it an error that there is no directory.
	listScript = `exec find "$1/" -mindepth 1 -maxdepth 1 -printf '%f\0'`

	// As Local does, with the new directories on the disk.
	makeParents = `if [ ! -d "$dir" ]; then
	(umask 022; mkdir -p "$dir")
	above=$dir
	while [ "$above" != / ]; do above=$(dirname "$above"); sync "$above"; done
fi`

	// mv(1) has words of its own for this.
	refuseDirectory = `if [ -d "$path" ] && [ ! -L "$path" ]; then echo "$path: File exists" >&2; exit 1; fi`

	// A connection that is lost looks like the end of input, hence the size.
	writeScript = `set -eu
dir=$1 tmp=$2 path=$3 owner=$4 mode=$5 size=$6
` + refuseDirectory + `
` + makeParents + `
trap 'rm -f "$tmp"' EXIT
trap '' PIPE # nobody may be left to hear what goes wrong
umask 077
rm -f "$tmp"
cat > "$tmp"
if [ "$(stat -c %s "$tmp")" != "$size" ]; then echo 'input ended early' >&2; exit 1; fi
chown "$owner" "$tmp"
chmod "$mode" "$tmp"
sync "$tmp"
mv -fT "$tmp" "$path"
sync "$dir"`

	linkScript = `set -eu
dir=$1 tmp=$2 path=$3 owner=$4 target=$5
` + refuseDirectory + `
` + makeParents + `
trap 'rm -f "$tmp"' EXIT
rm -f "$tmp"
ln -s -- "$target" "$tmp"
chown -h "$owner" "$tmp"
mv -fT "$tmp" "$path"
sync "$dir"`

	directoryScript = `set -eu
dir=$1 path=$2 owner=$3 mode=$4
` + makeParents + `
if [ -L "$path" ] || [ ! -d "$path" ]; then mkdir -m 700 "$path"; fi
chown "$owner" "$path"
chmod "$mode" "$path"
sync "$dir"`

	removeScript = `set -eu
if [ -d "$2" ] && [ ! -L "$2" ]; then rmdir "$2"; else rm -f "$2"; fi
if [ -d "$1" ]; then sync "$1"; fi`
)

// Stat implements Host. ModTime is in whole seconds.
func (f shellFiles) Stat(ctx context.Context, path string) (Info, error) {
	out, err := f.script(ctx, "stat", path, nil, statScript, path)
	if err != nil {
		return Info{}, err
	}
	line, target, _ := strings.Cut(string(out), "\n")
	var mode uint32
	var modTime int64
	is := Info{Target: target}
	if _, err := fmt.Sscanf(line, "%x %d %d %d %d", &mode, &is.UID, &is.GID, &is.Size, &modTime); err != nil {
		return Info{}, &fs.PathError{Op: "stat", Path: path, Err: fmt.Errorf("understand %q: %w", line, err)}
	}
	is.Mode, is.ModTime = modeFromUnix(mode), time.Unix(modTime, 0)
	return is, nil
}

// ReadFile implements Host.
func (f shellFiles) ReadFile(ctx context.Context, path string) ([]byte, error) {
	return f.script(ctx, "read", path, nil, readScript, path)
}

// ReadDir implements Host.
func (f shellFiles) ReadDir(ctx context.Context, path string) ([]string, error) {
	out, err := f.script(ctx, "list", path, nil, listScript, strings.TrimSuffix(path, "/"))
	if err != nil {
		return nil, err
	}
	names := strings.Split(string(out), "\x00")
	names = names[:len(names)-1]
	slices.Sort(names)
	return names, nil
}

// Write implements Host.
func (s shellFiles) Write(ctx context.Context, name string, f File) error {
	if err := f.check(); err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	dir, tmp := path.Dir(name), temporary(name)
	owner := fmt.Sprintf("%d:%d", f.UID, f.GID)
	mode := "0" + modeString(f.perm()) // with a fifth digit chmod clears set-group-ID of a directory, too
	var err error
	switch {
	case f.Target != "":
		_, err = s.script(ctx, "write", name, nil, linkScript, dir, tmp, name, owner, f.Target)
	case f.Mode.IsDir():
		_, err = s.script(ctx, "write", name, nil, directoryScript, dir, name, owner, mode)
	default:
		size := strconv.Itoa(len(f.Data))
		_, err = s.script(ctx, "write", name, bytes.NewReader(f.Data), writeScript, dir, tmp, name, owner, mode, size)
	}
	return err
}

// Remove implements Host.
func (f shellFiles) Remove(ctx context.Context, name string) error {
	_, err := f.script(ctx, "remove", name, nil, removeScript, path.Dir(name), name)
	return err
}

// script runs a script for a file operation and makes its failure a *fs.PathError.
func (f shellFiles) script(ctx context.Context, op, path string, stdin io.Reader, script string, args ...string) ([]byte, error) {
	if err := checkPath(op, path); err != nil {
		return nil, err
	}
	c := Cmd{Args: append([]string{"sh", "-c", script, "sh"}, args...), Stdin: stdin}
	if err := c.check(); err != nil {
		return nil, &fs.PathError{Op: op, Path: path, Err: err}
	}
	out, err := f.start(ctx, c)
	var exit *ExitError
	switch {
	case err == nil:
		return out, nil
	case errors.As(err, &exit):
		err = exit.systemError()
	}
	return nil, &fs.PathError{Op: op, Path: path, Err: err}
}

// errnos are those whose words are recognised; all that callers may branch on.
var errnos = []syscall.Errno{
	syscall.ENOENT, syscall.EACCES, syscall.EPERM, syscall.EEXIST, syscall.ENOTDIR,
	syscall.EISDIR, syscall.ENOTEMPTY, syscall.EROFS, syscall.ENOSPC, syscall.ELOOP,
}

// systemError finds the system's error in what a program wrote: "cat: /x: No such
// file or directory". Anything else is the program's own words.
func (e *ExitError) systemError() error {
	last := lastLine(e.Stderr)
	words := last[strings.LastIndex(last, ": ")+1:]
	for _, errno := range errnos {
		if strings.EqualFold(strings.TrimSpace(words), errno.Error()) {
			return errno
		}
	}
	if last == "" {
		return e
	}
	return errors.New(last)
}
