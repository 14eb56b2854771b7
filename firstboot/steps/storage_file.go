package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"picluster/internal/host"
)

// isPrivate: only root can use the file. What was deleted from a disk in it, or
// swapped out, is in it still.
func isPrivate(is host.Info) bool { return is.UID == 0 && is.Mode.Perm() == 0o600 }

func makePrivate(ctx context.Context, h host.Host, name string) error {
	_, err := h.Run(ctx, host.Cmd{Args: []string{"chown", "0:0", name}})
	if err == nil {
		_, err = h.Run(ctx, host.Cmd{Args: []string{"chmod", "0600", name}})
	}
	return err
}

// space is what a file system has, in bytes.
type space struct {
	free, total int64 // free: without root's reserve
}

// diskSpace asks for the file system that a file is or will be on. What
// allocateFile has left behind counts as free.
func diskSpace(ctx context.Context, h host.Host, file string) (space, error) {
	dir, err := existing(ctx, h, path.Dir(file))
	if err != nil {
		return space{}, err
	}
	out, err := h.Run(ctx, host.Cmd{Args: []string{"stat", "--file-system", "--format=%a %b %S", dir}})
	if err != nil {
		return space{}, err
	}
	var free, total, size int64
	if _, err := fmt.Sscan(string(out), &free, &total, &size); err != nil {
		return space{}, fmt.Errorf("read the space of %s: %w", dir, err)
	}
	left, err := h.Stat(ctx, unfinished(file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return space{}, err
	}
	return space{free*size + left.Size, total * size}, nil
}

// existing is a directory or the nearest above it that is there.
func existing(ctx context.Context, h host.Host, dir string) (string, error) {
	for {
		there, err := exists(ctx, h, dir)
		if err != nil || there || dir == "/" {
			return dir, err
		}
		dir = path.Dir(dir)
	}
}

// kindOfFileSystem is what is mounted where the file is or will be: "ext4".
func kindOfFileSystem(ctx context.Context, h host.Host, file string) (string, error) {
	dir, err := existing(ctx, h, path.Dir(file))
	if err != nil {
		return "", err
	}
	out, err := h.Run(ctx, host.Cmd{Args: []string{"findmnt", "--noheadings", "--output", "FSTYPE", "--target", dir}})
	return strings.TrimSpace(string(out)), err
}

// unfinished is where allocateFile makes a file.
func unfinished(name string) string {
	return path.Join(path.Dir(name), ".picluster-new-"+path.Base(name))
}

// allocateFile makes a file of root's alone, with all its blocks, under another
// name; more programs are run on it before it takes its own. What a power cut
// leaves is only ever that other name, which the next run uses again.
func allocateFile(ctx context.Context, h host.Host, name string, size int64, programs ...string) error {
	tmp := unfinished(name)
	// An old one may be as large as what is still free.
	if err := h.Remove(ctx, tmp); err != nil {
		return err
	}
	if err := h.Write(ctx, tmp, host.File{Mode: 0o600}); err != nil {
		return err
	}
	if err := fill(ctx, h, tmp, size, programs...); err != nil {
		_ = h.Remove(context.WithoutCancel(ctx), tmp) // the first error says more
		return err
	}
	_, err := h.Run(ctx, host.Cmd{Args: []string{"mv", "--no-target-directory", tmp, name}})
	if err == nil {
		_, err = h.Run(ctx, host.Cmd{Args: []string{"sync", path.Dir(name)}})
	}
	return err
}

func fill(ctx context.Context, h host.Host, name string, size int64, programs ...string) error {
	if _, err := h.Run(ctx, host.Cmd{Args: []string{"fallocate", "--length", strconv.FormatInt(size, 10), name}}); err != nil {
		return err
	}
	for _, program := range append(programs, "sync") {
		if _, err := h.Run(ctx, host.Cmd{Args: []string{program, name}}); err != nil {
			return err
		}
	}
	return nil
}
