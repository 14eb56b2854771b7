package bootfiles

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"picluster/internal/golden"
)

// releases have a directory each in testdata, with files laid out like those of
// the release's images.
var releases = []string{"stretch", "buster", "bullseye", "bookworm", "trixie"}

func read(t *testing.T, name ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{"testdata"}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type setting struct{ section, key, value string }

func set(t *testing.T, data []byte, settings ...setting) []byte {
	t.Helper()
	c := ParseConfig(data)
	for _, s := range settings {
		if err := c.Set(s.section, s.key, s.value); err != nil {
			t.Fatalf("Set(%+v): %v", s, err)
		}
	}
	return c.Bytes()
}

func TestConfig_editsFilesOfEachRelease(t *testing.T) {
	settings := []setting{
		{All, "dtparam", "audio=on"}, // there already
		{All, "dtparam", "spi=on"},   // there as a comment
		{All, "enable_uart", "1"},    // new
		{"pi3", "program_usb_boot_mode", "1"},
		{"pi4", "max_framebuffers", "1"}, // buster has another value
	}
	for _, r := range releases {
		t.Run(r, func(t *testing.T) {
			once := set(t, read(t, r, "config.txt"), settings...)
			golden.Equal(t, filepath.Join("testdata", r, "config.golden"), once)
			if twice := set(t, once, settings...); !bytes.Equal(once, twice) {
				t.Errorf("the second time changes the file:\n%s", twice)
			}
		})
	}
}

func TestConfig_setPutsTheLineWhereItTakesEffect(t *testing.T) {
	pi3 := setting{"pi3", "k", "1"}
	all := setting{All, "k", "1"}
	for _, tc := range []struct {
		name      string
		set       setting
		have      string
		wantAfter string
	}{
		{"new file", all, "", "k=1\n"},
		{"new file, filtered", pi3, "", "[pi3]\nk=1\n[all]\n"},
		{"holds already", all, "k=1\n", "k=1\n"},
		{"holds already through [all]", pi3, "k=1\n", "k=1\n"},
		{"holds with spaces around", all, "  k=1 \n", "  k=1 \n"},
		{"another value is replaced", all, "a=1\nk=0\nb=1\n", "a=1\nk=1\nb=1\n"},
		{"the last of two counts", all, "k=0\nk=2\n", "k=0\nk=1\n"},
		{"a comment sign is taken off", all, "#k=1\nb=1\n", "k=1\nb=1\n"},
		{"also off a comment with spaces", all, "## k=1\nb=1\n", "k=1\nb=1\n"},
		{"a comment with another value stays", all, "#k=0\n", "#k=0\nk=1\n"},
		{"a comment in another section stays", all, "[pi4]\n#k=1\n[all]\n", "[pi4]\n#k=1\n[all]\nk=1\n"},
		{"a comment that would be overridden stays", all, "#k=1\nk=0\n", "#k=1\nk=1\n"},
		{"a setting in another section does not count", all, "[pi4]\nk=1\n[all]\n", "[pi4]\nk=1\n[all]\nk=1\n"},
		{"the file ends in another section", all, "[pi4]\na=1\n", "[pi4]\na=1\n\n[all]\nk=1\n"},
		{"filtered, the file ends in another section", pi3, "[pi4]\na=1\n", "[pi4]\na=1\n\n[all]\n[pi3]\nk=1\n[all]\n"},
		{"filtered, the file ends in that section", pi3, "[pi3]\na=1\n", "[pi3]\na=1\nk=1\n"},
		{"a header after white space", all, " [pi4] \na=1\n", " [pi4] \na=1\n\n[all]\nk=1\n"},
		{"model filters replace each other", pi3, "[pi4]\n[pi3]\nk=0\n[all]\n", "[pi4]\n[pi3]\nk=1\n[all]\n"},
		{"gpio filters replace each other", setting{"gpio27=1", "k", "1"}, "[gpio4=0]\n[gpio27=1]\nk=0\n[all]\n", "[gpio4=0]\n[gpio27=1]\nk=1\n[all]\n"},
		{"filters of two kinds combine", pi3, "[gpio4=0]\n[pi3]\nk=1\n[all]\n", "[gpio4=0]\n[pi3]\nk=1\n[all]\n\n[pi3]\nk=1\n[all]\n"},
		{"none stays until all", pi3, "[none]\n[pi3]\nk=1\n", "[none]\n[pi3]\nk=1\n\n[all]\n[pi3]\nk=1\n[all]\n"},
		{"a model's number is not its name", setting{"pi3+", "k", "1"}, "[pi3]\nk=1\n", "[pi3]\nk=1\n\n[all]\n[pi3+]\nk=1\n[all]\n"},
		{"a filter of a new kind is nobody's", pi3, "[moon=full]\n[pi3]\nk=1\n", "[moon=full]\n[pi3]\nk=1\n\n[all]\n[pi3]\nk=1\n[all]\n"},
		{"text behind a filter makes it unknown", pi3, "[pi3] #\nk=0\n", "[pi3] #\nk=0\n\n[all]\n[pi3]\nk=1\n[all]\n"},
		{"overridden by [all] further down", pi3, "[pi3]\nk=1\n[all]\nk=0\n", "[pi3]\nk=1\n[all]\nk=0\n\n[pi3]\nk=1\n[all]\n"},
		{"an unfiltered setting of another value stays", pi3, "k=0\n", "k=0\n\n[pi3]\nk=1\n[all]\n"},
		{"CRLF is kept and used", all, "a=1\r\n\r\n#c\r\n", "a=1\r\n\r\n#c\r\nk=1\r\n"},
		{"no newline at the end", all, "a=1", "a=1\nk=1\n"},
		{"no newline at the end, replaced", all, "a=1\nk=0", "a=1\nk=1"},
		{"dtparam lines add up", setting{All, "dtparam", "spi=on"}, "dtparam=audio=on\n#dtparam=spi=on\n", "dtparam=audio=on\ndtparam=spi=on\n"},
		{"dtoverlay lines add up", setting{All, "dtoverlay", "dwc2"}, "dtoverlay=dwc2,dr_mode=host\n", "dtoverlay=dwc2,dr_mode=host\ndtoverlay=dwc2\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := set(t, []byte(tc.have), tc.set)
			if string(got) != tc.wantAfter {
				t.Errorf("Set(%+v) on %q\n got %q\nwant %q", tc.set, tc.have, got, tc.wantAfter)
			}
			if again := set(t, got, tc.set); !bytes.Equal(again, got) {
				t.Errorf("once more changes it to %q", again)
			}
		})
	}
}

