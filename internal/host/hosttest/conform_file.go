package hosttest

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"picluster/internal/host"
)

func statTells(b bench) {
	b.run(`cd "$ROOT$1"
		printf 12345 >file; chown 12:34 file; chmod 4751 file
		mkdir dir; chown 5:6 dir; chmod 2775 dir
		mkfifo pipe; chmod 1600 pipe
		touch -d '2026-02-03 04:05:06 UTC' old; chmod 0 old`, b.dir)
	for name, want := range map[string]host.Info{
		"file": {Mode: fs.ModeSetuid | 0o751, UID: 12, GID: 34, Size: 5},
		"dir":  {Mode: fs.ModeDir | fs.ModeSetgid | 0o775, UID: 5, GID: 6},
		"pipe": {Mode: fs.ModeNamedPipe | fs.ModeSticky | 0o600},
		"old":  {},
	} {
		got, err := b.h.Stat(b.Context(), b.path(name))
		equal(b, "error", err, nil)
		if name == "old" {
			equal(b, "time", got.ModTime.UTC().String(), "2026-02-03 04:05:06 +0000 UTC")
		}
		if got.ModTime = want.ModTime; got.Mode.IsDir() {
			got.Size = 0 // the file system's own affair
		}
		equal(b, name, got, want)
	}
}

func statDoesNotFollow(b bench) {
	for name, target := range map[string]string{
		"relative": "file", "absolute": b.path("file"), "dangling": "/no/such file", "loop": "loop", "odd": " two\nlines\n",
	} {
		b.run(`printf x >"$ROOT$1/file"; ln -s "$2" "$ROOT$1/$3"; chown -h 7:8 "$ROOT$1/$3"`, b.dir, target, name)
		got, err := b.h.Stat(b.Context(), b.path(name))
		equal(b, "error", err, nil)
		equal(b, "type", got.Mode.Type(), fs.ModeSymlink)
		equal(b, "target", got.Target, target)
		equal(b, "owner", [2]int{got.UID, got.GID}, [2]int{7, 8})
	}
}

// big is a file that no pipe takes in one go, with bytes of every kind.
func big(seed string) []byte {
	return bytes.Repeat([]byte(seed+"\x00\xff\r\n"), 300_000/len(seed))
}

func readReads(b bench) {
	data := big("read")
	for name, data := range map[string][]byte{"b": nil, "a": data, ".hidden": []byte("x\n\n"), "with\nline and space": nil} {
		b.write(b.path(name), host.File{Data: data})
		got, err := b.h.ReadFile(b.Context(), b.path(name))
		equal(b, "error", err, nil)
		if !bytes.Equal(got, data) {
			b.Errorf("%q: read %d bytes, want %d", name, len(got), len(data))
		}
	}
	b.has(b.dir, ".hidden", "a", "b", "with\nline and space")
	b.write(b.path("dir"), host.File{Mode: fs.ModeDir})
	b.has(b.path("dir"))
	names, err := b.h.ReadDir(b.Context(), "/")
	if err != nil || !slices.Contains(names, "tmp") {
		b.Errorf("the root directory has %q: %v", names, err)
	}
}

func readFollows(b bench) {
	b.write(b.path("dir/file"), host.File{Data: []byte("here")})
	b.write(b.path("to-dir"), host.File{Target: b.path("dir")})
	b.write(b.path("to-file"), host.File{Target: "to-dir/../dir/file"})
	b.write(b.path("loop"), host.File{Target: "loop"})
	for _, name := range []string{"to-file", "to-dir/file"} {
		got, err := b.h.ReadFile(b.Context(), b.path(name))
		equal(b, "error", err, nil)
		equal(b, name, string(got), "here")
	}
	b.has(b.path("to-dir"), "file")
	_, err := b.h.ReadFile(b.Context(), b.path("loop"))
	b.pathError(err, b.path("loop"), syscall.ELOOP)
}

