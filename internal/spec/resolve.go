package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"picluster/internal/secret"
)

// resolver fetches what the document refers to. Its messages never repeat what
// a file or a variable holds.
type resolver struct {
	*report
	refs References
}

func (c *Cluster) resolve(r *report, refs References) {
	s := resolver{r, refs}
	if c.Image.isFile() {
		c.Image.Path, _ = s.path("image.source", c.Image.Source)
	}
	s.user(&c.System.User)
	for i := range c.System.Files {
		s.extraFile(&c.System.Files[i], fmt.Sprintf("system.files[%d]", i))
	}
	s.mirrorKey(&c.Mirrors)
	s.heketiKey(&c.Storage.Heketi)
	for i := range c.Network.WiFi {
		s.wifi(&c.Network.WiFi[i], fmt.Sprintf("network.wifi[%d]", i))
	}
}

// path returns where a path that stands in the document leads.
func (s *resolver) path(field, path string) (string, bool) {
	rest, fromHome := strings.CutPrefix(path, "~/")
	switch {
	case fromHome && s.refs.Home == "":
		s.problem(field, "%s: this machine knows no home directory", quoted(path))
		return "", false
	case fromHome:
		return filepath.Join(s.refs.Home, rest), true
	case filepath.IsAbs(path):
		return path, true
	}
	return filepath.Join(s.refs.Dir, path), true
}

func (s *resolver) file(field, name string) ([]byte, bool) {
	path, ok := s.path(field, name)
	if !ok || s.isBad(field) || s.refs.ReadFile == nil {
		return nil, false
	}
	data, err := s.refs.ReadFile(path)
	cause := err
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		cause = pathError.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.problem(field, "there is no file %q", path)
	case err != nil:
		s.problem(field, "read %q: %s", path, cause)
	}
	return data, err == nil
}

// text returns the content of a file or of a variable, of which one is given.
// Editors and shells end a file with a line break, Windows' with CR and LF and a
// byte order mark in front; none of these is part of a secret, but spaces are.
func (s *resolver) text(field, fileKey, file, envKey, env string) (from, text string, ok bool) {
	switch {
	case file != "":
		var data []byte
		from = join(field, fileKey)
		data, ok = s.file(from, file)
		text = string(data)
	case env != "" && s.refs.LookupEnv != nil:
		from = join(field, envKey)
		if text, ok = s.refs.LookupEnv(env); !ok {
			s.problem(from, "the environment has no variable %s", quoted(env))
		}
	}
	return from, strings.TrimRight(strings.TrimPrefix(text, "\uFEFF"), "\r\n"), ok
}

func (s *resolver) wifi(w *WiFi, field string) {
	if w.Security == "open" {
		return
	}
	from, text, ok := s.text(field, "passphraseFile", w.PassphraseFile, "passphraseEnv", w.PassphraseEnv)
	if !ok {
		return
	}
	isKey := keyForm.MatchString(text)
	switch {
	case text == "":
		s.problem(from, "it is empty, want a passphrase")
	case strings.ContainsAny(text, "\r\n"):
		s.problem(from, "it has several lines, want the passphrase alone")
	case isKey && w.Security == "wpa3":
		s.problem(from, "it holds a key of 64 digits, and WPA3 needs the passphrase itself")
	case isKey && w.StoreAs == "passphrase":
		s.problem(from, "it holds a key of 64 digits, from which no passphrase can be had").Hint = "storeAs: pmk"
	case !isKey && (len(text) < 8 || len(text) > 63):
		s.problem(from, "it holds %d characters, want a passphrase of 8 to 63, or 64 hexadecimal digits", utf8.RuneCountInString(text))
	case !printable.MatchString(text):
		s.problem(from, "it holds characters that no passphrase has: want letters, digits, signs and spaces of ASCII")
	default:
		w.Passphrase = secret.New(text)
	}
}

func (s *resolver) heketiKey(h *Heketi) {
	from, text, ok := s.text("storage.heketi", "keyFile", h.KeyFile, "", "")
	switch {
	case !ok:
	case text == "" || strings.ContainsAny(text, "\r\n"):
		s.problem(from, "it does not hold one line, want the key alone")
	default:
		h.Key = secret.New(text)
	}
}

