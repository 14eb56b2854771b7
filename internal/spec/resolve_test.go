package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// run returns what another program prints; it is the judge of keys and hashes.
func run(t *testing.T, debianPackage, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing: install the Debian package %s", name, debianPackage)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return strings.TrimSpace(string(out))
}

// makeKey makes id_ed25519 and id_ed25519.pub in a directory of their own,
// whatever the type, and returns the private key's path.
func makeKey(t *testing.T, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "id_ed25519")
	run(t, "openssh-client", "ssh-keygen", append(args, "-q", "-N", "", "-C", "anna@laptop", "-f", file)...)
	return file
}

// world serves files and variables from memory.
func world(files, env map[string]string) References {
	return References{
		Dir:  "/desk",
		Home: "/home/anna",
		ReadFile: func(path string) ([]byte, error) {
			text, ok := files[path]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			}
			return []byte(text), nil
		},
		LookupEnv: func(name string) (string, bool) {
			text, ok := env[name]
			return text, ok
		},
	}
}

// message is the only problem's message without its place, "" if there is none.
func message(t *testing.T, err error) string {
	t.Helper()
	problems, ok := errors.AsType[Problems](err)
	switch {
	case err == nil:
		return ""
	case !ok || len(problems) != 1:
		t.Fatalf("want one problem, have: %v", err)
	}
	return problems[0].Message
}