func missingIsNotExist(b bench) {
	b.write(b.path("dangling"), host.File{Target: "/no/such/file"})
	for _, path := range []string{b.path("missing"), b.path("missing/too"), b.path("dangling"), b.path("it's missing")} {
		_, err := b.h.ReadFile(b.Context(), path)
		b.pathError(err, path, fs.ErrNotExist)
		_, err = b.h.ReadDir(b.Context(), path)
		b.pathError(err, path, fs.ErrNotExist)
		if !strings.Contains(path, "dangling") {
			_, err = b.h.Stat(b.Context(), path)
			b.pathError(err, path, fs.ErrNotExist)
		}
	}
}

func errorsNameKindAndPath(b bench) {
	file, below := b.path("file"), b.path("file/below")
	b.write(file, host.File{})
	_, err := b.h.ReadFile(b.Context(), b.dir)
	b.pathError(err, b.dir, syscall.EISDIR)
	_, err = b.h.ReadDir(b.Context(), file)
	b.pathError(err, file, syscall.ENOTDIR)
	_, err = b.h.ReadFile(b.Context(), below)
	b.pathError(err, below, syscall.ENOTDIR)
	_, err = b.h.Stat(b.Context(), below)
	b.pathError(err, below, syscall.ENOTDIR)
	b.pathError(b.h.Write(b.Context(), below, host.File{}), below, nil)
	equal(b, "error of removing", b.h.Remove(b.Context(), below), nil)
	b.is(file, host.File{})
}

func pathsAreClean(b bench) {
	for _, path := range []string{"", "relative", "./relative", "/a/", "/a//b", "/a/./b", "/a/../b", "/zero\x00byte"} {
		_, err := b.h.Stat(b.Context(), path)
		b.pathError(err, path, fs.ErrInvalid)
		_, err = b.h.ReadFile(b.Context(), path)
		b.pathError(err, path, fs.ErrInvalid)
		_, err = b.h.ReadDir(b.Context(), path)
		b.pathError(err, path, fs.ErrInvalid)
		b.pathError(b.h.Write(b.Context(), path, host.File{}), path, fs.ErrInvalid)
		b.pathError(b.h.Remove(b.Context(), path), path, fs.ErrInvalid)
	}
}

// kinds are files of every kind, by the names they get.
var kinds = map[string]host.File{
	"empty":        {},
	"secret":       {Data: []byte("s\n"), Mode: 0o600, UID: 3, GID: 4},
	"program":      {Data: []byte("#!/bin/sh\n"), Mode: fs.ModeSetuid | fs.ModeSetgid | 0o755, UID: 0, GID: 5},
	"unreadable":   {Data: []byte("x"), Mode: fs.ModeSticky},
	"big":          {Data: big("write"), Mode: 0o640, GID: 6},
	"link":         {Target: "/no/such file", UID: 7, GID: 8},
	"odd link":     {Target: "-f 'it'\n"},
	"dir":          {Mode: fs.ModeDir},
	"spool":        {Mode: fs.ModeDir | fs.ModeSticky | 0o777, UID: 9, GID: 10},
	"shared":       {Mode: fs.ModeDir | fs.ModeSetgid | 0o770, UID: 11, GID: 12},
	"-rf $HOME\n'": {Data: []byte("odd name")},
}

func writeMakes(b bench) {
	var names []string
	for name, f := range kinds {
		names = append(names, name)
		b.write(b.path(name), f)
		b.write(b.path(name), f) // and is content with itself
		b.is(b.path(name), f)
		is, err := b.h.Stat(b.Context(), b.path(name)) // Drift does not look at a link's owner
		equal(b, "error", err, nil)
		equal(b, "owner of "+name, [2]int{is.UID, is.GID}, [2]int{f.UID, f.GID})
	}
	slices.Sort(names)
	b.has(b.dir, names...)
}

