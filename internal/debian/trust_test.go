package debian

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"picluster/internal/debian/debiantest"
	"picluster/internal/web"
)

var program = debiantest.Deb{
	Control: "Package: tool\nVersion: 1.0-1\nArchitecture: arm64\nDepends: libtool1 (>= 1.0)\n",
	Files:   map[string]string{"/usr/bin/tool": "#!/bin/sh\necho tool\n"},
}

var library = debiantest.Deb{
	Control: "Package: libtool1\nVersion: 1.0-1\nArchitecture: arm64\n",
	Files:   map[string]string{"/usr/lib/libtool.so.1": strings.Repeat("library ", 5000)},
}

func repo(key *debiantest.Key) *debiantest.Repo {
	return &debiantest.Repo{Key: key, Debs: []debiantest.Deb{program, library}, Suite: "stable", Date: time.Now().Add(-time.Hour)}
}

// reader has a cache of its own and does not wait between tries.
func reader(t *testing.T) *Reader {
	return &Reader{Arch: "arm64", Dir: t.TempDir(), Web: &web.Client{FirstRetry: time.Millisecond}}
}

func keyring(t *testing.T, k *debiantest.Key) *Keyring {
	t.Helper()
	keys, err := ReadKeys(k.Public(t))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// wantUntrusted fails unless err is an UntrustedError that says so.
func wantUntrusted(t *testing.T, err error, says string) {
	t.Helper()
	var untrusted *UntrustedError
	if !errors.As(err, &untrusted) || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want an UntrustedError with %q", err, says)
	}
}

func TestOpen_readsEachFormOfARepository(t *testing.T) {
	key := debiantest.NewKey(t, "archive")
	for name, change := range map[string]func(*debiantest.Repo){
		"suite":          func(*debiantest.Repo) {},
		"flat":           func(r *debiantest.Repo) { r.Suite = "" },
		"by hash":        func(r *debiantest.Repo) { r.ByHash = true },
		"flat by hash":   func(r *debiantest.Repo) { r.Suite, r.ByHash = "", true },
		"two files":      func(r *debiantest.Repo) { r.NoInline = true },
		"valid until":    func(r *debiantest.Repo) { r.Until = time.Now().Add(time.Hour) },
		"flat two files": func(r *debiantest.Repo) { r.Suite, r.NoInline = "", true },
	} {
		t.Run(name, func(t *testing.T) {
			made := repo(key)
			change(made)
			server := debiantest.Serve(t, made.Files(t))
			source := Source{URI: server.URL, Suite: "stable", Components: []string{"main"}, Keyring: keyring(t, key)}
			if made.Suite == "" {
				source.Suite, source.Components = "/", nil
			}
			r := reader(t)
			x, err := r.Open(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			packages, err := Resolve(Request{From: []*Index{x}, Want: []string{"tool"}})
			if err != nil || len(packages) != 2 {
				t.Fatalf("%v, %v", packages, err)
			}
			for i, want := range []debiantest.Deb{library, program} {
				path, err := r.Fetch(t.Context(), packages[i])
				if err != nil {
					t.Fatal(err)
				}
				if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, want.Bytes()) {
					t.Errorf("%s is not what the repository has (%v)", packages[i], err)
				}
			}
		})
	}
}

