package steps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"picluster/internal/host"
)

// Home wants the home directory of uid 1000 under its new name. It goes before
// passwd is changed, which is what knows the old name.
type Home struct{ User string }

func (s Home) Name() string { return "home directory" }

func (s Home) path() string { return "/home/" + s.User }

// Check implements Step.
func (s Home) Check(ctx context.Context, h host.Host) (string, error) {
	old, err := currentUser(ctx, h)
	if err != nil || old.home == "" || old.home == s.path() {
		return "", err
	}
	// Home directories of people only: a strange passwd must not move /.
	if path.Dir(old.home) != "/home" {
		return "", nil
	}
	there, err := exists(ctx, h, old.home)
	if err != nil || !there {
		return "", err
	}
	if moved, err := exists(ctx, h, s.path()); err != nil || moved {
		return "", err
	}
	return fmt.Sprintf("the home directory is %s, want %s", old.home, s.path()), nil
}

// Apply implements Step.
func (s Home) Apply(ctx context.Context, h host.Host) error {
	old, err := currentUser(ctx, h)
	if err != nil {
		return err
	}
	_, err = h.Run(ctx, host.Cmd{Args: []string{"mv", "--no-target-directory", old.home, s.path()}})
	return err
}

// HomeFiles wants the home directory to be the user's, with what /etc/skel gives
// a new one. The directory is given away last, so one that is the user's is whole.
type HomeFiles struct{ User string }

func (s HomeFiles) Name() string { return "home directory's files" }

// Check implements Step.
func (s HomeFiles) Check(ctx context.Context, h host.Host) (string, error) {
	home := "/home/" + s.User
	u, err := currentUser(ctx, h)
	if err != nil {
		return "", err
	}
	is, err := h.Stat(ctx, home)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return home + " is missing", nil
	case err != nil:
		return "", err
	case !is.Mode.IsDir():
		return "", fmt.Errorf("make home directory: %s is there and is none", home)
	case is.UID != uid || is.GID != u.gid:
		return fmt.Sprintf("%s belongs to %d:%d, want %d:%d", home, is.UID, is.GID, uid, u.gid), nil
	}
	return "", nil
}

// Apply implements Step.
func (s HomeFiles) Apply(ctx context.Context, h host.Host) error {
	u, err := currentUser(ctx, h)
	if err != nil {
		return err
	}
	names, err := h.ReadDir(ctx, "/etc/skel")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range names {
		if err := s.copy(ctx, h, name, u.gid); err != nil {
			return err
		}
	}
	return h.Write(ctx, "/home/"+s.User, host.File{Mode: fs.ModeDir | 0o700, UID: uid, GID: u.gid})
}

func (s HomeFiles) copy(ctx context.Context, h host.Host, name string, gid int) error {
	is, err := h.Stat(ctx, "/etc/skel/"+name)
	if err != nil || !is.Mode.IsRegular() {
		return err
	}
	data, err := h.ReadFile(ctx, "/etc/skel/"+name)
	if err != nil {
		return err
	}
	return h.Write(ctx, path.Join("/home", s.User, name), host.File{Mode: is.Mode, UID: uid, GID: gid, Data: data})
}

// AuthorizedKeys wants these keys and no others to open the user's account.
type AuthorizedKeys struct {
	User string
	Keys []string
}

func (s AuthorizedKeys) Name() string { return "authorized keys" }

// String has a key a piece: they are public.
func (s AuthorizedKeys) String() string { return fmt.Sprintf("{User:%s Keys:%q}", s.User, s.Keys) }

// files are the directory and the file in it, which sshd reads only if nobody
// else could have written them.
func (s AuthorizedKeys) files(ctx context.Context, h host.Host) (dir, keys host.File, err error) {
	u, err := currentUser(ctx, h)
	text := ""
	for _, key := range unique(s.Keys) {
		text += strings.TrimSpace(key) + "\n"
	}
	return host.File{Mode: fs.ModeDir | 0o700, UID: uid, GID: u.gid}, host.File{Mode: 0o600, UID: uid, GID: u.gid, Data: []byte(text)}, err
}

func (s AuthorizedKeys) dir() string { return path.Join("/home", s.User, ".ssh") }

// Check implements Step.
func (s AuthorizedKeys) Check(ctx context.Context, h host.Host) (string, error) {
	dir, keys, err := s.files(ctx, h)
	if err != nil {
		return "", err
	}
	if drift, err := dir.Drift(ctx, h, s.dir()); drift != "" || err != nil {
		return drift, err
	}
	return keys.Drift(ctx, h, s.dir()+"/authorized_keys")
}

// Apply implements Step.
func (s AuthorizedKeys) Apply(ctx context.Context, h host.Host) error {
	dir, keys, err := s.files(ctx, h)
	if err != nil {
		return err
	}
	if err := h.Write(ctx, s.dir(), dir); err != nil {
		return err
	}
	return h.Write(ctx, s.dir()+"/authorized_keys", keys)
}