func writeReplaces(b bench) {
	other := b.path("other")
	b.write(other, host.File{Data: []byte("untouched"), Mode: 0o640, UID: 1})
	path := b.path("path")
	for _, f := range []host.File{
		{Data: []byte("one"), Mode: 0o600, UID: 1},
		{Target: "other"},
		{Data: big("two"), GID: 2},
		{Target: other},
		{Target: "dangling"},
		{Data: nil},
	} {
		b.write(path, f)
		b.is(path, f)
		b.is(other, host.File{Data: []byte("untouched"), Mode: 0o640, UID: 1})
	}
	b.run(`cd "$ROOT$1"; rm path; mkfifo path`, b.dir)
	b.write(path, host.File{Data: []byte("no pipe")}) // opening that to write would wait for ever
	b.is(path, host.File{Data: []byte("no pipe")})
	b.has(b.dir, "other", "path")
}

// A reader sees the old content or the new one, all the time.
func writeIsAtomic(b bench) {
	path, contents := b.path("file"), [][]byte{big("old"), big("newer")}
	b.write(path, host.File{Data: contents[0]})
	writing, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		for i := 0; ; i++ {
			select {
			case <-writing:
				return
			default:
			}
			if err := b.h.Write(b.Context(), path, host.File{Data: contents[i%2]}); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	for range 8 {
		got, err := b.h.ReadFile(b.Context(), path)
		if err != nil || !slices.ContainsFunc(contents, func(c []byte) bool { return bytes.Equal(c, got) }) {
			b.Errorf("read %d bytes: %v", len(got), err)
			break
		}
	}
	close(writing)
	<-written
}

func writeKeepsDirectory(b bench) {
	b.write(b.path("dir/file"), host.File{Data: []byte("kept"), Mode: 0o600})
	f := host.File{Mode: fs.ModeDir | 0o750, UID: 5, GID: 6}
	b.write(b.path("dir"), f)
	b.is(b.path("dir"), f)
	b.is(b.path("dir/file"), host.File{Data: []byte("kept"), Mode: 0o600})
}

// chmod(1) lets the bit of a directory be unless it is told with a fifth digit.
func writeTakesAwaySetgid(b bench) {
	b.run(`mkdir "$ROOT$1"; chmod 6755 "$ROOT$1"`, b.path("dir"))
	b.write(b.path("dir"), host.File{Mode: fs.ModeDir | 0o755})
	b.is(b.path("dir"), host.File{Mode: fs.ModeDir | 0o755})
}

func writeMakesParents(b bench) {
	for _, name := range []string{"secret", "link", "spool"} {
		f := kinds[name]
		b.write(b.path("for/"+name+"/deep/"+name), f)
		b.is(b.path("for/"+name+"/deep/"+name), f)
		b.is(b.path("for/"+name+"/deep"), host.File{Mode: fs.ModeDir | 0o755})
	}
	b.is(b.path("for"), host.File{Mode: fs.ModeDir | 0o755})
	b.is(b.dir, host.File{Mode: fs.ModeDir | 0o700})
}

func writeRefusesDirectory(b bench) {
	b.write(b.path("dir/file"), host.File{Data: []byte("kept")})
	b.write(b.path("empty"), host.File{Mode: fs.ModeDir})
	for _, path := range []string{b.path("dir"), b.path("empty")} {
		for _, f := range []host.File{{Data: []byte("x")}, {Target: "x"}} {
			b.pathError(b.h.Write(b.Context(), path, f), path, fs.ErrExist)
		}
	}
	b.is(b.path("dir/file"), host.File{Data: []byte("kept")})
	b.has(b.dir, "dir", "empty")
}

func writeRefusesFile(b bench) {
	b.write(b.path("dir"), host.File{Mode: fs.ModeDir})
	b.write(b.path("file"), host.File{Data: []byte("kept")})
	b.write(b.path("link"), host.File{Target: "dir"})
	for _, path := range []string{b.path("file"), b.path("link")} {
		b.pathError(b.h.Write(b.Context(), path, host.File{Mode: fs.ModeDir | 0o700}), path, fs.ErrExist)
	}
	b.is(b.path("file"), host.File{Data: []byte("kept")})
	b.is(b.path("link"), host.File{Target: "dir"})
	b.is(b.path("dir"), host.File{Mode: fs.ModeDir})
}

func writeRefusesNonsense(b bench) {
	for _, f := range []host.File{
		{Mode: fs.ModeDir, Data: []byte("x")},
		{Target: "x", Data: []byte("x")},
		{Mode: fs.ModeNamedPipe | 0o600},
		{Mode: fs.ModeSymlink | 0o777},
		{Target: "zero\x00byte"},
		{UID: -1},
		{GID: -1},
	} {
		b.pathError(b.h.Write(b.Context(), b.path("file"), f), b.path("file"), nil)
	}
	b.has(b.dir)
}

func writeGoesByLinksAbove(b bench) {
	b.write(b.path("real"), host.File{Mode: fs.ModeDir})
	b.write(b.path("link"), host.File{Target: b.path("real")})
	b.write(b.path("link/new/file"), host.File{Data: []byte("x")})
	b.is(b.path("real/new/file"), host.File{Data: []byte("x")})
	b.is(b.path("link"), host.File{Target: b.path("real")})
	if err := b.h.Remove(b.Context(), b.path("link/new/file")); err != nil {
		b.Error(err)
	}
	b.has(b.path("real/new"))
}

// The name of what a power cut leaves behind is the same for every Host, because an
// agent on the machine and one that comes by ssh follow each other.
func writeTidiesUp(b bench) {
	for _, leave := range []string{`echo half >"$1"; chmod 400 "$1"`, `ln -s /etc/passwd "$1"`, `mkfifo "$1"`} {
		for _, f := range []host.File{{Data: []byte("new")}, {Target: "new"}} {
			b.run(`set -- "$ROOT$1"; `+leave, b.path(".file.tmp"))
			b.write(b.path("file"), f)
			b.is(b.path("file"), f)
			b.has(b.dir, "file")
		}
	}
}

// All of them need the same parents.
func writeManyAtOnce(b bench) {
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			for round := range 2 {
				path := b.path(fmt.Sprintf("%d/deep/down/%d", round, i))
				if err := b.h.Write(b.Context(), path, host.File{Data: []byte("x")}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	for round := range 2 {
		names, err := b.h.ReadDir(b.Context(), b.path(fmt.Sprintf("%d/deep/down", round)))
		equal(b, "error", err, nil)
		equal(b, "files", len(names), 12)
	}
}

func removeRemoves(b bench) {
	b.write(b.path("target"), host.File{})
	for name, f := range kinds {
		b.write(b.path(name), f)
		equal(b, "error", b.h.Remove(b.Context(), b.path(name)), nil)
		equal(b, "error the second time", b.h.Remove(b.Context(), b.path(name)), nil)
	}
	b.write(b.path("link"), host.File{Target: "target"})
	equal(b, "error of a link", b.h.Remove(b.Context(), b.path("link")), nil)
	equal(b, "error without a parent", b.h.Remove(b.Context(), b.path("no/such/file")), nil)
	b.has(b.dir, "target")
}

func removeRefuses(b bench) {
	b.write(b.path("dir/file"), host.File{})
	b.pathError(b.h.Remove(b.Context(), b.path("dir")), b.path("dir"), syscall.ENOTEMPTY)
	b.is(b.path("dir/file"), host.File{})
}

// ConformDenied tests what a Host says that has no rights. dir is a directory on it
// that only root may enter or change.
func ConformDenied(t *testing.T, h host.Host, dir string) {
	t.Helper()
	path := dir + "/file"
	_, err := h.Stat(t.Context(), path)
	pathError(t, err, path, fs.ErrPermission)
	_, err = h.ReadFile(t.Context(), path)
	pathError(t, err, path, fs.ErrPermission)
	_, err = h.ReadDir(t.Context(), dir)
	pathError(t, err, dir, fs.ErrPermission)
	for _, f := range []host.File{{Data: []byte("x")}, {Target: "x"}, {Mode: fs.ModeDir}} {
		pathError(t, h.Write(t.Context(), path, f), path, fs.ErrPermission)
	}
	pathError(t, h.Write(t.Context(), dir, host.File{Mode: fs.ModeDir | 0o777}), dir, fs.ErrPermission)
	pathError(t, h.Remove(t.Context(), path), path, fs.ErrPermission)
	pathError(t, h.Remove(t.Context(), dir), dir, fs.ErrPermission)
}
