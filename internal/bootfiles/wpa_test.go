package bootfiles

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"picluster/internal/golden"
	"picluster/internal/secret"
)

// tool returns the path of a program that judges our files, and fails the test
// if it is missing.
func tool(t *testing.T, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		t.Fatalf("%v: install the Debian package %s", err, debianPackage)
	}
	return path
}

// networks has one of each kind. Their SSIDs are what breaks scripts.
var networks = []Network{
	{SSID: []byte("home"), Key: secret.New("correct horse")},
	{SSID: []byte(`say "hi" \ $HOME #1`), Key: secret.New(`pass"word\$#`), Hidden: true},
	{SSID: []byte("café ☕"), Security: WPA2WPA3, Key: secret.New("müsli-brötchen")},
	{SSID: []byte{0xff, 0x00, '\n', 0x80}, Key: secret.New(strings.Repeat("0aBc", 16))},
	{SSID: []byte(" two  spaces "), Security: Open},
	{SSID: []byte("0123456789abcdef0123456789abcdef"), Security: WPA2, Key: secret.New(strings.Repeat("x", 63))},
}

func TestWPASupplicant_writesEveryKindOfNetwork(t *testing.T) {
	got, err := WPASupplicant("CH", networks)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/wpa_supplicant.golden", got)
	for _, n := range networks {
		if key := n.Key.Reveal(); key != "" && strings.Contains(string(got), key) {
			t.Errorf("the key of %q stands in the file", n.SSID)
		}
	}
}

// The real wpa_supplicant reads our file and shows what it understood. The
// interface does not exist, so it ends after that.
func TestWPASupplicant_isUnderstoodByWPASupplicant(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wpa_supplicant.conf")
	data, err := WPASupplicant("CH", networks)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command(tool(t, "wpa_supplicant", "wpasupplicant"), "-D", "none", "-i", "no-such-if0", "-c", file, "-dd", "-K").CombinedOutput()
	seen := string(out)
	if !strings.Contains(seen, "country='CH'") {
		t.Errorf("it did not see the country:\n%s", seen)
	}
	if bad := regexp.MustCompile(`(?m)^(Line \d+: (?:unknown|failed|invalid|no ).*|Failed to read.*)$`).FindString(seen); bad != "" {
		t.Errorf("it complains: %s", bad)
	}
	blocks := strings.Split(seen, "start of a new network block")[1:]
	if len(blocks) != len(networks) {
		t.Fatalf("it saw %d networks, want %d:\n%s", len(blocks), len(networks), seen)
	}
	for i, n := range networks {
		if got := hexdump(blocks[i], "ssid - hexdump_ascii"); got != hex.EncodeToString(n.SSID) {
			t.Errorf("network %d has SSID %s, want %x", i, got, n.SSID)
		}
		if hidden := strings.Contains(blocks[i], "scan_ssid=1"); hidden != n.Hidden {
			t.Errorf("network %d hidden: %v, want %v", i, hidden, n.Hidden)
		}
		if !strings.Contains(blocks[i], fmt.Sprintf("priority=%d ", len(networks)-i)) {
			t.Errorf("network %d has not priority %d", i, len(networks)-i)
		}
		want := "key_mgmt: 0x2\n" // WPA_KEY_MGMT_PSK
		if n.Security == Open {
			want = "key_mgmt: 0x4\n" // WPA_KEY_MGMT_NONE
		}
		if !strings.Contains(blocks[i], want) {
			t.Errorf("network %d has not %q in\n%s", i, want, blocks[i])
		}
	}
}

// hexdump returns the octets of a dump in wpa_supplicant's debug output.
func hexdump(text, title string) string {
	_, text, _ = strings.Cut(text, title)
	_, text, _ = strings.Cut(text, "\n")
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "     ") {
			break
		}
		b.WriteString(strings.ReplaceAll(line[5:min(len(line), 5+3*16)], " ", ""))
	}
	return b.String()
}

