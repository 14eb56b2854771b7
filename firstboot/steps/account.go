package steps

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"picluster/internal/host"
	"picluster/internal/secret"
)

// uid is the account that people log in to: pi-gen's first user.
const uid = 1000

// userName is what userconf-pi and cluster.yaml take for a name. Anything else
// could be a field or a line of its own in passwd and sudoers.
var userName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// userGroups are the groups that pi-gen gives its first user (stage1/01-sys-tweaks
// and export-image); those that a release does not have are left out.
var userGroups = strings.Fields("adm dialout cdrom audio users sudo video games plugdev input gpio spi i2c netdev render")

// Account wants uid 1000 to be this user: renamed if the image has another one,
// made if it has none. The files are edited one by one and replaced in one go
// each: usermod would leave its lock files and half of them after a power cut,
// and nobody else is running who could write them.
type Account struct {
	User         string
	PasswordHash secret.Text // crypt(3); none: no password opens the account
}

func (s Account) Name() string { return "user" }

// files are in the order in which a cut leaves a system that can be gone on
// with: what passwd names last is there already.
func (s Account) files(old user) []edited {
	members := func(text string) (string, error) { return s.members(text, old) }
	return []edited{
		{path: "/etc/group", edit: func(text string) (string, error) { return s.group(text, old) }},
		{path: "/etc/gshadow", edit: func(text string) (string, error) { return s.gshadow(text, old) }, mode: 0o640, private: true},
		{path: "/etc/group", edit: members},
		{path: "/etc/subuid", edit: s.subordinate(old)},
		{path: "/etc/subgid", edit: s.subordinate(old)},
		{path: "/etc/shadow", edit: func(text string) (string, error) { return s.shadow(text, old) }, mode: 0o640, private: true},
		{path: "/etc/passwd", edit: func(text string) (string, error) { return s.passwd(text, old) }},
	}
}

// user is what passwd has of uid 1000.
type user struct {
	name, home string
	gid        int
}

// currentUser reads passwd; without an account for uid 1000 it is the zero user
// with the gid that a new one gets.
func currentUser(ctx context.Context, h host.Host) (user, error) {
	data, err := h.ReadFile(ctx, "/etc/passwd")
	if err != nil {
		return user{}, err
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != 7 || f[2] != strconv.Itoa(uid) {
			continue
		}
		gid, err := strconv.Atoi(f[3])
		if err != nil {
			return user{}, fmt.Errorf("read /etc/passwd: group of %s: %w", f[0], err)
		}
		return user{f[0], f[5], gid}, nil
	}
	return user{gid: uid}, nil
}

// Check implements Step.
func (s Account) Check(ctx context.Context, h host.Host) (string, error) {
	old, err := s.current(ctx, h)
	if err != nil {
		return "", err
	}
	switch old.name {
	case "":
		return fmt.Sprintf("there is no user with uid %d, want %s", uid, s.User), nil
	case s.User:
	default:
		return fmt.Sprintf("uid %d is %s, want %s", uid, old.name, s.User), nil
	}
	for _, f := range s.files(old) {
		if drift, err := f.drift(ctx, h); err != nil || drift != "" {
			return drift, err
		}
	}
	return "", nil
}

// Apply implements Step.
func (s Account) Apply(ctx context.Context, h host.Host) error {
	old, err := s.current(ctx, h)
	if err != nil {
		return err
	}
	for _, f := range s.files(old) {
		if err := f.apply(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

func (s Account) current(ctx context.Context, h host.Host) (user, error) {
	if !userName.MatchString(s.User) || s.User == "root" {
		return user{}, fmt.Errorf("make user %q: it is no user name", s.User)
	}
	if hash := s.PasswordHash.Reveal(); strings.ContainsAny(hash, ":\n\r") {
		return user{}, fmt.Errorf("make user %s: the password hash has a colon or a line break in it", s.User)
	}
	return currentUser(ctx, h)
}

// passwd renames the line of uid 1000 or adds one.
func (s Account) passwd(text string, old user) (string, error) {
	return records(text, 7, func(f []string) (keep bool, err error) {
		if f[0] == s.User && f[2] != strconv.Itoa(uid) {
			return false, fmt.Errorf("%s is the system's own user, with uid %s", s.User, f[2])
		}
		return f[2] == strconv.Itoa(uid), nil
	}, func(f []string) []string {
		if f == nil {
			f = []string{s.User, "x", strconv.Itoa(uid), strconv.Itoa(old.gid), ",,,", "", ""}
		}
		f[0], f[5], f[6] = s.User, "/home/"+s.User, shell(f[6])
		return f
	})
}

// shell is bash where the image locks its first user by a shell that is none
// (pi-gen since 2026).
func shell(old string) string {
	if old == "" || strings.HasSuffix(old, "/nologin") || strings.HasSuffix(old, "/false") {
		return "/bin/bash"
	}
	return old
}

func (s Account) shadow(text string, old user) (string, error) {
	return records(text, 9, s.isUser(old), func(f []string) []string {
		if f == nil {
			f = []string{"", "", "20000", "0", "99999", "7", "", "", ""}
		}
		f[0], f[1] = s.User, "*" // no password matches, keys do
		if hash := s.PasswordHash.Reveal(); hash != "" {
			f[1] = hash
		}
		f[7] = "" // not expired
		return f
	})
}

// group renames the user's own group or adds one.
func (s Account) group(text string, old user) (string, error) {
	gid := strconv.Itoa(old.gid)
	return records(text, 4, func(f []string) (bool, error) {
		if f[0] == s.User && f[2] != gid {
			return false, fmt.Errorf("%s is the system's own group, with gid %s", s.User, f[2])
		}
		return f[2] == gid, nil
	}, func(f []string) []string {
		if f == nil {
			f = []string{"", "x", gid, ""}
		}
		if f[0] == old.name || f[0] == "" {
			f[0] = s.User
		}
		return f
	})
}

func (s Account) gshadow(text string, old user) (string, error) {
	if text == "" {
		return "", nil // a system without shadow groups stays one
	}
	text, err := records(text, 4, s.isUser(old), func(f []string) []string {
		if f == nil {
			f = []string{"", "!", "", ""}
		}
		f[0] = s.User
		return f
	})
	if err != nil {
		return "", err
	}
	return s.members(text, old)
}

// members puts the user into its groups, in group and gshadow alike.
func (s Account) members(text string, old user) (string, error) {
	return eachRecord(text, 4, func(f []string) {
		var list []string
		if f[3] != "" {
			list = strings.Split(f[3], ",")
		}
		if i := slices.Index(list, old.name); i >= 0 && old.name != "" {
			list[i] = s.User
		}
		if slices.Contains(userGroups, f[0]) && !slices.Contains(list, s.User) {
			list = append(list, s.User)
		}
		f[3] = strings.Join(unique(list), ",")
	})
}

// subordinate renames the user's ranges; they matter to rootless containers only.
func (s Account) subordinate(old user) func(string) (string, error) {
	return func(text string) (string, error) {
		return eachRecord(text, 3, func(f []string) {
			if f[0] == old.name && old.name != "" {
				f[0] = s.User
			}
		})
	}
}

func (s Account) isUser(old user) func(f []string) (bool, error) {
	return func(f []string) (bool, error) { return f[0] == s.User || f[0] == old.name && old.name != "", nil }
}
