package steps

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"picluster/internal/host"
	"picluster/internal/node"
	"picluster/internal/secret"
)

// ExtraFile wants a file that the person asked for. Its content may be secret.
type ExtraFile struct {
	Path    string
	Mode    fs.FileMode
	Owner   string // "user" or "user:group", names or numbers; without a group it is the user's
	Content secret.Text
}

func extraFile(f node.File) ExtraFile {
	mode := fs.FileMode(f.Mode & 0o777)
	for bit, m := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if f.Mode&bit != 0 {
			mode |= m
		}
	}
	return ExtraFile{f.Path, mode, f.Owner, f.Content.Text}
}

func (s ExtraFile) Name() string { return "file " + s.Path }

func (s ExtraFile) String() string {
	return fmt.Sprintf("{%s Mode:%v Owner:%s %v}", s.Path, s.Mode, s.Owner, s.Content)
}

func (s ExtraFile) file(ctx context.Context, h host.Host) (host.File, error) {
	f := host.File{Mode: s.Mode, Data: []byte(s.Content.Reveal())}
	owner, group, named := strings.Cut(s.Owner, ":")
	var err error
	if f.UID, f.GID, err = findUser(ctx, h, owner); err != nil || !named {
		return f, err
	}
	f.GID, err = findID(ctx, h, "/etc/group", group, 2)
	return f, err
}

// findUser returns the ids of a user and its group. A number may be nobody's.
func findUser(ctx context.Context, h host.Host, name string) (uid, gid int, err error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, n, nil
	}
	if uid, err = findID(ctx, h, "/etc/passwd", name, 2); err != nil {
		return 0, 0, err
	}
	gid, err = findID(ctx, h, "/etc/passwd", name, 3)
	return uid, gid, err
}

// findID reads a number out of passwd or group, by the file's own fields: nobody
// else's accounts are there so early.
func findID(ctx context.Context, h host.Host, file, name string, field int) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	data, err := h.ReadFile(ctx, file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) > field && f[0] == name {
			return strconv.Atoi(f[field])
		}
	}
	return 0, fmt.Errorf("find owner %s: %s does not have it", name, file)
}

// Check implements Step.
func (s ExtraFile) Check(ctx context.Context, h host.Host) (string, error) {
	f, err := s.file(ctx, h)
	if err != nil {
		return "", err
	}
	return f.Drift(ctx, h, s.Path)
}

// Apply implements Step.
func (s ExtraFile) Apply(ctx context.Context, h host.Host) error {
	f, err := s.file(ctx, h)
	if err != nil {
		return err
	}
	return h.Write(ctx, s.Path, f)
}
