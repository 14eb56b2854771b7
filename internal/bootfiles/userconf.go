package bootfiles

import (
	"fmt"
	"regexp"
	"strings"

	"picluster/internal/secret"
)

// validUser is what userconf-pi accepts as a name, besides its limit of 32
// characters; it refuses root by name.
var validUser = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Userconf returns a userconf.txt, by which images since April 2022 give their
// user a name and a password. hash is a crypt(3) hash such as "$6$…". userconf-pi
// reads the file's first line and cuts it at colons; a file that it does not
// like leaves the Pi waiting for somebody at a keyboard, so only what it likes
// is written.
func Userconf(name string, hash secret.Text) ([]byte, error) {
	if !validUser.MatchString(name) || name == "root" {
		return nil, fmt.Errorf("write userconf.txt: user %q: want a lower-case letter, then letters, digits and hyphens, at most 32, and not root", name)
	}
	h := hash.Reveal()
	if !strings.HasPrefix(h, "$") || strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r == ':' || r > '~' }) {
		return nil, fmt.Errorf("write userconf.txt: password of %s: not a crypt hash", name)
	}
	return []byte(name + ":" + h + "\n"), nil
}