func TestOpen_believesNoWrongRepository(t *testing.T) {
	key, other := debiantest.NewKey(t, "archive"), debiantest.NewKey(t, "mallory")
	cases := []struct {
		name   string
		repo   func(*debiantest.Repo)
		files  func(map[string][]byte)
		says   string
		format bool // a FormatError rather than an UntrustedError
	}{
		{name: "signed by another key", repo: func(r *debiantest.Repo) { r.Key = other }, says: "no good signature"},
		{name: "signed by another key, in two files", repo: func(r *debiantest.Repo) { r.Key, r.NoInline = other, true }, says: "no good signature"},
		{name: "expired", repo: func(r *debiantest.Repo) { r.Until = time.Now().Add(-time.Minute) }, says: "was valid until"},
		{name: "from the future", repo: func(r *debiantest.Repo) { r.Date = time.Now().Add(48 * time.Hour) }, says: "from the future"},
		{name: "not signed", files: func(f map[string][]byte) {
			_, text, _ := strings.Cut(string(f["dists/stable/InRelease"]), "\n\n")
			f["dists/stable/InRelease"] = []byte(text)
		}, says: "not signed"},
		{name: "text before the signed part", files: func(f map[string][]byte) {
			f["dists/stable/InRelease"] = append([]byte("Codename: evil\n\n"), f["dists/stable/InRelease"]...)
		}, says: "not signed"},
		{name: "text behind the signed part", files: func(f map[string][]byte) {
			f["dists/stable/InRelease"] = append(f["dists/stable/InRelease"], "Codename: evil\n"...)
		}, says: "text follows"},
		{name: "changed Release", files: func(f map[string][]byte) {
			f["dists/stable/InRelease"] = bytes.Replace(f["dists/stable/InRelease"], []byte("Origin: test"), []byte("Origin: evil"), 1)
		}, says: "no good signature"},
		{name: "changed list", files: func(f map[string][]byte) {
			list := f["dists/stable/main/binary-arm64/Packages.gz"]
			list[len(list)/2] ^= 1
		}, says: "not what the signed list says"},
		{name: "longer list", files: func(f map[string][]byte) {
			f["dists/stable/main/binary-arm64/Packages.gz"] = append(f["dists/stable/main/binary-arm64/Packages.gz"], "more"...)
		}, says: "not what the signed list says"},
		{name: "path that leads out", repo: func(r *debiantest.Repo) {
			r.Stanza = func(_ debiantest.Deb, s string) string { return strings.ReplaceAll(s, "pool/main/", "../../etc/") }
		}, says: "leads out of the repository", format: true},
		{name: "name that is a path", repo: func(r *debiantest.Repo) {
			r.Stanza = func(_ debiantest.Deb, s string) string {
				return strings.Replace(s, "Package: tool", "Package: ../../tool", 1)
			}
		}, says: "no name", format: true},
		{name: "version that is an argument", repo: func(r *debiantest.Repo) {
			r.Stanza = func(_ debiantest.Deb, s string) string {
				return strings.Replace(s, "Version: 1.0-1", "Version: --force", 1)
			}
		}, says: "version", format: true},
		{name: "package without a digest", repo: func(r *debiantest.Repo) {
			r.Stanza = func(_ debiantest.Deb, s string) string { return strings.ReplaceAll(s, "SHA256:", "MD5sum:") }
		}, says: "digest", format: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			made := repo(key)
			if c.repo != nil {
				c.repo(made)
			}
			files := made.Files(t)
			if c.files != nil {
				c.files(files)
			}
			server := debiantest.Serve(t, files)
			_, err := reader(t).Open(t.Context(), Source{URI: server.URL, Suite: "stable", Components: []string{"main"}, Keyring: keyring(t, key)})
			if !c.format {
				wantUntrusted(t, err, c.says)
				return
			}
			var format *FormatError
			if !errors.As(err, &format) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want a FormatError with %q", err, c.says)
			}
		})
	}
}