func TestResolve_takesPublicKeysOfAllKinds(t *testing.T) {
	for _, kind := range [][]string{{"-t", "ed25519"}, {"-t", "rsa", "-b", "2048"}, {"-t", "ecdsa"}} {
		private := makeKey(t, kind...)
		public, err := os.ReadFile(private + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		line := strings.TrimSpace(string(public))
		for _, form := range []struct{ doc, file string }{
			{"key.pub", line + "\n"},
			{"/desk/key.pub", "\uFEFF# mine\r\n\r\n" + line + "\r\n"},
			{"~/key.pub", line},
			{line, ""},
		} {
			doc := fmt.Sprintf("nodes: 1\nsystem: {user: {authorizedKeys: [%q]}}", form.doc)
			c, err := Parse("c.yaml", []byte(doc), world(map[string]string{"/desk/key.pub": form.file, "/home/anna/key.pub": form.file}, nil))
			if err != nil {
				t.Errorf("%v, %q: %v", kind, form.doc, err)
				continue
			}
			if keys := c.System.User.Keys; len(keys) != 1 || keys[0] != line {
				t.Errorf("%v, %q gives %q, want %q", kind, form.doc, keys, line)
			}
		}
	}
}

func TestResolve_namesKeysForWhatTheyAre(t *testing.T) {
	private := makeKey(t, "-t", "ed25519")
	text, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	pem := makeKey(t, "-t", "rsa", "-m", "PEM")
	oldForm, err := os.ReadFile(pem)
	if err != nil {
		t.Fatal(err)
	}
	const isPrivate = "is a private key, which must not leave your machine"
	for _, row := range []struct{ name, text, want string }{
		{"OpenSSH private", string(text), isPrivate},
		{"PEM private", string(oldForm), isPrivate},
		{"PuTTY private", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", isPrivate},
		{"RFC 4716", run(t, "openssh-client", "ssh-keygen", "-e", "-f", private+".pub"), "is a public key in the form of PuTTY"},
		{"DSA", "ssh-dss AAAAB3NzaC1kc3MAAAADAQAB x", "is not a public key of SSH, or is damaged"},
		{"no key", "hello\n", "is not a public key of SSH, or is damaged"},
		{"empty", "", "holds no key"},
		{"comments", "# none\n\n", "holds no key"},
	} {
		for _, doc := range []string{"nodes: 1\nsystem: {user: {authorizedKeys: [key]}}", fmt.Sprintf("nodes: 1\nsystem: {user: {authorizedKeys: [%q]}}", row.text)} {
			literal := !strings.Contains(doc, "[key]")
			if literal && !looksLikeKey(row.text) {
				continue
			}
			want := `"key" ` + row.want
			if literal {
				want = "it " + row.want
			}
			_, err := Parse("c.yaml", []byte(doc), world(map[string]string{"/desk/key": row.text}, nil))
			if have := message(t, err); have != want {
				t.Errorf("%s: %q, want %q", row.name, have, want)
			}
			if strings.Contains(err.Error(), "b3BlbnNzaC") || strings.Contains(err.Error(), "MII") {
				t.Errorf("%s: the message repeats the key", row.name)
			}
		}
	}
}

func TestResolve_takesPasswordHashesOfOtherPrograms(t *testing.T) {
	yescrypt := run(t, "perl-base", "perl", "-e", `print crypt("secret", '$y$j9T$abcdefghijklmnop')`)
	sha512 := run(t, "openssl", "openssl", "passwd", "-6", "secret")
	for _, row := range []struct{ hash, want string }{
		{sha512, ""},
		{run(t, "openssl", "openssl", "passwd", "-5", "secret"), ""},
		{run(t, "perl-base", "perl", "-e", `print crypt("secret", '$6$rounds=10000$salt$')`), ""},
		{yescrypt, ""},
		{"\uFEFF" + yescrypt + "\r\n", ""},
		{run(t, "openssl", "openssl", "passwd", "-1", "secret"), "it does not hold a password's hash"},
		{"secret", "it does not hold a password's hash"},
		{"", "it does not hold a password's hash"},
		{sha512 + "\n" + sha512, "it does not hold a password's hash"},
		{sha512[:50], "it does not hold a password's hash"},
		{"anna:" + sha512 + ":20000:0:99999:7:::", "it holds more than the hash"},
	} {
		for _, doc := range []string{"{hashFile: h}", "{hashEnv: H}"} {
			refs := world(map[string]string{"/desk/h": row.hash}, map[string]string{"H": row.hash})
			c, err := Parse("c.yaml", []byte("nodes: 1\nsystem: {user: {password: "+doc+"}}"), refs)
			if have := message(t, err); have != row.want {
				t.Errorf("%q in %s: %q, want %q", row.hash, doc, have, row.want)
			}
			if err == nil && c.System.User.Password.Hash.Reveal() != strings.Trim(row.hash, "\uFEFF\r\n") {
				t.Errorf("%q is taken as %q", row.hash, c.System.User.Password.Hash.Reveal())
			}
		}
	}
}

func TestResolve_takesPassphrasesAsWPADoes(t *testing.T) {
	key := strings.Repeat("0123456789abcdEF", 4)
	for _, row := range []struct{ text, options, want string }{
		{"eight888", "", ""},
		{strings.Repeat("x", 63), "", ""},
		{" spaces count ", "", ""},
		{`"quotes" \ and $signs`, "", ""},
		{key, "", ""},
		{key, ", storeAs: pmk", ""},
		{"", "", "it is empty, want a passphrase"},
		{"seven77", "", "it holds 7 characters, want a passphrase of 8 to 63, or 64 hexadecimal digits"},
		{strings.Repeat("x", 64), "", "it holds 64 characters, want a passphrase of 8 to 63, or 64 hexadecimal digits"},
		{"pässwörter", "", "it holds characters that no passphrase has: want letters, digits, signs and spaces of ASCII"},
		{"two\nlines here", "", "it has several lines, want the passphrase alone"},
		{"tab\tinside", "", "it holds characters that no passphrase has: want letters, digits, signs and spaces of ASCII"},
		{key, ", security: wpa3", "it holds a key of 64 digits, and WPA3 needs the passphrase itself"},
		{key, ", storeAs: passphrase", "it holds a key of 64 digits, from which no passphrase can be had"},
	} {
		for _, end := range []string{"", "\n", "\r\n", "\r\n\r\n"} {
			doc := "nodes: 1\nsystem: {user: {authorizedKeys: [k]}}\nnetwork: {country: CH, wifi: [{ssid: a, passphraseFile: w" + row.options + "}]}"
			refs := world(map[string]string{"/desk/w": "\uFEFF" + row.text + end, "/desk/k": publicKey(t)}, nil)
			c, err := Parse("c.yaml", []byte(doc), refs)
			if have := message(t, err); have != row.want {
				t.Errorf("%q%s: %q, want %q", row.text, row.options, have, row.want)
			}
			if err == nil && c.Network.WiFi[0].Passphrase.Reveal() != row.text {
				t.Errorf("%q is taken as %q", row.text, c.Network.WiFi[0].Passphrase.Reveal())
			}
		}
	}
}

func TestResolve_copiesFilesAsTheyAre(t *testing.T) {
	for _, row := range []struct{ file, text, want string }{
		{"{path: /etc/x, source: f}", "\uFEFFwith mark\r\nand CRLF\r\n", ""},
		{"{path: /etc/x, source: f}", "", ""},
		{"{path: /etc/x, content: \"a\\r\\nb\"}", "a\r\nb", ""},
		{"{path: /etc/x, content: \"\"}", "", ""},
		{"{path: /etc/x, source: f}", "\x7fELF\x02\x00", "it is not a text in UTF-8"},
		{"{path: /etc/x, source: f}", "latin \xe4", "it is not a text in UTF-8"},
		{"{path: /etc/x, source: f}", strings.Repeat("x", maxFile+1), "it has more than 1048576 bytes"},
	} {
		doc := "nodes: 1\nsystem: {user: {authorizedKeys: [k]}, files: [" + row.file + "]}"
		c, err := Parse("c.yaml", []byte(doc), world(map[string]string{"/desk/f": row.text, "/desk/k": publicKey(t)}, nil))
		if have := message(t, err); have != row.want {
			t.Errorf("%s: %q, want %q", row.file, have, row.want)
		}
		if err == nil && c.System.Files[0].Data.Reveal() != row.text {
			t.Errorf("%s becomes %q", row.file, c.System.Files[0].Data.Reveal())
		}
	}
}

func TestLoad_refusesToReadALargeFile(t *testing.T) {
	dir := t.TempDir()
	doc := "nodes: 1\nsystem: {user: {authorizedKeys: [disk.img]}}"
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "c.yaml"), []byte(doc), 0o644),
		os.WriteFile(filepath.Join(dir, "disk.img"), nil, 0o644),
		os.Truncate(filepath.Join(dir, "disk.img"), 1<<40)); err != nil {
		t.Fatal(err)
	}
	_, err := Load(filepath.Join(dir, "c.yaml"))
	want := fmt.Sprintf("read %q: it has more than 1048576 bytes", filepath.Join(dir, "disk.img"))
	if have := message(t, err); have != want {
		t.Errorf("%q, want %q", have, want)
	}
}

func TestResolve_findsTheImageBesideTheDocument(t *testing.T) {
	for source, want := range map[string]string{
		"raspios-lite-arm64":         "",
		"https://example.org/x.img":  "",
		"x.img.xz":                   "/desk/x.img.xz",
		"images/raspios":             "/desk/images/raspios",
		"../x.zip":                   "/x.zip",
		"/srv/x.img":                 "/srv/x.img",
		"~/Downloads/raspios.img.xz": "/home/anna/Downloads/raspios.img.xz",
	} {
		doc := fmt.Sprintf("nodes: 1\nimage: {source: %q}\nsystem: {user: {authorizedKeys: [k]}}", source)
		c, err := Parse("c.yaml", []byte(doc), world(map[string]string{"/desk/k": publicKey(t)}, nil))
		if err != nil || c.Image.Path != want {
			t.Errorf("%s leads to %v, %v, want %q", source, c, err, want)
		}
	}
}

func publicKey(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(fixtures + "/id_ed25519.pub")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