func TestPMK_isTheKeyThatWPAPassphraseDerives(t *testing.T) {
	program := tool(t, "wpa_passphrase", "wpasupplicant")
	for _, n := range networks {
		key := n.Key.Reveal()
		if key == "" || len(key) == 64 || strings.ContainsRune(string(n.SSID), 0) {
			continue
		}
		cmd := exec.Command(program, string(n.SSID))
		cmd.Stdin = strings.NewReader(key + "\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("wpa_passphrase %q: %v\n%s", n.SSID, err, out)
		}
		want := regexp.MustCompile(`(?m)^\s*psk=([0-9a-f]{64})$`).FindSubmatch(out)
		got, err := PMK(n.Key, n.SSID)
		if err != nil || want == nil || got.Reveal() != string(want[1]) {
			t.Errorf("network %q: %s (error %v), wpa_passphrase says %s", n.SSID, got.Reveal(), err, want)
		}
		if again, err := PMK(got, n.SSID); err != nil || again.Reveal() != got.Reveal() {
			t.Errorf("network %q: of the key it makes %s (error %v)", n.SSID, again.Reveal(), err)
		}
	}
}

func TestWPASupplicant_refusesWhatCannotConnect(t *testing.T) {
	const key = "the planted key"
	good := secret.New(key)
	for _, tc := range []struct {
		name    string
		country string
		network Network
		want    string
	}{
		{"no country", "", networks[0], "country"},
		{"country in lower case", "ch", networks[0], "country"},
		{"country with CR", "CH\r", networks[0], "country"},
		{"no SSID", "CH", Network{Key: good}, "SSID of 0 octets"},
		{"long SSID", "CH", Network{SSID: make([]byte, 33), Key: good}, "SSID of 33 octets"},
		{"short passphrase", "CH", Network{SSID: []byte("x"), Key: secret.New(key[:7])}, "passphrase of 7 bytes"},
		{"long passphrase", "CH", Network{SSID: []byte("x"), Key: secret.New(strings.Repeat(key, 5))}, "passphrase of 75 bytes"},
		{"64 characters that are no PMK", "CH", Network{SSID: []byte("x"), Key: secret.New(strings.Repeat("wxyz", 16))}, "not all hex digits"},
		{"newline in the passphrase", "CH", Network{SSID: []byte("x"), Key: secret.New(key + "\n")}, "control character"},
		{"no key", "CH", Network{SSID: []byte("x")}, "passphrase of 0 bytes"},
		{"open with a key", "CH", Network{SSID: []byte("x"), Security: Open, Key: good}, "key for an open network"},
		{"WPA3", "CH", Network{SSID: []byte("x"), Security: WPA3, Key: good}, "WPA3 without WPA2"},
		{"unknown security", "CH", Network{SSID: []byte("x"), Security: "wep", Key: good}, `security "wep"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := WPASupplicant(tc.country, []Network{tc.network})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want one with %q", err, tc.want)
			}
			if strings.Contains(err.Error(), key) {
				t.Errorf("the error shows the key: %v", err)
			}
			if errors.Is(err, ErrWPA3) != (tc.network.Security == WPA3) {
				t.Errorf("errors.Is(%v, ErrWPA3) is wrong", err)
			}
		})
	}
}

func TestUserconf_writesWhatUserconfPiReads(t *testing.T) {
	const hash = "$6$saltsalt$abc./DEF"
	got, err := Userconf("pi", secret.New(hash))
	if err != nil || string(got) != "pi:"+hash+"\n" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, tc := range []struct{ name, user, hash string }{
		{"upper case", "Pi", hash}, {"underscore", "a_b", hash}, {"digit first", "1a", hash}, {"root", "root", hash},
		{"33 characters", strings.Repeat("a", 33), hash}, {"none", "", hash}, {"colon", "a:b", hash}, {"newline", "a\n", hash},
		{"no hash", "pi", ""}, {"plain password", "pi", "raspberry"}, {"locked", "pi", "!"},
		{"colon in the hash", "pi", "$6$a:b"}, {"newline in the hash", "pi", hash + "\n"}, {"CR in the hash", "pi", hash + "\r"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Userconf(tc.user, secret.New(tc.hash))
			if err == nil {
				t.Fatalf("accepted: %q", got)
			}
			if tc.hash != "" && tc.hash != "!" && strings.Contains(err.Error(), tc.hash) {
				t.Errorf("the error shows the hash: %v", err)
			}
		})
	}
}