// TestOpen_refusesAnOlderReleaseThanItSaw: a mirror shows yesterday's signed list,
// with the hole that was closed today.
func TestOpen_refusesAnOlderReleaseThanItSaw(t *testing.T) {
	key := debiantest.NewKey(t, "archive")
	old, today := repo(key), repo(key)
	old.Date = time.Now().Add(-24 * time.Hour)
	server := debiantest.Serve(t, today.Files(t))
	r := reader(t)
	source := Source{URI: server.URL, Suite: "stable", Components: []string{"main"}, Keyring: keyring(t, key)}
	if _, err := r.Open(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	server.Set(old.Files(t))
	_, err := r.Open(t.Context(), source)
	wantUntrusted(t, err, "was seen before")
	server.Set(today.Files(t))
	if _, err := r.Open(t.Context(), source); err != nil {
		t.Errorf("the newest is refused: %v", err)
	}
}

// offered is the first package of that name.
func offered(t *testing.T, x *Index, name string) *Package {
	t.Helper()
	for _, p := range x.Packages {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("there is no package %s", name)
	return nil
}

func TestFetch_believesNoChangedPackage(t *testing.T) {
	key := debiantest.NewKey(t, "archive")
	files := repo(key).Files(t)
	server := debiantest.Serve(t, files)
	r := reader(t)
	x, err := r.Open(t.Context(), Source{URI: server.URL, Suite: "stable", Components: []string{"main"}, Keyring: keyring(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	p := offered(t, x, "tool")
	changed := maps.Clone(files)
	data := bytes.Clone(files["pool/main/tool_1.0-1_arm64.deb"])
	data[len(data)-20] ^= 1
	changed["pool/main/tool_1.0-1_arm64.deb"] = data
	server.Set(changed)
	_, err = r.Fetch(t.Context(), p)
	wantUntrusted(t, err, "not what the signed list says")
	server.Set(files)
	if _, err := r.Fetch(t.Context(), p); err != nil {
		t.Errorf("the right one is refused afterwards: %v", err)
	}
	// What is in the cache is believed no more than what is sent.
	if err := os.WriteFile(r.store().Path(p.File), []byte("rubbish"), 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := r.Fetch(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, program.Bytes()) {
		t.Errorf("a damaged file of the cache was given out (%v)", err)
	}
}

func TestFetch_goesOnWhereItStopped(t *testing.T) {
	key := debiantest.NewKey(t, "archive")
	server := debiantest.Serve(t, repo(key).Files(t))
	r := reader(t)
	x, err := r.Open(t.Context(), Source{URI: server.URL, Suite: "stable", Components: []string{"main"}, Keyring: keyring(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	p := offered(t, x, "tool")
	whole := program.Bytes()
	var ranges []string
	server.Spoil = func(w http.ResponseWriter, q *http.Request) bool {
		ranges = append(ranges, q.Header.Get("Range"))
		if len(ranges) > 1 {
			return false
		}
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(whole[:100])
		return true
	}
	if _, err := r.Fetch(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 2 || ranges[1] != "bytes=100-" {
		t.Errorf("asked for %q", ranges)
	}
	// Once it is there nobody is asked.
	if _, err := r.Fetch(t.Context(), p); err != nil || len(ranges) != 2 {
		t.Errorf("asked again: %q, %v", ranges, err)
	}
}

// TestOpen_downloadsAnUnchangedListOnce: only the small signed file is asked for again.
func TestOpen_downloadsAnUnchangedListOnce(t *testing.T) {
	key := debiantest.NewKey(t, "archive")
	server := debiantest.Serve(t, repo(key).Files(t))
	r := reader(t)
	for range 2 {
		if _, err := r.Open(t.Context(), Source{URI: server.URL, Suite: "stable", Components: []string{"main"}, Keyring: keyring(t, key)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(server.Requests()); n != 3 {
		t.Errorf("asked for %q, want InRelease, the list, InRelease", server.Requests())
	}
}

func TestKeyring_onlyTakesTheNamedKey(t *testing.T) {
	key, other := debiantest.NewKey(t, "archive"), debiantest.NewKey(t, "other")
	both := keyring(t, key)
	both.keys = append(both.keys, keyring(t, other).keys...)
	spaced := key.Fingerprint()[:20] + " " + strings.ToLower(key.Fingerprint()[20:])
	one, err := both.Only(spaced)
	if err != nil || len(one.Fingerprints()) != 1 || one.Fingerprints()[0] != key.Fingerprint() {
		t.Fatalf("%v, %v", one, err)
	}
	if _, err := one.Only(other.Fingerprint()); err == nil {
		t.Error("found a key that is not there")
	}
	binary, err := one.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadKeys(binary)
	if err != nil {
		t.Fatal(err)
	}
	document := []byte("text\n")
	if err := again.VerifyDetached(document, key.Detached(t, document), time.Now()); err != nil {
		t.Error(err)
	}
	if err := again.VerifyDetached(document, other.Detached(t, document), time.Now()); err == nil {
		t.Error("another key's signature is good")
	}
}

// TestArchiveKeys_areThoseOfDebian compares with fingerprints that Debian publishes
// (https://ftp-master.debian.org/keys.html).
func TestArchiveKeys_areThoseOfDebian(t *testing.T) {
	keys, err := ArchiveKeys()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Only("B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8"); err != nil {
		t.Error(err)
	}
	if _, err := keys.Only("04B54C3CDCA79751B16BC6B5225629DF75B188BD"); err != nil {
		t.Error(err)
	}
}
