package spec

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

func (s *System) check(r *report) {
	checkTimezone(r, s.Timezone)
	checkLocale(r, s.Locale)
	checkKeymap(r, s.Keymap)
	s.User.check(r)
	for i, name := range s.Packages {
		if !packageName.MatchString(name) {
			r.problem(fmt.Sprintf("system.packages[%d]", i), "%s is not the name of a Debian package", quoted(name))
		}
	}
	owner := map[string]int{}
	for i := range s.Files {
		field := fmt.Sprintf("system.files[%d]", i)
		s.Files[i].check(r, field)
		if other, twice := owner[s.Files[i].Path]; twice {
			r.problem(field+".path", "%s is the path of system.files[%d] already", quoted(s.Files[i].Path), other)
		}
		owner[s.Files[i].Path] = i
	}
}

// Names of packages follow Debian Policy 5.6.1.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)

// A locale is one that Debian's locale-gen knows in UTF-8, or C.UTF-8.
var (
	localeForm  = regexp.MustCompile(`^([a-z]{2,3}_[A-Z]{2}|C)\.UTF-8$`)
	localeParts = regexp.MustCompile(`(?i)^([a-z]{2,3})[_-]([a-z]{2})(\.utf-?8)?$`)
)

func checkLocale(r *report, locale string) {
	if localeForm.MatchString(locale) {
		return
	}
	p := r.problem("system.locale", "%s does not have the form en_US.UTF-8", quoted(locale))
	if m := localeParts.FindStringSubmatch(locale); m != nil {
		p.Hint = didYouMean(strings.ToLower(m[1]) + "_" + strings.ToUpper(m[2]) + ".UTF-8")
	}
}

var keymapForm = regexp.MustCompile(`^[a-z]{2,}$`)

func checkKeymap(r *report, keymap string) {
	switch {
	case keymap == "uk": // a country's abbreviation, but no layout of XKB
		r.problem("system.keymap", `"uk" is not a keyboard layout`).Hint = didYouMean("gb")
	case !keymapForm.MatchString(keymap):
		r.problem("system.keymap", "%s is not a keyboard layout such as us, gb, de, ch", quoted(keymap))
	}
}

// The form that Raspberry Pi OS accepts for its user (userconf-pi).
var userName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// systemAccounts exist on every Debian system (package base-passwd), and on
// Raspberry Pi OS.
func systemAccounts() []string {
	return []string{"root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy",
		"backup", "list", "irc", "nobody", "messagebus", "sshd", "avahi", "polkitd", "www-data", "systemd-network"}
}

func (u *User) check(r *report) {
	switch field := "system.user.name"; {
	case slices.Contains(systemAccounts(), u.Name):
		r.problem(field, "%s is an account of the system", quoted(u.Name))
	case !userName.MatchString(u.Name):
		r.problem(field, "%s is not a user name: at most 32 lower-case letters, digits and hyphens, first a letter", quoted(u.Name))
	}
	hasPassword := r.given("system.user.password")
	if len(u.AuthorizedKeys) == 0 && !hasPassword && !r.isBad("system.user.password") {
		r.problem("system.user.authorizedKeys", "nobody could log in: give a public key").Hint = "authorizedKeys: [~/.ssh/id_ed25519.pub]"
	}
	if u.Sudo == "password" && !hasPassword {
		r.problem("system.user.sudo", "there is no password that sudo could ask for")
	}
	if hasPassword {
		r.checkOneSource("system.user.password", "hashFile", u.Password.HashFile, "hashEnv", u.Password.HashEnv)
	}
}

// checkOneSource wants exactly one of a file and an environment variable.
func (r *report) checkOneSource(field, fileKey, file, envKey, env string) {
	switch {
	case file == "" && env == "":
		r.problem(join(field, fileKey), "is missing, and so is %s", envKey)
	case file != "" && env != "":
		r.problem(join(field, envKey), "give this or %s, not both", fileKey)
	case env != "" && !envName.MatchString(env):
		// Not quoted: it may be the secret itself.
		r.problem(join(field, envKey), "is not the name of an environment variable")
	}
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// checkPath wants the path of a file on a node's root file system.
func checkPath(r *report, field, file string) {
	switch {
	case file == "":
		r.problem(field, "is missing")
	case !path.IsAbs(file) || path.Clean(file) != file || file == "/" || strings.ContainsFunc(file, unicode.IsControl):
		r.problem(field, "%s is not the absolute path of a file", quoted(file))
	}
	for _, dir := range keepOut() {
		if file == dir || strings.HasPrefix(file, dir+"/") {
			r.problem(field, "%s is in %s, which is not for files of your own", quoted(file), dir)
		}
	}
}

// keepOut holds where no file may be put: the boot partition, which only
// imagebuilder writes, what is not on a disk, and our own state.
func keepOut() []string {
	return []string{"/boot", "/proc", "/sys", "/dev", "/run", "/tmp", "/etc/picluster", "/var/lib/picluster"}
}

var ownerForm = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}(:[a-z_][a-z0-9_-]{0,31})?$`)

func (f *File) check(r *report, field string) {
	checkPath(r, field+".path", f.Path)
	if !ownerForm.MatchString(f.Owner) {
		r.problem(field+".owner", "%s is neither user nor user:group", quoted(f.Owner))
	}
	switch source, content := f.Source != "", r.given(field+".content"); {
	case !source && !content:
		r.problem(field+".source", "is missing, and so is content")
	case source && content:
		r.problem(field+".content", "give this or source, not both")
	}
}
