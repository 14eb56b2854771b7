package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"picluster/internal/lab/pigen"
	"picluster/internal/lab/raspios"
	"picluster/internal/lab/tool"
)

// version is part of every name in the cache. Raise it with any change to what
// pigen or raspios put into an image.
const version = "2"

// buildTime bounds the making of one thing for the cache. A bootable image takes
// about two minutes on two idle cores.
const buildTime = 2 * time.Hour

// Layout names an image; see [pigen.Layout].
type Layout = pigen.Layout

// Layouts lists all layouts, oldest first.
func Layouts() []Layout { return pigen.Layouts() }

// CacheDir is where images are kept: $PICLUSTER_LAB_CACHE, or picluster-lab in the
// user's cache directory. Deleting it is always safe when no test runs.
func CacheDir() (string, error) {
	if dir := os.Getenv("PICLUSTER_LAB_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find lab cache: %w (PICLUSTER_LAB_CACHE names one)", err)
	}
	return filepath.Join(dir, "picluster-lab"), nil
}

// MakeImage is Image for callers outside a test.
func MakeImage(l Layout) (string, error) {
	l, err := l.Resolve()
	if err != nil {
		return "", err
	}
	return Cached(l.String()+".img", func(ctx context.Context, path string) error {
		return pigen.Build(ctx, l, path)
	})
}

// MakeBootable is Bootable for callers outside a test.
func MakeBootable(release string) (string, error) {
	l, err := Layout{Release: release, Arch: "arm64"}.Resolve()
	if err != nil {
		return "", err
	}
	return Cached(l.String()+"-bootable.img", func(ctx context.Context, path string) error {
		return raspios.Build(ctx, l, path)
	})
}

// MakeBootableXZ is BootableXZ for callers outside a test.
func MakeBootableXZ(release string) (string, error) {
	img, err := MakeBootable(release)
	if err != nil {
		return "", err
	}
	return Cached(filepath.Base(withoutVersion(img))+".xz", func(ctx context.Context, path string) error {
		out, err := os.Create(path)
		if err != nil {
			return err
		}
		defer out.Close()
		// Raspberry Pi's own files are of many blocks: xz --threads=0 at level 6.
		// Level 1 is a third of the time; blocks are 24 MiB as there.
		xz := tool.Cmd{Args: []string{"xz", "--compress", "--stdout", "--threads=0", "-1", "--block-size=24MiB", img}, Stdout: out}
		if _, err := xz.Output(ctx); err != nil {
			return err
		}
		return out.Close()
	})
}

// Cached returns the path of a file in the cache, which make writes if it is not
// there. Processes that want the same file wait for the one that makes it; what
// was cut off leaves nothing behind under the file's name.
func Cached(name string, make func(ctx context.Context, path string) error) (string, error) {
	dir, err := CacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "v"+version+"-"+name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make lab cache: %w", err)
	}
	unlock, err := lock(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	work, err := os.MkdirTemp(dir, "making-")
	if err != nil {
		return "", fmt.Errorf("make lab cache: %w", err)
	}
	defer os.RemoveAll(work)
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	made := filepath.Join(work, name)
	if err := make(ctx, made); err != nil {
		return "", err
	}
	// Tests write to copies only. What can be run can still be run.
	info, err := os.Stat(made)
	if err != nil {
		return "", err
	}
	if err := os.Chmod(made, info.Mode().Perm()&^0o222); err != nil {
		return "", err
	}
	return path, os.Rename(made, path)
}

func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock lab cache: %w", err)
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("lock lab cache: %w", &fs.PathError{Op: "flock", Path: path, Err: err})
		}
		return func() { file.Close() }, nil
	}
}

func withoutVersion(path string) string {
	return filepath.Join(filepath.Dir(path), filepath.Base(path)[len("v"+version+"-"):])
}