func TestConfig_setRefusesWhatTheFirmwareWouldMisread(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  setting
		want string
	}{
		{"long line", setting{All, "dtparam", strings.Repeat("x", 91)}, "line of 99 bytes"},
		{"line break", setting{All, "k", "1\nprogram_usb_boot_mode=1"}, "line break"},
		{"section with brackets", setting{"[all]", "k", "1"}, "not the name of a filter"},
		{"no section", setting{"", "k", "1"}, "not the name of a filter"},
		{"key with =", setting{All, "k=1", "1"}, "not the name of a setting"},
		{"comment as key", setting{All, "#k", "1"}, "not the name of a setting"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := ParseConfig([]byte("a=1\n"))
			err := c.Set(tc.set.section, tc.set.key, tc.set.value)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			if got := string(c.Bytes()); got != "a=1\n" {
				t.Errorf("the file was changed to %q", got)
			}
		})
	}
	if err := ParseConfig(nil).Set(All, "dtparam", strings.Repeat("x", 90)); err != nil {
		t.Errorf("98 bytes are allowed: %v", err)
	}
}

func TestConfig_getReturnsWhatIsInEffect(t *testing.T) {
	c := ParseConfig([]byte("a=1\ndtparam=x=1\n#b=1\n[pi3]\na=2\ndtparam=y=1\n[EDID=VSC-TD2220]\na=3\n[all]\ndtparam=z=1\n"))
	for _, tc := range []struct {
		section, key string
		want         []string
	}{
		{All, "a", []string{"1"}},
		{"pi3", "a", []string{"2"}},
		{"pi4", "a", []string{"1"}},
		{All, "b", nil},
		{All, "dtparam", []string{"x=1", "z=1"}},
		{"pi3", "dtparam", []string{"x=1", "y=1", "z=1"}},
	} {
		if got := c.Get(tc.section, tc.key); !slices.Equal(got, tc.want) {
			t.Errorf("Get(%s, %s) = %q, want %q", tc.section, tc.key, got, tc.want)
		}
	}
}

func TestConfig_removeTakesOnlyTheSectionsLine(t *testing.T) {
	c := ParseConfig([]byte("k=1\n[pi3]\nk=1\nk=2\n k=1\n[pi4]\nk=1\n"))
	if !c.Remove("pi3", "k", "1") {
		t.Error("Remove did not find the line")
	}
	if c.Remove("pi3", "k", "1") {
		t.Error("Remove found the line again")
	}
	if got, want := string(c.Bytes()), "k=1\n[pi3]\nk=2\n[pi4]\nk=1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzConfig holds the editor to its promises on any input: reading and writing
// loses nothing, the setting is in effect, the second time changes nothing, and
// of the lines that were there at most one is gone.
func FuzzConfig(f *testing.F) {
	for _, r := range releases {
		data, err := os.ReadFile(filepath.Join("testdata", r, "config.txt"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "pi3", "program_usb_boot_mode", "1")
	}
	f.Add([]byte("[all\r\n]k=\r\nk=0\n[[pi4]]\n[none][pi3]\n#k=1\n\x00k"), All, "k", "1")
	f.Fuzz(func(t *testing.T, data []byte, section, key, value string) {
		c := ParseConfig(data)
		if !bytes.Equal(c.Bytes(), data) {
			t.Fatalf("reading and writing turns %q into %q", data, c.Bytes())
		}
		if c.Set(section, key, value) != nil {
			return
		}
		once := c.Bytes()
		if !slices.Contains(ParseConfig(once).Get(section, key), value) {
			t.Fatalf("%s=%s is not in effect in [%s]: %q", key, value, section, once)
		}
		if twice := set(t, once, setting{section, key, value}); !bytes.Equal(once, twice) {
			t.Fatalf("once %q\ntwice %q", once, twice)
		}
		after := map[string]int{}
		for l := range bytes.Lines(once) {
			after[string(bytes.TrimRight(l, "\r\n"))]++
		}
		var gone []string
		for l := range bytes.Lines(data) {
			text := string(bytes.TrimRight(l, "\r\n"))
			if after[text]--; after[text] < 0 {
				gone = append(gone, text)
			}
		}
		if len(gone) > 1 || len(gone) == 1 && !strings.Contains(gone[0], key+"=") {
			t.Fatalf("lines lost: %q", gone)
		}
	})
}
