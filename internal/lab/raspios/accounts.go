package raspios

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// account is a line of /etc/passwd, group a line of /etc/group.
type (
	account struct {
		name        string
		uid, gid    int
		gecos, home string
		shell       string
	}
	group struct {
		gid     int
		members []string
	}
)

// accounts are the users and groups under construction.
type accounts struct {
	users  map[string]account
	groups map[string]group
}

// made lists the users and groups that installation scripts make with adduser;
// all others come from base-passwd and sysusers.d. From "u" on in the form of
// sysusers.d(5).
const made = `
u messagebus - "System Message Bus" /nonexistent
u avahi - "Avahi mDNS daemon" /run/avahi-daemon
u polkitd - "User for polkitd" /
u sshd -:nogroup "sshd user" /run/sshd
g netdev -
g crontab -
g _ssh -
g render -
g input -
g spi -
g i2c -
g gpio -
`

// makeAccounts writes passwd, group, shadow and gshadow, with the user pi as
// pi-gen leaves it: uid 1000, its groups, no password that could be typed.
func (s *system) makeAccounts(context.Context) error {
	a := accounts{users: map[string]account{}, groups: map[string]group{}}
	if err := a.addMaster(s); err != nil {
		return err
	}
	conf, err := filepath.Glob(s.path("usr/lib/sysusers.d/*.conf"))
	if err != nil {
		return err
	}
	lines := strings.Split(made, "\n")
	for _, path := range conf {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		lines = append(lines, strings.Split(string(data), "\n")...)
	}
	// As systemd-sysusers does: groups before users, members last.
	for _, kind := range []string{"g", "u", "m"} {
		for _, line := range lines {
			if err := a.addLine(kind, line); err != nil {
				return err
			}
		}
	}
	a.groups["pi"] = group{gid: 1000}
	a.users["pi"] = account{name: "pi", uid: 1000, gid: 1000, gecos: ",,,", home: "/home/pi", shell: "/bin/bash"}
	for _, name := range strings.Fields("adm dialout cdrom audio users sudo video games plugdev input gpio spi i2c netdev render") {
		g, ok := a.groups[name]
		if !ok {
			return fmt.Errorf("add pi to group %s: there is no such group", name)
		}
		g.members = append(g.members, "pi")
		a.groups[name] = g
	}
	return a.write(s)
}

