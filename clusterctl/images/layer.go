package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"picluster/internal/debian"
)

// programPath is where our program is in the image.
const programPath = "usr/sbin/storaged"

// layer writes one archive. Files come in the order of their names, so that the order
// of packages makes no difference; of two with one name the first stays.
type layer struct {
	entries map[string]entry
	links   map[string]string // merged directories: bin → usr/bin
}

type entry struct {
	header  tar.Header
	content []byte
}

func newLayer() *layer {
	return &layer{entries: map[string]entry{}, links: map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}}
}

// add takes a file in, unless it is of no use at run time.
func (l *layer) add(h tar.Header, content io.Reader) error {
	h.Name = l.merged(h.Name)
	if h.Typeflag == tar.TypeLink {
		h.Linkname = l.merged(h.Linkname)
	}
	_, there := l.entries[h.Name]
	if h.Name == "." || needlessFile(h.Name) || there || l.links[h.Name] != "" {
		return nil
	}
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	l.entries[h.Name] = entry{tar.Header{
		Typeflag: h.Typeflag, Name: h.Name, Linkname: h.Linkname, Size: int64(len(data)),
		Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid, ModTime: built, Format: tar.FormatPAX,
	}, data}
	return nil
}

// merged is a file's place where /bin and its like are links into /usr.
func (l *layer) merged(name string) string {
	top, rest, below := strings.Cut(name, "/")
	if to := l.links[top]; to != "" && below {
		return path.Join(to, rest)
	}
	return name
}

// needlessFile reports whether a file is for people or for package managers only, or of
// Gluster's geo-replication, which needs a Python that is not here: with its programs
// there, glusterd tries them and does not start (xlators/mgmt/glusterd/src/glusterd.c,
// glusterd_check_gsync_present); without, it does without.
// Copyright files stay: they come with what they are about.
func needlessFile(name string) bool {
	for _, dir := range []string{"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/bash-completion",
		"usr/share/zsh", "usr/share/bug", "usr/lib/systemd", "usr/lib/udev", "usr/lib/python3", "etc/init.d", "etc/cron.daily", "usr/include"} {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return path.Base(name) != "copyright"
		}
	}
	if dir := path.Dir(name); path.Base(dir) == "glusterfs" && path.Base(name) == "gsyncd" || strings.Contains(dir+"/", "/glusterfs/python/") {
		return true
	}
	return strings.HasSuffix(name, ".a") || strings.HasSuffix(name, ".pyc")
}

// write makes the archive, and the directories that files are in and nobody has named.
func (l *layer) write(file string) (v1.Layer, error) {
	for name, to := range l.links {
		l.entries[name] = entry{header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777, ModTime: built, Format: tar.FormatPAX}}
	}
	for name := range l.entries {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, there := l.entries[dir]; !there {
				l.entries[dir] = entry{header: tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: built, Format: tar.FormatPAX}}
			}
		}
	}
	out, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	if err := l.archive(out); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	// Compressed on the way; the level is part of the digest.
	return tarball.LayerFromFile(file, tarball.WithCompressionLevel(6))
}

func (l *layer) archive(out io.Writer) error {
	w := tar.NewWriter(out)
	var hard []string // after what they lead to
	names := make([]string, 0, len(l.entries))
	for name, e := range l.entries {
		if e.header.Typeflag == tar.TypeLink {
			hard = append(hard, name)
		} else {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Sort(hard)
	for _, name := range append(names, hard...) {
		e := l.entries[name]
		if e.header.Typeflag == tar.TypeDir {
			e.header.Name += "/"
		}
		if err := w.WriteHeader(&e.header); err != nil {
			return err
		}
		if _, err := w.Write(e.content); err != nil {
			return err
		}
	}
	return w.Close()
}

// system is the layer of Debian's packages. Their maintainer scripts do not run; what
// they would have done here, own does.
func (s Storage) system(ctx context.Context, dir string, packages []*debian.Package) (v1.Layer, error) {
	l := newLayer()
	for _, p := range packages {
		file, err := s.Archive.Fetch(ctx, p)
		if err != nil {
			return nil, err
		}
		if err := l.unpack(file); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", p, err)
		}
	}
	return l.write(temporary(dir, "system"))
}

func (l *layer) unpack(file string) error {
	deb, err := os.Open(file)
	if err != nil {
		return err
	}
	defer deb.Close()
	for e, err := range debian.Contents(deb) {
		if err == nil {
			err = l.add(*e.Header, e.Content)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// glusterd's settings: bricks keep to ports that the firewall knows, and clients may
// come from any port of theirs, as FUSE clients of pods do.
const glusterdVol = `volume management
    type mgmt/glusterd
    option working-directory /var/lib/glusterd
    option transport-type socket
    option transport.socket.keepalive-time 10
    option transport.socket.keepalive-interval 2
    option transport.socket.read-fail-log off
    option transport.socket.listen-port 24007
    option ping-timeout 0
    option event-threads 1
    option base-port 49152
    option max-port 49251
end-volume
`

// own is the layer of what is ours.
func (s Storage) own(dir string, sbom []byte) (v1.Layer, error) {
	program, err := os.ReadFile(s.Program)
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	l := newLayer()
	l.links = nil // they are in the layer below
	for name, f := range map[string]struct {
		mode fs.FileMode
		data []byte
	}{
		programPath:                             {0o755, program},
		"etc/glusterfs/glusterd.vol":            {0o644, []byte(glusterdVol)},
		"etc/passwd":                            {0o644, []byte("root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")},
		"etc/group":                             {0o644, []byte("root:x:0:\nnogroup:x:65534:\n")},
		"usr/share/picluster/storage.spdx.json": {0o644, sbom},
	} {
		if err := l.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(f.mode)}, strings.NewReader(string(f.data))); err != nil {
			return nil, err
		}
	}
	// What mawk's alternatives would have made: mount.glusterfs calls awk.
	err = l.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/awk", Linkname: "mawk", Mode: 0o777}, strings.NewReader(""))
	for _, empty := range []string{"run", "tmp", "var/lib/glusterd", "var/lib/picluster", "var/log/glusterfs"} {
		mode := int64(0o755)
		if empty == "tmp" {
			mode = 0o1777
		}
		err = errors.Join(err, l.add(tar.Header{Typeflag: tar.TypeDir, Name: empty, Mode: mode}, strings.NewReader("")))
	}
	if err != nil {
		return nil, err
	}
	return l.write(temporary(dir, "own"))
}