// IEEE 802.11 (annex J.4) and wpa_supplicant: a passphrase is 8 to 63 printable
// ASCII characters; 64 hexadecimal digits are the key itself.
var (
	keyForm   = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
	printable = regexp.MustCompile(`^[ -~]*$`)
)

func (s *resolver) user(u *User) {
	for i, given := range u.AuthorizedKeys {
		field := fmt.Sprintf("system.user.authorizedKeys[%d]", i)
		text, source := given, "it"
		if !looksLikeKey(given) {
			data, ok := s.file(field, given)
			if !ok {
				continue
			}
			text, source = strings.TrimPrefix(string(data), "\uFEFF"), quoted(given)
		}
		u.Keys = append(u.Keys, s.publicKeys(field, source, text)...)
	}
	if !s.given("system.user.password") {
		return
	}
	from, hash, ok := s.text("system.user.password", "hashFile", u.Password.HashFile, "hashEnv", u.Password.HashEnv)
	hash = strings.TrimSpace(hash)
	switch {
	case !ok:
	case hashForm.MatchString(hash):
		u.Password.Hash = secret.New(hash)
	case strings.Contains(hash, ":") && hashForm.MatchString(strings.Split(hash, ":")[1]):
		s.problem(from, "it holds more than the hash").Hint = "leave only what begins with $, without name and colon"
	default:
		s.problem(from, "it does not hold a password's hash").Hint = "`openssl passwd -6` makes one"
	}
}

// Forms of crypt(5): sha512crypt, sha256crypt, yescrypt. Older ones can be
// guessed too quickly.
var hashForm = regexp.MustCompile(`^(\$6\$(rounds=[0-9]{1,9}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{86}` +
	`|\$5\$(rounds=[0-9]{1,9}\$)?[./0-9A-Za-z]{1,16}\$[./0-9A-Za-z]{43}` +
	`|\$y\$[./0-9A-Za-z]{1,64}\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43})$`)

var keyStart = regexp.MustCompile(`^\s*(ssh-|ecdsa-|sk-ssh-|sk-ecdsa-|-----|---- |PuTTY-)`)

// looksLikeKey tells a key in the document from the path of a key file. Private
// keys and other formats count as keys, so that they are named for what they are.
func looksLikeKey(s string) bool {
	return keyStart.MatchString(s) && strings.ContainsAny(s, " \n")
}

// publicKeys returns the lines of authorized_keys in text.
func (s *resolver) publicKeys(field, source, text string) []string {
	switch {
	case strings.Contains(text, "PRIVATE KEY-----") || strings.HasPrefix(text, "PuTTY-User-Key-File"):
		s.problem(field, "%s is a private key, which must not leave your machine", source).Hint = "give the public one, which ends in .pub"
		return nil
	case strings.Contains(text, "---- BEGIN SSH2 PUBLIC KEY"):
		s.problem(field, "%s is a public key in the form of PuTTY", source).Hint = "`ssh-keygen -i -f FILE` turns it into OpenSSH's"
		return nil
	}
	var keys []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		switch {
		case err != nil:
			s.problem(field, "%s is not a public key of SSH, or is damaged", source)
			return nil
		case key.Type() == "ssh-dss":
			s.problem(field, "%s is a DSA key, which no current SSH accepts", source).Hint = "`ssh-keygen -t ed25519` makes a better one"
			return nil
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		s.problem(field, "%s holds no key", source)
	}
	return keys
}

func (s *resolver) extraFile(f *File, field string) {
	data, ok := []byte(f.Content.Reveal()), true
	if f.Source != "" {
		data, ok = s.file(field+".source", f.Source)
		field += ".source"
	} else {
		field += ".content"
	}
	if ok && (!utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0) {
		// It travels in a JSON document.
		s.problem(field, "it is not a text in UTF-8").Hint = "install programs as packages"
	}
	if ok && len(data) > maxFile {
		s.problem(field, "it has more than %d bytes", maxFile)
	}
	f.Data = secret.New(string(data))
}