func (a *accounts) addMaster(s *system) error {
	for _, file := range []string{"passwd", "group"} {
		data, err := os.ReadFile(s.path("usr/share/base-passwd/" + file + ".master"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Split(strings.TrimSpace(line), ":")
			if file == "group" {
				gid, err := strconv.Atoi(f[2])
				if err != nil {
					return err
				}
				a.groups[f[0]] = group{gid: gid}
				continue
			}
			uid, err := strconv.Atoi(f[2])
			if err != nil {
				return err
			}
			gid, err := strconv.Atoi(f[3])
			if err != nil {
				return err
			}
			a.users[f[0]] = account{name: f[0], uid: uid, gid: gid, gecos: f[4], home: f[5], shell: f[6]}
		}
	}
	return nil
}

// addLine adds what one line of sysusers.d says, if it is of that kind.
func (a *accounts) addLine(kind, line string) error {
	f := splitQuoted(line)
	if len(f) < 2 || strings.TrimSuffix(f[0], "!") != kind {
		return nil
	}
	field := func(i int, otherwise string) string {
		if i < len(f) && f[i] != "-" && f[i] != "" {
			return f[i]
		}
		return otherwise
	}
	name := f[1]
	switch kind {
	case "g":
		if _, ok := a.groups[name]; ok {
			return nil
		}
		gid, err := a.id(field(2, ""))
		a.groups[name] = group{gid: gid}
		return err
	case "m":
		if g, ok := a.groups[field(2, "")]; ok && !slices.Contains(g.members, name) {
			g.members = append(g.members, name)
			a.groups[f[2]] = g
		}
		return nil
	}
	if _, ok := a.users[name]; ok {
		return nil
	}
	number, of, _ := strings.Cut(field(2, ""), ":")
	uid, err := a.id(strings.Trim(number, "-"))
	if err != nil {
		return fmt.Errorf("read sysusers line %q: %w", line, err)
	}
	if of == "" {
		of = name
		if _, ok := a.groups[name]; !ok {
			a.groups[name] = group{gid: uid}
		}
	}
	a.users[name] = account{name: name, uid: uid, gid: a.groups[of].gid, gecos: field(3, ""), home: field(4, "/"), shell: field(5, "/usr/sbin/nologin")}
	return nil
}

// id is the given number or a free one, counted down from 999 as by sysusers.
func (a *accounts) id(given string) (int, error) {
	if given != "" {
		return strconv.Atoi(given)
	}
	taken := map[int]bool{}
	for _, u := range a.users {
		taken[u.uid] = true
	}
	for _, g := range a.groups {
		taken[g.gid] = true
	}
	for n := 999; n > 0; n-- {
		if !taken[n] {
			return n, nil
		}
	}
	return 0, fmt.Errorf("find free id: all are taken")
}

func (a *accounts) write(s *system) error {
	var passwd, shadow, groups, gshadow strings.Builder
	users := slices.SortedFunc(maps.Values(a.users), func(x, y account) int {
		return cmp.Or(cmp.Compare(x.uid, y.uid), cmp.Compare(x.name, y.name))
	})
	for _, u := range users {
		fmt.Fprintf(&passwd, "%s:x:%d:%d:%s:%s:%s\n", u.name, u.uid, u.gid, u.gecos, u.home, u.shell)
		fmt.Fprintf(&shadow, "%s:*:20000:0:99999:7:::\n", u.name)
	}
	names := slices.SortedFunc(maps.Keys(a.groups), func(x, y string) int {
		return cmp.Or(cmp.Compare(a.groups[x].gid, a.groups[y].gid), cmp.Compare(x, y))
	})
	for _, name := range names {
		members := strings.Join(a.groups[name].members, ",")
		fmt.Fprintf(&groups, "%s:x:%d:%s\n", name, a.groups[name].gid, members)
		fmt.Fprintf(&gshadow, "%s:*::%s\n", name, members)
	}
	for name, content := range map[string]string{"passwd": passwd.String(), "group": groups.String()} {
		if err := s.write("etc/"+name, content, 0o644); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{"shadow": shadow.String(), "gshadow": gshadow.String()} {
		if err := s.write("etc/"+name, content, 0o640); err != nil {
			return err
		}
		if err := os.Chown(s.path("etc/"+name), 0, a.groups["shadow"].gid); err != nil {
			return err
		}
	}
	return a.own(s)
}

// own gives away what installation scripts give away.
func (a *accounts) own(s *system) error {
	helper := s.path("usr/lib/dbus-1.0/dbus-daemon-launch-helper")
	if err := os.Chown(helper, 0, a.groups["messagebus"].gid); err != nil {
		return err
	}
	// rwsr-xr--: only the bus may start services as root.
	if err := os.Chmod(helper, 0o754|os.ModeSetuid); err != nil {
		return err
	}
	for _, dir := range []struct {
		path     string
		uid, gid int
		mode     os.FileMode
	}{
		{"home/pi", 1000, 1000, 0o700},
		{"root", 0, 0, 0o700},
		{"tmp", 0, 0, 0o777 | os.ModeSticky},
		{"var/log/journal", 0, a.groups["systemd-journal"].gid, 0o755 | os.ModeSetgid},
		{"var/lib/systemd/timesync", a.users["systemd-timesync"].uid, a.users["systemd-timesync"].gid, 0o755},
	} {
		path := s.path(dir.path)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := os.Chown(path, dir.uid, dir.gid); err != nil {
			return err
		}
		if err := os.Chmod(path, dir.mode); err != nil {
			return err
		}
	}
	return nil
}

// splitQuoted splits at blanks that are not within double quotes; a comment is
// nothing.
func splitQuoted(line string) []string {
	if strings.HasPrefix(strings.TrimSpace(line), "#") {
		return nil
	}
	var fields []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			fields = append(fields, part)
		} else {
			fields = append(fields, strings.Fields(part)...)
		}
	}
	return fields
}
